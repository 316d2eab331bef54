"""`mapmill train` on a node that stands still after the first look for SECONDS, and is then lost.

    MAPMILL_LAUNCH="python tests/slurm/stands_still.py SECONDS"

A time limit that comes before ends it. A run that finds a checkpoint, as the one after it does, is
as ever.
"""

import os
import sys
import time
from pathlib import Path

import mapmill.fit
from mapmill.cli import main

SECONDS, ARGUMENTS = int(sys.argv[1]), sys.argv[3:]  # the second is `mapmill`
OUTPUT = 3
write = mapmill.fit.save


def write_and_stand_still(*checkpoint):
    write(*checkpoint)
    time.sleep(SECONDS)
    os._exit(1)


print(f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}", file=sys.stderr)
if not Path(ARGUMENTS[OUTPUT]).with_name("checkpoint.safetensors").exists():
    mapmill.fit.save = write_and_stand_still
sys.exit(main(ARGUMENTS))
