"""What one area file says of another: models, patches and weights that it borrows exist and fit."""

from pathlib import Path
from typing import Any, NamedTuple

from mapmill.config import Area
from mapmill.consistency import sizes_of
from mapmill.errors import ConfigError
from mapmill.parse import parse_area
from mapmill.sections import Pool


def area_beside(path: Path, name: str, key: str) -> Area:
    """Another area that this one names, from the same folder.

    Raises
    ------
    ConfigError
        if there is no such area.
    """
    other = path.with_name(f"{name}.yaml")
    if not other.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"{path}: {key}", f"area {name}", f"one of {known}", "check the name")
    return parse_area(other)


def run_beside(path: Path, named: str, key: str) -> tuple[Area, str]:
    """Area and run of `area/run`.

    Raises
    ------
    ConfigError
        if there is no such area or run.
    """
    name, _, run = named.partition("/")
    other = area_beside(path, name, key)
    if run not in other.runs:
        known = ", ".join(other.runs) or "none"
        raise ConfigError(
            f"{path}: {key}", f"run {run}", f"a run of {name} ({known})", "correct it"
        )
    return other, run


def check_relatives(path: Path, area: Area) -> None:
    """Refuse runs of other areas that do not exist or do not fit, before anything is run."""
    if area.model:
        other, run = run_beside(path, area.model, "model")
        _agree(path, "model", area.model, "compose.units", other.compose.units, area.compose.units)
        _agree(path, "model", area.model, "bands", other.bands, area.bands)
        _agree(path, "model", area.model, "classes", other.class_names, area.class_names)
        _check_periods(path, area, area.model, joined_periods(other, run))
    for name in area.runs:
        chosen = area.train_of(name)
        if chosen.init:
            _check_init(path, area, name, chosen.init)
        if chosen.train_on:
            _check_pools(path, area, name, chosen.train_on)
    for name, comparison in area.compare.items():
        for run in comparison.runs if comparison.folds else ():
            _check_folds(path, area, f"compare.{name}.folds (run {run})", run)


def joined_periods(area: Area, run: str) -> list[str]:
    """Names of the periods that a run joins along their bands; none where it sees one at a time."""
    return area.periods if area.train_of(run).periods == "channels" else []


def _check_periods(path: Path, area: Area, named: str, joined: list[str]) -> None:
    """A model that sees several periods at once is shown periods of the same names."""
    found = f"{named}, which joins periods {', '.join(joined)}"
    if joined and area.chips:
        raise ConfigError(f"{path}: model", found, "a model for chips", "they have no periods")
    for name in area.maps if joined else []:
        unknown = [each for each in area.periods_of(name) if each not in joined]
        if unknown:
            raise ConfigError(
                f"{path}: maps.{name}",
                f"period {', '.join(unknown)}",
                f"periods of the model {named}: {', '.join(joined)}",
                "call the periods alike in both areas",
            )


def _check_init(path: Path, area: Area, name: str, named: str) -> None:
    """The run that a run starts from exists, fits, and does not start from this one."""
    key, chosen = f"train.init (run {name})", area.train_of(name)
    other, run = run_beside(path, named, key)
    _agree(path, key, named, "bands", other.bands, area.bands)
    _agree(path, key, named, "compose.units", other.compose.units, area.compose.units)
    differs = other.train_of(run).design.first_difference(chosen.design)
    if differs:
        _agree(path, key, named, *differs)
    theirs, ours = other.train_of(run).normalise, chosen.normalise
    _agree(path, key, named, "normalise", theirs, ours)
    joined_there, joined_here = joined_periods(other, run), joined_periods(area, name)
    _agree(path, key, named, "joined periods", joined_there or ["none"], joined_here or ["none"])
    named_there, named_here = other.train_of(run).channel_names, chosen.channel_names
    _agree(path, key, named, "features", named_there or ["none"], named_here or ["none"])
    _agree(path, key, named, "without", other.train_of(run).without, chosen.without)
    chain = [f"{path.stem}/{name}"]
    while named not in chain:
        chain.append(named)
        other, run = run_beside(path, named, key)
        named = other.train_of(run).init or ""
        if not named:
            return
    circle = " from ".join([*chain, named])  # it may close behind this run
    raise ConfigError(f"{path}: {key}", circle, "a run that starts elsewhere", "correct it")


def _check_pools(path: Path, area: Area, run: str, pools: dict[str, Pool]) -> None:
    """Areas whose patches are pooled exist, have labels, and their patches fit once mapped."""
    sizes: dict[str, int] = {}
    wanted = area.train_of(run).size
    for name, pool in pools.items():
        key = f"train.train_on.{name}"
        place = f"{path}: {key} (run {run})"
        other = area if name == path.stem else area_beside(path, name, f"{key} (run {run})")
        if not other.has_labels or other.select is None:
            raise ConfigError(
                place, "an area without labels", "patches to learn from", "take it out"
            )
        if area.train_of(run).fraction != "none" and not (other.grid and other.downsample.fraction):
            found, remedy = "no fraction", f"set downsample.fraction: true in {name}"
            raise ConfigError(place, found, "the share of each pixel's class", remedy)
        sizes[name] = wanted or other.select.size
        if sizes[name] not in sizes_of(other):
            packed = ", ".join(map(str, sizes_of(other)))
            remedy = "correct train.size, or add it to its select.more_sizes"
            raise ConfigError(place, f"patches of {packed} px", f"{wanted} px", remedy)
        held = Held(other.bands, other.class_names, other.compose.units)
        matched(area, pool, held, place, key)
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{size} px in {name}" for name, size in sizes.items())
        raise ConfigError(
            f"{path}: train.train_on (run {run})", found, "patches of one size", "set train.size"
        )


def _check_folds(path: Path, area: Area, key: str, run: str) -> None:
    """A run that is trained for each fold has seen no other fold before, here or elsewhere."""
    chosen, place = area.train_of(run), f"{path}: {key}"
    if chosen.init:
        remedy = "take init out, or folds"
        raise ConfigError(place, f"init: {chosen.init}", "runs that start afresh", remedy)
    for name in [name for name in chosen.train_on or () if name != path.stem]:
        other = area_beside(path, name, key)
        theirs, ours = (
            f"{each.split().folds or 'no'} folds on {'chips' if each.chips else 'a grid'}"
            for each in (other, area)
        )
        if theirs != ours:
            raise ConfigError(place, f"{theirs} in {name}", ours, "make them agree")


class Held(NamedTuple):
    """What the patches of an area hold."""

    bands: list[str]
    classes: list[str]
    """Names of class 1 to K."""
    units: str


def matched(
    area: Area, pool: Pool, held: Held, place: str | Path, key: str
) -> tuple[list[int], list[int]]:
    """For each band of `area` its number in `held`; for each class there, 1 to K, that here.

    Raises
    ------
    ConfigError
        naming `place`, if bands, classes or units differ and are not mapped under `key`, or a
        mapping names what does not exist.
    """
    ours, here = area.class_names, ", ".join(area.class_names)
    for what, named, known in (
        ("bands", pool.bands, area.bands),
        ("classes", pool.classes, held.classes),
        ("classes", pool.classes.values(), range(len(ours) + 1)),
    ):
        for wrong in [each for each in named if each not in known]:
            expected = f"one of {', '.join(map(str, known))}"
            raise ConfigError(place, f"{what} with {wrong}", expected, f"correct {key}.{what}")
    for band in area.bands:
        if pool.bands.get(band, band) not in held.bands:
            raise ConfigError(
                place,
                f"bands {', '.join(held.bands)}",
                pool.bands.get(band, band),
                f"map it: {key}.bands, band here to band there",
            )
    for name in held.classes:
        if name not in pool.classes and name not in ours:
            raise ConfigError(
                place,
                f"class {name}",
                f"classes {here}",
                f"map it: {key}.classes, name there to class here (0: ignore)",
            )
    if held.units != area.compose.units and not {"scale", "offset"} & pool.model_fields_set:
        raise ConfigError(
            place,
            f"units {held.units}",
            area.compose.units,
            f"map them: {key}.scale and offset, or correct compose.units",
        )
    numbers = [held.bands.index(pool.bands.get(band, band)) for band in area.bands]
    classes = [
        pool.classes[name] if name in pool.classes else ours.index(name) + 1
        for name in held.classes
    ]
    return numbers, classes


def _agree(path: Path, key: str, named: str, what: str, theirs: Any, ours: Any) -> None:
    if theirs != ours:
        theirs, ours = (", ".join(v) if isinstance(v, list) else v for v in (theirs, ours))
        raise ConfigError(
            f"{path}: {key}", f"{named} with {what} {theirs}", f"{what} {ours}", "make them agree"
        )
