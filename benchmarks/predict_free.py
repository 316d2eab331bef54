"""The same with a net that costs next to nothing: what is left is all that surrounds a net."""

import sys
from pathlib import Path

from predict import CONTENDERS, equal, make, missing

SIZE = 8192
__all__ = ["CONTENDERS", "SIZE", "equal", "make", "missing"]

if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](Path(sys.argv[2]))
