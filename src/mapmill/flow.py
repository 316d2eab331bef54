"""Reading, computing and writing at the same time: a thread reads ahead, another one writes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Held = TypeVar("Held")
Made = TypeVar("Made")
AHEAD = 1
"""Items that are read before they are needed."""


def flow(
    items: Iterable[Item],
    read: Callable[[Item], Held],
    make: Callable[[Item, Held], Made],
    write: Callable[[Item, Made], None],
) -> Iterator[Item]:
    """Read, make and write each item, in order; yield it when it is made.

    `read` runs in one thread and `write` in another; `make` in the caller's. At most `AHEAD`
    items are held that are not yet made, and one that is not yet written. The first error of any
    of them ends all and is raised here.
    """
    waiting: deque[tuple[Item, Future[Held]]] = deque()
    left = iter(items)
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        written: Future[None] | None = None
        try:
            waiting.extend((item, reader.submit(read, item)) for item in islice(left, AHEAD))
            while waiting:
                item, held = waiting.popleft()
                there = held.result()
                waiting.extend((more, reader.submit(read, more)) for more in islice(left, 1))
                made = make(item, there)
                if written:
                    written.result()
                written = writer.submit(write, item, made)
                yield item
            if written:
                written.result()
        finally:
            reader.shutdown(wait=True, cancel_futures=True)
