"""Progress of long work: a bar on a terminal, a line every half minute in a log.

Under the workflow standard error goes to the rule's log, so the bar is drawn on standard
output, which stays connected to the terminal of the person who waits.
"""

import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LOG_EVERY_S = 30.0
PARTS = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} [{elapsed}<{remaining}, {rate_fmt}]"
"""A bar of what is no whole number."""
log = logging.getLogger(__name__)


def track(
    items: Iterable[Item],
    label: str,
    total: float,
    unit: str = "it",
    size: Callable[[Item], float] = lambda _: 1,
) -> Iterator[Item]:
    """Yield `items` while showing how many are done, how fast, and how long is left.

    Parameters
    ----------
    total : number of items, or the sum of their sizes; 0 where it is not known
    size : what an item counts, in `unit`
    """
    terminal = shutil.get_terminal_size()  # 80 x 24 where the terminal does not know its own
    bar = tqdm(
        desc=label,
        total=total or None,
        unit=unit,
        file=sys.stdout,
        ncols=min(100, terminal.columns),
        nrows=terminal.lines,
        leave=False,
        disable=not sys.stdout.isatty(),
        bar_format=None if isinstance(total, int) else PARTS,
    )
    start = last = time.monotonic()
    done: float = 0
    with bar:
        for item in items:
            now = time.monotonic()
            if now - last > LOG_EVERY_S:
                log.info("%s: %s", label, standing_at(done, total, unit, now - start))
                last = now
            yield item
            done += size(item)
            bar.update(size(item))


def standing_at(done: float, total: float, unit: str, seconds: float) -> str:
    """How far work is, such as `12 of 1703 MiB, 3.4 MiB/s, about 8 min left`."""
    far = f"{done:.6g} of {total:.6g} {unit}" if total else f"{done:.6g} {unit}"
    if not done or seconds <= 0:
        return far
    said = f"{far}, {rate_text(done / seconds, unit)}"
    left = seconds / done * max(total - done, 0)
    return f"{said}, about {time_text(left)} left" if total else said


def rate_text(rate: float, unit: str) -> str:
    """So many `unit` a second, or in a minute or an hour where they are few."""
    spans = {"s": 1, "min": 60, "h": 3600}
    name = next((name for name, seconds in spans.items() if rate * seconds >= 0.95), "h")
    value = rate * spans[name]
    return f"{value:.0f} {unit}/{name}" if value >= 100 else f"{value:.2g} {unit}/{name}"


def time_text(seconds: float) -> str:
    """A span of time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def size_text(count: float) -> str:
    """Bytes as people say them."""
    for least, unit, name in ((1e12, 1e12, "TB"), (1e8, 1e9, "GB"), (1e5, 1e6, "MB")):
        if count >= least:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB" if count else "0 kB"


def say(line: str) -> None:
    """One line for the log, and for the person at the terminal, where the log is elsewhere."""
    log.info("%s", line)
    if sys.stdout.isatty() and not sys.stderr.isatty():
        tqdm.write(line, file=sys.stdout)
