#!/usr/bin/env sh
# Tests, two files at a time. What fails is tried once more, one at a time: processes are timed,
# killed and limited in memory here, on machines that may be busy with something else. A test that
# fails twice has failed; one that fails once stays in the log, to be mended. Tests marked `once`
# look for races, and are never tried again: what fails in one run of ten would pass.
# usage: run.sh MARKERS FOLDER...
set -u
markers=$1; shift
again="--last-failed --last-failed-no-failures none"
python -m pytest -m "$markers" -n 2 --dist loadfile "$@" && exit 0
[ $? -eq 1 ] || exit 1
if python -m pytest -q --collect-only -m "($markers) and once" $again "$@"; then
  echo "FAILED: the tests named last, of those that have to pass the first time"
  exit 1
fi
echo "FAILED ONCE: the tests named above, again, one at a time"
exec python -m pytest -m "$markers" $again "$@"
