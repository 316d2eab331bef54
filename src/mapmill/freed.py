"""Memory that a process has given back to its allocator is used again, not fetched anew.

glibc returns large arrays to the system as soon as they are freed, and the system clears each page
of the next one: with tiles of 2,048 px that took as long as the convolutions.
"""

import ctypes
import sys

MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""Numbers of mallopt's parameters (malloc.h)."""
SPARE = 256 * 2**20
"""Bytes at the end of the heap from which on they are returned to the system."""


def keep_freed_memory() -> None:
    """Let all arrays of this process lie on the heap, whose free parts are used again.

    The same as MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_ in the environment (mallopt(3));
    nothing happens where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, SPARE)
