"""How far the parts of an area are to lie apart: as far as its nets see, and beyond."""

from mapmill.channels import reach_of as channels_reach
from mapmill.config import Area
from mapmill.derive import planned
from mapmill.reach import reach_bound


def reach_of_run(area: Area, run: str) -> int:
    """Pixels that a run sees on each side of a pixel, net and channels; never too few.

    Of a net that looks at the whole image, what prediction shows it beside a tile.
    """
    chosen = area.train_of(run)
    bound = reach_bound(chosen.design)
    around = channels_reach(planned(chosen, area.bands, pixel=1.0, lenient=True))
    return (area.predict.context if bound is None else bound) + around


def reach_of(area: Area) -> tuple[int, str]:
    """Pixels that the widest net of the area's runs sees on each side, and that run; 0 without."""
    return max(((reach_of_run(area, run), run) for run in area.runs), default=(0, ""))


def buffer_of(area: Area) -> int:
    """Pixels that are to lie between a training tile and ground that is scored."""
    split = area.split()
    if split.buffer == "auto":
        return reach_of(area)[0] + (split.range or 0)
    return split.buffer


def buffer_warning(area: Area) -> str | None:
    """What to say of a buffer that is narrower than what the nets see; None if it is wide enough.

    A net that looks at a pixel of the test part then sees ground that it has learnt from.
    """
    (reach, run), buffer = reach_of(area), buffer_of(area)
    is_apart = area.chips is not None and area.split().method in ("chip", "column")
    if buffer >= reach or is_apart:
        return None
    return (
        f"select.split.buffer: {buffer} px, and the net of run {run} sees {reach} px on each side: "
        "scores flatter; set buffer: auto with range"
    )
