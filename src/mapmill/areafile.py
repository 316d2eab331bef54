"""Area files, and what one says of another: models, patches and weights that it borrows."""

from pathlib import Path
from typing import Any

from mapmill.config import Area
from mapmill.errors import ConfigError
from mapmill.layout import Layout
from mapmill.parse import parse_area
from mapmill.reach import reach_bound


def load_area(path: Path) -> Area:
    """Read and check an area file.

    Raises
    ------
    ConfigError
        with one line that names the file, the key, what was found and what is allowed.
    """
    area = parse_area(path)
    check_relatives(path, area)
    return area


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


def check_relatives(path: Path, area: Area) -> None:
    """Refuse runs of other areas that do not exist or do not fit, before anything is run."""
    if area.model:
        other, _ = run_beside(path, area.model, "model")
        _agree(path, "model", area.model, "compose.units", other.compose.units, area.compose.units)
        _agree(path, "model", area.model, "bands", other.bands, area.bands)
        _agree(path, "model", area.model, "classes", other.class_names, area.class_names)
    for name in area.runs:
        chosen = area.train_of(name)
        if chosen.init:
            other, run = run_beside(path, chosen.init, f"train.init (run {name})")
            if chosen.init == f"{path.stem}/{name}":
                raise ConfigError(f"{path}: train.init", chosen.init, "another run", "correct it")
            _agree(path, "train.init", chosen.init, "bands", other.bands, area.bands)
            for key in ("encoder", "width", "depth"):
                theirs, ours = getattr(other.train_of(run), key), getattr(chosen, key)
                _agree(path, "train.init", chosen.init, key, theirs, ours)
        for pooled in chosen.train_on or {}:
            if pooled != path.stem:
                area_beside(path, pooled, f"train.train_on (run {name})")


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


def _agree(path: Path, key: str, named: str, what: str, theirs: Any, ours: Any) -> None:
    if theirs != ours:
        theirs, ours = (", ".join(v) if isinstance(v, list) else v for v in (theirs, ours))
        raise ConfigError(
            f"{path}: {key}", f"{named} with {what} {theirs}", f"{what} {ours}", "make them agree"
        )


def models_of(path: Path, area: Area, map_name: str) -> dict[str, Path]:
    """Name and file of each model that makes a map; of another area they are `area/run-seed`."""
    run = area.run_of(map_name)
    if run is not None:
        return {model: Layout(path.stem).model(model) for model in area.seeds_of(run)}
    assert area.model is not None  # since maps_fit holds
    other, run = run_beside(path, area.model, "model")
    name = area.model.partition("/")[0]
    return {f"{name}/{model}": Layout(name).model(model) for model in other.seeds_of(run)}


def pools_of(path: Path, area: Area, run: str) -> list[str]:
    """Names of the areas whose patches a run learns from."""
    return list(area.train_of(run).train_on or [path.stem])


def init_of(path: Path, area: Area, model: str) -> Path | None:
    """The trained model that a model starts from: of the same seed if there is one."""
    run, seed = area.run_and_seed(model)
    chosen = area.train_of(run)
    if chosen.init is None:
        return None
    other, theirs = run_beside(path, chosen.init, "train.init")
    models = other.seeds_of(theirs)
    same = f"{theirs}-{seed}"
    name = chosen.init.partition("/")[0]
    return Layout(name).model(same if same in models else models[0])


def weights_file(area: Area, run: str) -> str | None:
    """The download that holds a run's encoder weights: `weights-{run}.*`."""
    weights = area.train_of(run).weights
    return f"weights-{run}{weights.suffix}" if weights else None


def labels_file(area: Area) -> str:
    """The download that holds the labels: `labels.*`."""
    return f"labels{area.the_labels().suffix}"


def halo_of(path: Path, area: Area, map_name: str) -> int:
    """Pixels around a block that the nets of a map may look at; never too few."""
    run = area.run_of(map_name)
    if run is None:
        assert area.model is not None  # since maps_fit holds
        area, run = run_beside(path, area.model, "model")
    chosen = area.train_of(run)
    # a tile starts on a multiple of the stride: up to that much more on each side
    return reach_bound(chosen.encoder, chosen.depth) + 2 ** max(5, int(chosen.depth))
