"""Reading, computing and writing at the same time."""

import threading

import pytest

from mapmill.flow import AHEAD, flow

LONG = 60
"""Seconds after which a test gives up."""


def test_all_is_made_and_written_in_order():
    """Parts of a map would be missing, swapped, or written before they are made."""
    written = []
    done = flow(
        range(9),
        lambda i: 10 * i,
        lambda i, held: held + i,
        lambda i, made: written.append((i, made)),
    )
    assert list(done) == list(range(9))
    assert written == [(i, 11 * i) for i in range(9)]


def test_the_next_is_read_and_the_last_is_written_meanwhile():
    """The net would wait for the disk."""
    read_next, made_last = threading.Event(), threading.Event()
    threads = {}

    def read(item):
        threads["read"] = threading.get_ident()
        if item == 1:
            read_next.set()

    def make(item, _):
        threads["make"] = threading.get_ident()
        if item == 0:
            assert read_next.wait(LONG)  # it ends only if 1 is read while 0 is made
        if item == 2:
            made_last.set()

    def write(item, _):
        threads["write"] = threading.get_ident()
        if item == 1:
            assert made_last.wait(LONG)  # likewise 2 is made while 1 is written

    assert list(flow(range(3), read, make, write)) == [0, 1, 2]
    assert len(set(threads.values())) == 3


def test_few_items_are_held():
    """Memory would grow with the area where reading is quicker than the net."""
    read, most = [], []

    def make(item, _):
        most.append(len(read) - item)

    list(flow(range(20), read.append, make, lambda *_: None))
    assert len(read) == 20 and max(most) <= AHEAD + 1


@pytest.mark.parametrize("place", ["read", "make", "write"])
def test_an_error_ends_all(place):
    """A damaged file or a full disk would leave a map with holes that looks finished."""
    made = []

    def fail(here, item):
        if here == place and item == 3:
            raise OSError(f"no {here}")

    with pytest.raises(OSError, match=f"no {place}"):
        list(
            flow(
                range(50),
                lambda i: fail("read", i),
                lambda i, _: (made.append(i), fail("make", i)),
                lambda i, _: fail("write", i),
            )
        )
    assert len(made) <= 6
