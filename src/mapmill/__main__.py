"""`python -m mapmill`, as torchrun starts it."""

import sys

from mapmill.cli import main

if __name__ == "__main__":
    sys.exit(main())
