"""How a map's ground is cut, and how far around a block its nets may look: for planning."""

from dataclasses import replace
from pathlib import Path

from mapmill.channels import reach_of, without_end
from mapmill.config import Area
from mapmill.derive import planned
from mapmill.plan import MOST_WORK, Plan, work
from mapmill.reach import reach_bound
from mapmill.relatives import area_beside, run_beside


def plan_of(path: Path, area: Area, map_name: str) -> Plan:
    """How a map's ground is cut; blended windows are those of the training patches by default."""
    area_of_run, run = _learnt(path, area, map_name)
    chosen, plan = area_of_run.train_of(run), area.predict.plan
    if plan.window:
        return plan
    side = chosen.crop or chosen.size
    if side is None and chosen.train_on:
        name = next(iter(chosen.train_on))
        pooled = area_beside(path, name, f"train.train_on.{name}") if name != path.stem else area
        side = pooled.select.size if pooled.select else None
    elif side is None and area_of_run.select:
        side = area_of_run.select.size
    return replace(plan, window=side)


def halo_of(path: Path, area: Area, map_name: str) -> int:
    """Pixels around a block that the nets of a map may look at; never too few.

    Of exact tiles the net's reach, of blended windows all but one pixel of a window.
    """
    plan = plan_of(path, area, map_name)
    area, run = _learnt(path, area, map_name)
    chosen = area.train_of(run)
    design, channels = chosen.design, planned(chosen, area.bands, pixel=1.0, lenient=True)
    around = reach_of(channels)
    # a side is rounded up to what the net takes: 4 less than a multiple of the stride, if unpadded
    side = max(plan.window or 0, 2 * design.margin + 1) + design.stride + 4
    if plan.mode == "blend" or design.sees_all or without_end(channels):
        return side + around
    bound = reach_bound(design)
    # a tile starts on a multiple of the stride: up to that much more on each side
    exact = (plan.context if bound is None else bound) + around + max(32, design.stride)
    if plan.mode == "exact":
        return exact
    if bound is not None and work(plan.tile, bound + around) <= MOST_WORK:
        return exact  # what is measured is no more than the bound
    return max(exact, side + around)


def _learnt(path: Path, area: Area, map_name: str) -> tuple[Area, str]:
    """The area and the run whose models make a map."""
    run = area.run_of(map_name)
    if run is not None:
        return area, run
    assert area.model is not None  # since maps_fit holds
    return run_beside(path, area.model, "model")
