"""Area files as they are read, and the files that training and maps of an area need."""

from pathlib import Path

from mapmill.config import Area
from mapmill.layout import Layout
from mapmill.parse import parse_area
from mapmill.relatives import check_relatives, run_beside


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


def learnt_from(path: Path, area: Area, run: str) -> set[tuple[str, int | None]]:
    """Areas whose patches a run has seen, itself or in the runs that it starts from.

    Each with the side of the patches, None for those that the area is mainly of.
    """
    chosen = area.train_of(run)
    found = {(name, chosen.size) for name in pools_of(path, area, run)}
    if chosen.init:
        other, theirs = run_beside(path, chosen.init, "train.init")
        start = path.with_name(f"{chosen.init.partition('/')[0]}.yaml")
        found |= learnt_from(start, other, theirs)
    return found


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
