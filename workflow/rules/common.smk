# What the rules ask of the area files: settings for `params`, names for `input`.
# The areas are read when a rule first needs one, so a broken file does not break the others.
import functools
import json
import os
import time
import uuid
from pathlib import Path

from mapmill.areafile import (
    init_of,
    labels_file,
    learnt_from,
    load_area,
    models_of,
    pools_of,
    weights_file,
)
from mapmill.catalogue.items import read_scenes, wanted_files
from mapmill.chips import chip_named, find_chips
from mapmill.errors import ConfigError, MapmillError
from mapmill.extent import blocks_of, blocks_touching, grid_block
from mapmill.halo import halo_of
from mapmill.layout import Layout
from mapmill.provenance import without_folders
from mapmill.settings import settings
from mapmill.tiles import read_tiles, scored_chips

# Downloads tell how far the whole run is, and how fast it is, though each is a process of its own.
os.environ.setdefault("MAPMILL_STARTED", f"{time.time():.0f}")

# What a forced training has begun under this name, its retries go on with.
COMMAND = uuid.uuid4().hex


def plainly(function):
    """Let a user's mistake end Snakemake with its one line.

    A WorkflowError would add the rule, its wildcards and a traceback.
    """

    @functools.wraps(function)
    def wrapped(wildcards):
        try:
            return function(wildcards)
        except MapmillError as error:
            area = f"config/areas/{getattr(wildcards, 'area', wildcards)}.yaml"
            is_config = isinstance(error, ConfigError) and area not in str(error)
            where = f"{area}: " if is_config else ""
            raise SystemExit(f"mapmill: {where}{error}") from None

    return wrapped


@plainly
@functools.cache
def area_of(name):
    """The area called `name`."""
    return load_area(Path("config/areas") / f"{name}.yaml")


@functools.cache
def chips_of(name):
    """The chips of the area called `name`, found once for all rules."""
    return find_chips(area_of(name).chips)


def settings_of(stage, named=None):
    """A params function: the settings that the stage's output depends on, `key=<JSON>` each.

    Snakemake keeps params as a set without names, so every string carries its key. It shows them
    in the report too, which is no place for folders of this machine.
    """

    @plainly
    def of_job(wildcards):
        return lines(wildcards.area, getattr(wildcards, named) if named else None)

    # most jobs of a stage share their settings: thousands of blocks would each have them made
    @functools.cache
    def lines(area, name):
        chosen = without_folders(settings(area_of(area), stage, name))
        return [
            f"{key}={json.dumps(value, sort_keys=True)}"
            for key, value in sorted(chosen.items())
        ]

    return of_job


def path_of(wildcards):
    """The area's file."""
    return Path("config/areas") / f"{wildcards.area}.yaml"


def layout_of(wildcards):
    """Paths of the area's files."""
    return Layout(wildcards.area)


@plainly
def files_of_chips(wildcards):
    """Images and masks of the area's chips."""
    return [file for chip in chips_of(wildcards.area) for file in chip.files]


def blocks(area):
    """Names of the blocks that are worked on."""
    return [block.name for block in blocks_of(area)]


@plainly
def labels_of(wildcards):
    """The label file of the area, once downloaded."""
    return str(layout_of(wildcards).download(labels_file(area_of(wildcards.area))))


def archive_of(wildcards):
    """The sample archive, for an area that lives in one."""
    if area_of(wildcards.area).source == "sample":
        return [str(layout_of(wildcards).download("sample.whl"))]
    return []


def download_inputs(wildcards):
    """What must be there before a file can be downloaded."""
    first, _, rest = wildcards.file.partition("/")
    if first == "sample.whl" or area_of(wildcards.area).source == "sentinelhub":
        return []
    archive = archive_of(wildcards)
    if not rest:
        return archive
    found = checkpoints.search.get(area=wildcards.area, period=first).output
    return [*archive, found.listing]


def blocks_asked(wildcards):
    """1 for any file of a Sentinel Hub area: how many at once is set in the profile.

    Labels too, so that an account that is missing is one failed job.
    """
    return int(area_of(wildcards.area).source == "sentinelhub")


def files_asked(wildcards):
    """1 for a file of a catalogue, or by its address: likewise."""
    there = wildcards.file == "sample.whl" or blocks_asked(wildcards)
    return int(not there)


@plainly
def scene_files(wildcards):
    """The pinned search of a period, and the files of its scenes that hold wanted bands.

    Sentinel Hub serves block by block, without a search.
    """
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    if area.source == "sentinelhub":
        return [str(layout.download(f"{wildcards.period}/{wildcards.block}.tif"))]
    listing = checkpoints.search.get(
        area=wildcards.area, period=wildcards.period
    ).output.listing
    names = wanted_files(
        wildcards.period, read_scenes(Path(listing)), area.compose.wanted
    )
    return [listing, *(str(layout.download(name)) for name in names)]


@plainly
def composed_blocks(wildcards):
    """All composed blocks of the area, in the period that the wildcards name or in all."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    names = blocks(area)  # a mistake here where there are chips, before anything runs
    named = getattr(wildcards, "period", None)
    periods = [named] if named else area.periods
    return [str(layout.compose(p, name)) for p in periods for name in names]


@plainly
def images_and_labels(wildcards):
    """All that tiles are cut from: composed blocks and their labels, or chips."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    if area.chips:
        table = [area.chips.table] if area.chips.table else []
        return files_of_chips(wildcards) + table
    area.the_labels()
    labels = [str(layout.downsample(block)) for block in blocks(area)]
    return composed_blocks(wildcards) + labels


@plainly
def select_inputs(wildcards):
    """All that tiles are counted in, areas of classes, and the polygons that say what tiles serve."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    found = images_and_labels(wildcards)
    if area.chips:
        return found
    quality = [str(layout.quality(p, b)) for p in area.periods for b in blocks(area)]
    areas = [str(layout.downsample(b).with_suffix(".csv")) for b in blocks(area)]
    polygons = area.the_select().split.polygons
    return found + quality + areas + ([polygons] if polygons else [])


@plainly
def pack_inputs(wildcards):
    """The tiles, all that they are cut from, and how pure the labels are where that is packed."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    found = [str(layout.tiles), *images_and_labels(wildcards)]
    if area.chips or not area.downsample.fraction:
        return found
    return found + [str(layout.fraction(block)) for block in blocks(area)]


@functools.cache
def models_and_calibration(name, map_name):
    """What all blocks of a map are made with."""
    area, path = area_of(name), Path("config/areas") / f"{name}.yaml"
    paths = [str(model) for model in models_of(path, area, map_name).values()]
    if area.predict.is_calibrated:
        paths.append(str(Layout(name).calibrate(map_name)))
    return paths


@functools.cache
def halo_of_map(name, map_name):
    """How far around a block the nets of a map may look, in pixels."""
    return halo_of(Path("config/areas") / f"{name}.yaml", area_of(name), map_name)


@plainly
def predict_inputs(wildcards):
    """The models, and the imagery that a block may need: itself and the blocks its nets reach.

    The block of a chip is the chip.
    """
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    paths = models_and_calibration(wildcards.area, wildcards.map)
    if area.chips:
        chip = chip_named(chips_of(wildcards.area), wildcards.block)
        return paths + [str(image) for image in chip.images]
    around = grid_block(area, wildcards.block).window.grow(
        halo_of_map(wildcards.area, wildcards.map)
    )
    near = [b.name for b in blocks_touching(area, around)]
    periods = area.periods_of(wildcards.map)
    return paths + [str(layout.compose(p, b)) for p in periods for b in near]


@plainly
def calibrate_inputs(wildcards):
    """The models, the tiles, and all imagery and labels."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    models = models_of(path_of(wildcards), area, wildcards.map)
    found = [str(path) for path in models.values()] + [str(layout.tiles)]
    return found + images_and_labels(wildcards)


@plainly
def train_inputs(wildcards):
    """Patch stores, and what the first weights come from.

    A training that is forced starts at its first step, though a stopped one left its checkpoint;
    its retries go on from what this command has left. Jobs are not told that they were forced.
    """
    asked = workflow.dag_settings
    if asked and (asked.forceall or "train" in asked.forcerun):
        os.environ.update(MAPMILL_AFRESH=COMMAND)
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    run, _ = area.run_and_seed(wildcards.model)
    found = [
        str(Layout(name).patches / "zarr.json")
        for name in pools_of(path_of(wildcards), area, run)
    ]
    own = str(layout.patches / "zarr.json")
    if area.fold_of(wildcards.model) is not None and own not in found:
        found.append(
            own
        )  # the ground that is scored, from which a fold keeps its buffer
    start = init_of(path_of(wildcards), area, wildcards.model)
    weights = weights_file(area, run)
    found += [str(start)] if start else []
    return found + ([str(layout.download(weights))] if weights else [])


@plainly
def predicted_blocks(wildcards):
    """All predicted blocks of a map; of chips, those with pixels that are scored."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    if area.chips:
        table = checkpoints.select.get(area=wildcards.area).output.table
        names = scored_chips(read_tiles(Path(table)))
    else:
        names = blocks(area)
    return [str(layout.predict(wildcards.map, name)) for name in names]


@plainly
def tabulate_inputs(wildcards):
    """All maps of the area, and the polygons whose areas are told."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    area.the_grid()  # chips make no maps
    units = [area.tabulate.units] if area.tabulate.units else []
    return [*(str(layout.map(name)) for name in area.maps), *units]


@plainly
def assess_inputs(wildcards):
    """The map, the tiles, the labels; the patches where a baseline learns from them.

    And what the report tells of: areas before and after downsampling, pinned scenes, calibration.
    """
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    if not area.has_labels:
        raise ConfigError(
            path_of(wildcards),
            "no labels",
            "labels to score by",
            "add them, or only map",
        )
    whole = [] if area.chips else [str(layout.map(wildcards.map))]
    patches = [str(layout.patches / "zarr.json")] if area.assess.baseline else []
    found = []
    if area.predict.is_calibrated:
        fitted = layout.calibrate(wildcards.map)
        found = [str(fitted), str(fitted.with_suffix(".png"))]
    if not area.chips:
        found += [str(layout.downsample(b).with_suffix(".csv")) for b in blocks(area)]
        if area.source != "sentinelhub":
            found += [str(layout.search(p)) for p in area.periods_of(wildcards.map)]
    return [
        *whole,
        *found,
        str(layout.tiles),
        str(layout.shift),
        str(layout.leak),
        *patches,
        *images_and_labels(wildcards),
    ]


@plainly
def compare_inputs(wildcards):
    """The models of all runs, and the patches that they are scored on or have learnt from."""
    area, layout = area_of(wildcards.area), layout_of(wildcards)
    named = area.models_of_comparison(wildcards.comparison)
    seen = {
        name for run in named for name, _ in learnt_from(path_of(wildcards), area, run)
    }
    stores = [
        str(Layout(name).patches / "zarr.json")
        for name in sorted(seen | {wildcards.area})
    ]
    return stores + [
        str(layout.model(model)) for own in named.values() for model in own
    ]
