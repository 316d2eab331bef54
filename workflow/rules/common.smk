# What the rules ask of the area files: settings for `params`, names for `input`.
# The areas are read when a rule first needs one, so a broken file does not break the others.
import functools
import json
from pathlib import Path

from mapmill.areafile import load_area, settings
from mapmill.catalogue.items import read_scenes, wanted_files
from mapmill.errors import MapmillError
from mapmill.layout import Layout


def plainly(function):
    """Let a user's mistake end Snakemake with its one line.

    A WorkflowError would add the rule, its wildcards and a traceback.
    """

    @functools.wraps(function)
    def wrapped(wildcards):
        try:
            return function(wildcards)
        except MapmillError as error:
            raise SystemExit(f"mapmill: {error}") from None

    return wrapped


@plainly
@functools.cache
def area_of(name):
    """The area called `name`."""
    return load_area(Path("config/areas") / f"{name}.yaml")


def settings_of(stage, named=None):
    """A params function: the settings that the stage's output depends on, `key=<JSON>` each.

    Snakemake keeps params as a set without names, so every string carries its key.
    """

    @plainly
    def lines(wildcards):
        name = getattr(wildcards, named) if named else None
        chosen = settings(area_of(wildcards.area), stage, name)
        return [
            f"{key}={json.dumps(value, sort_keys=True)}"
            for key, value in sorted(chosen.items())
        ]

    return lines


def layout_of(wildcards):
    """Paths of the area's files."""
    return Layout(wildcards.area)


def blocks_of(wildcards):
    """Names of the area's blocks."""
    return [block.name for block in area_of(wildcards.area).grid.grid().blocks()]


def labels_of(wildcards):
    """The label file of the area, once downloaded."""
    suffix = Path(area_of(wildcards.area).labels.file).suffix
    return str(layout_of(wildcards).download(f"labels{suffix}"))


def archive_of(wildcards):
    """The sample archive, for an area that lives in one."""
    if area_of(wildcards.area).search.source == "sample":
        return [str(layout_of(wildcards).download("sample.whl"))]
    return []


def download_inputs(wildcards):
    """What must be there before a file can be downloaded."""
    first, _, rest = wildcards.file.partition("/")
    if first == "sample.whl":
        return []
    listing = (
        checkpoints.search.get(area=wildcards.area, period=first).output if rest else []
    )
    return archive_of(wildcards) + list(listing)


@plainly
def scene_files(wildcards):
    """The pinned search of a period, and the files of its scenes that hold wanted bands."""
    listing = checkpoints.search.get(
        area=wildcards.area, period=wildcards.period
    ).output[0]
    bands = area_of(wildcards.area).compose.bands
    names = wanted_files(wildcards.period, read_scenes(Path(listing)), bands)
    return [listing, *(str(layout_of(wildcards).download(name)) for name in names)]


def composed_blocks(wildcards):
    """All composed blocks of the area."""
    periods = area_of(wildcards.area).search.periods
    layout = layout_of(wildcards)
    return [str(layout.compose(p, b)) for p in periods for b in blocks_of(wildcards)]


@plainly
def composed_neighbours(wildcards):
    """The composed blocks that a predicted block may read: itself and all around it."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    grid = area.grid.grid()
    around = grid.block_named(wildcards.block).window.grow(grid.block)
    blocks = [block.name for block in grid.blocks_touching(around)]
    return [
        str(layout.compose(p, b))
        for p in area.periods_of(wildcards.map)
        for b in blocks
    ]


def label_blocks(wildcards):
    """All label blocks of the area."""
    layout = layout_of(wildcards)
    return [str(layout.downsample(block)) for block in blocks_of(wildcards)]


@plainly
def models_of(wildcards):
    """The models that make a map."""
    area = area_of(wildcards.area)
    return [
        str(layout_of(wildcards).model(model))
        for model in area.models_of(wildcards.map)
    ]


def predicted_blocks(wildcards):
    """All predicted blocks of a map."""
    layout = layout_of(wildcards)
    return [str(layout.predict(wildcards.map, block)) for block in blocks_of(wildcards)]
