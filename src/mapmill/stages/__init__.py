"""One module a stage. Stages meet only through files; none imports another."""
