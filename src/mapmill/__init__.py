"""Satellite scenes in, maps out: the package behind the Snakemake workflow."""

__version__ = "0.1.0"
