"""As downsample, with labels that have no speckle."""

import sys
from pathlib import Path

import downsample
import numpy as np
from downsample import CONTENDERS, SIZE, equal, missing

__all__ = ["CONTENDERS", "SIZE", "equal", "make", "missing"]


def make(folder: Path, size: int) -> None:
    """Patches without speckle."""
    downsample.make(folder, size, speckle=False)


if __name__ == "__main__":
    who, place = sys.argv[1], Path(sys.argv[2])
    np.save(place / f"{who}.npy", CONTENDERS[who](place))
