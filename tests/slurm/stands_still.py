"""`mapmill train` on a node that stands still after the first look, until its time limit ends it.

    MAPMILL_LAUNCH="python tests/slurm/stands_still.py"

A run that finds a checkpoint, as the one after it does, is as ever.
"""

import sys
import time
from pathlib import Path

import mapmill.fit
from mapmill.cli import main

ARGUMENTS = sys.argv[2:]  # after `mapmill`
OUTPUT = 3
write = mapmill.fit.save


def write_and_stand_still(*checkpoint):
    write(*checkpoint)
    time.sleep(150)


if not Path(ARGUMENTS[OUTPUT]).with_name("checkpoint.safetensors").exists():
    mapmill.fit.save = write_and_stand_still
sys.exit(main(ARGUMENTS))
