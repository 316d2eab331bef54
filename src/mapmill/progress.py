"""Progress of long work: a bar on a terminal, a line every half minute in a log.

Under the workflow standard error goes to the rule's log, so the bar is drawn on standard
output, which stays connected to the terminal of the person who waits.
"""

import logging
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LOG_EVERY_S = 30.0
log = logging.getLogger(__name__)


def track(items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
    """Yield `items` while showing how many of `total` are done and how long is left."""
    size = shutil.get_terminal_size()  # 80 x 24 where the terminal does not know its own
    bar = tqdm(
        desc=label,
        total=total,
        unit=unit,
        file=sys.stdout,
        ncols=min(100, size.columns),
        nrows=size.lines,
        leave=False,
        disable=not sys.stdout.isatty(),
    )
    start = last = time.monotonic()
    with bar:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - last > LOG_EVERY_S:
                left_s = (now - start) / max(done, 1) * (total - done)
                log.info("%s: %d of %d %s, about %.0f s left", label, done, total, unit, left_s)
                last = now
            yield item
            bar.update()
