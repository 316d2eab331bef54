"""What must agree between the sections of an area file: one function for each.

They raise a ValueError whose message is `key: what is wrong`.
"""

import functools

from mapmill.comparisons import comparisons_fit
from mapmill.config import Area
from mapmill.derive import metres_of, planned
from mapmill.grid import Grid, Window
from mapmill.mapping_unit import filters_fit
from mapmill.sections import VECTOR_SUFFIXES


def classes_exist(area: Area) -> None:
    """Classes are 1 to K, and every number that names one is one."""
    classes = set(area.classes)
    if classes != set(range(1, len(classes) + 1)) or len(classes) > 254:
        raise ValueError("classes: numbers other than 1, 2, 3 ... without gaps, at most 254")
    if len(set(area.class_names)) < len(classes):
        raise ValueError("classes: two of the same name")
    for key, value in ((area.labels and area.labels.codes) or {}).items():
        if value not in classes | {0}:
            raise ValueError(f"labels.codes.{key}: {value}, which is no class")
    named = {"downsample.class_weights": list(area.downsample.class_weights)}
    named["select.drop_only"] = area.select.drop_only if area.select else []
    named["sample.accuracies"] = list(area.sample.accuracies)
    for run in area.runs:
        named[f"train.given_weights (run {run})"] = list(area.train_of(run).given_weights)
    for key, values in named.items():
        for value in values:
            if value not in classes:
                raise ValueError(f"{key}: {value}, which is no class")


def grid_or_chips(area: Area) -> None:
    """Imagery is on one grid, with a search; or in chips, with neither."""
    if (area.grid is None) == (area.chips is None):
        raise ValueError("grid: both or none of grid and chips")
    if area.grid and area.search is None:
        raise ValueError("search: nothing, where a grid is given")
    if area.chips:
        for key in ("search", "aoi", "window"):
            if getattr(area, key) is not None:
                raise ValueError(f"{key}: a key of grids, beside chips")
        held = [band for entry in area.chips.images for band in entry.bands]
        for band in area.compose.bands:
            if held.count(band) != 1:
                raise ValueError(
                    f"compose.bands: {band} is {held.count(band)} times in chips.images"
                )


def scenes_are_combined(area: Area) -> None:
    """Masks and combinations are for scenes, with bands that their source serves."""
    mask, pansharpen = area.compose.mask, area.compose.pansharpen
    if area.chips:
        given = area.compose.model_fields_set & {"mask", "pansharpen", "combine", "ndvi"}
        if given:
            raise ValueError(f"compose.{min(given)}: a key for scenes, beside chips")
    others = pansharpen or (mask and mask.band_name != "SCL")
    if area.source == "sentinelhub" and others:
        raise ValueError(
            f"compose.{'pansharpen' if pansharpen else 'mask'}: a band that Sentinel Hub does not "
            "serve; beside compose.bands it serves SCL"
        )


def labels_fit(area: Area) -> None:
    """Labels say where they are, and how polygons become classes."""
    labels = area.labels
    if labels is None:
        return
    if area.chips:
        given = labels.model_fields_set - {"codes", "table"}
        if given:
            raise ValueError(
                f"labels.{min(given)}: a key of label maps; chips have masks, under chips.masks"
            )
        return
    if not labels.source:
        raise ValueError("labels: neither file nor url")
    polygons = labels.suffix in VECTOR_SUFFIXES
    colours = [code for code in labels.codes or {} if code.startswith("#")]
    if colours and not polygons:
        raise ValueError(f"labels.codes.{colours[0]}: a colour, which is for the masks of chips")
    if polygons and not (labels.attribute and labels.codes):
        raise ValueError("labels: polygons without labels.attribute and labels.codes")


def something_to_learn_from(area: Area) -> None:
    """What is trained has labels, here or in the areas it is trained on."""
    labelled = area.has_labels
    if labelled and area.select is None:
        raise ValueError("select: nothing, where there are labels")
    if area.model and area.runs:
        raise ValueError("runs: runs beside model, with which nothing is trained; take one out")
    if not area.model and not area.runs:
        raise ValueError("runs: none, and no model: AREA/RUN")
    for name in area.runs:
        if area.train_of(name).train_on is None and not labelled:
            raise ValueError(
                f"labels: nothing; run {name} learns from this area "
                "(else give model: AREA/RUN, or train_on with other areas)"
            )


def maps_fit(area: Area) -> None:
    """Maps name runs and periods that exist."""
    for name in area.periods:
        area.moments(name)
    for name, made in area.maps.items():
        if made.run is None and not area.model:
            raise ValueError(f"maps.{name}.run: nothing; runs has {', '.join(area.runs)}")
        if made.run is not None and made.run not in area.runs:
            known = ", ".join(area.runs) or "none, since model: is given"
            raise ValueError(f"maps.{name}.run: {made.run}, none of the runs ({known})")
        for period in made.periods or ():
            if period not in area.periods:
                raise ValueError(f"maps.{name}.periods: {period}, none of the periods")


def sources_fit(area: Area) -> None:
    """What the source of the imagery needs is there."""
    if area.source == "sample" and area.download.sample is None:
        raise ValueError("download.sample: nothing, where search.source is sample")


def window_fits(area: Area) -> None:
    """The window is a box within the grid."""
    if area.grid:
        extent_of(area)


def tiles_fit(area: Area) -> None:
    """A tile is no larger than the area."""
    if area.select is None:
        return
    if area.grid:
        part = extent_of(area)
        for key, sizes in (("size", [area.select.size]), ("more_sizes", area.select.more_sizes)):
            if max(sizes, default=0) > min(part.width, part.height):
                raise ValueError(
                    f"select.{key}: {max(sizes)}, larger than the area "
                    f"({part.width} x {part.height} pixels)"
                )


def patches_fit(area: Area) -> None:
    """What a run learns from is packed, and its crop is no larger."""
    if area.select is None:
        return
    for name in area.runs:
        chosen = area.train_of(name)
        side, what = chosen.size or area.select.size, "train" if chosen.size else "select"
        if chosen.crop and chosen.crop > side:
            raise ValueError(f"train.crop: {chosen.crop}, larger than {what}.size ({side})")
        if chosen.train_on is None and side not in sizes_of(area):
            packed = ", ".join(map(str, sizes_of(area)))
            raise ValueError(
                f"train.size (run {name}): {side}, which is not packed ({packed} is; see "
                "select.more_sizes)"
            )


def sizes_of(area: Area) -> list[int]:
    """Sides of the patches that are packed, the main one first; none where there are no labels."""
    if area.select is None:
        return []
    return [area.select.size, *area.select.more_sizes]


FOR_CHIPS = ("chip", "column", "random", "subtiles")
FOR_GRIDS = ("strips", "blocks", "strata", "subtiles", "random", "column")


def split_fits(area: Area) -> None:
    """The split suits a grid or chips, and what it names is there."""
    if area.select is None:
        return
    split = area.split()
    known = FOR_CHIPS if area.chips else FOR_GRIDS
    if split.method not in known:
        kind, other = ("grids", "chips") if area.chips else ("chips", "grids")
        raise ValueError(
            f"select.split.method: {split.method}, for {kind}; {other} have {', '.join(known)}"
        )
    named = split.column or split.strata
    if area.chips and split.polygons:
        raise ValueError("select.split.polygons: polygons, for grids; chips have chips.table")
    if area.chips and named and not area.chips.table:
        raise ValueError(f"select.split: column {named}, but no chips.table")
    if area.grid and named and not split.polygons:
        raise ValueError(f"select.split: {named}, an attribute of polygons, but no polygons")
    if area.runs and not split.folds and split.method != "column" and split.train <= 0:
        raise ValueError("select.split.train: no share for training")
    if split.buffer == "auto" and not area.runs:
        raise ValueError("select.split.buffer: auto, but no runs whose nets it could be for")


def features_fit(area: Area) -> None:
    """Channels are made from bands that exist; slopes have a size of pixels."""
    for name in area.runs:
        try:
            planned(area.train_of(name), area.bands, metres_of(area), lenient=True)
        except ValueError as error:
            _, _, problem = str(error).partition(": ")
            raise ValueError(f"train.features (run {name}): {problem}") from None
        without = area.train_of(name).without
        for band in without:
            if band not in area.bands:
                known = ", ".join(area.bands)
                raise ValueError(f"train.without (run {name}): {band}, none of the bands ({known})")
        if set(without) == set(area.bands) and not area.train_of(name).features:
            raise ValueError(f"train.without (run {name}): all bands; nothing is left to see")


def fractions_fit(area: Area) -> None:
    """How pure the labels are is packed where a run asks for it."""
    for name in area.runs:
        chosen, key = area.train_of(name), f"train.fraction (run {name}): "
        if chosen.fraction == "none" or chosen.train_on:
            continue
        if area.chips:
            raise ValueError(f"{key}{chosen.fraction}, for grids; masks of chips have no shares")
        if not area.downsample.fraction:
            raise ValueError(f"{key}{chosen.fraction} without downsample.fraction: true")


def periods_fit(area: Area) -> None:
    """Periods are joined where there are several, of this area alone."""
    for name in area.runs:
        chosen, key = area.train_of(name), f"train.periods (run {name}): channels, "
        if chosen.periods == "samples":
            continue
        if area.chips:
            raise ValueError(f"{key}for grids; chips have no periods")
        if chosen.train_on:
            raise ValueError(f"{key}which does not go with train_on")
        if len(area.periods) < 2:
            raise ValueError(f"{key}for several periods, and there is one")


def encoders_fit(area: Area) -> None:
    """Weights are for a ResNet, and a run starts from one thing only."""
    for name in area.runs:
        chosen = area.train_of(name)
        if chosen.weights and chosen.encoder == "plain":
            raise ValueError(
                f"train.weights (run {name}): weights for a plain encoder; a resnet has them"
            )
        if chosen.weights and chosen.init:
            raise ValueError(f"train.init (run {name}): both weights and init")
        side = chosen.crop or chosen.size or (area.select.size if area.select else 0)
        stride = chosen.design.stride
        if side and chosen.design.normalises and chosen.batch * (-(-side // stride)) ** 2 < 2:
            raise ValueError(
                f"train.batch (run {name}): one value a channel at {side} px leaves nothing to "
                "normalise over; raise batch, crop or select.size"
            )


def nets_fit(area: Area) -> None:
    """One logit and its threshold are for two classes; an unpadded net has a patch to look at."""
    count = len(area.classes)
    if area.predict.is_calibrated and not area.has_labels:
        raise ValueError("predict.threshold: validation, where there are no labels")
    if area.predict.threshold != 0.5 and count != 2:
        raise ValueError(
            f"predict.threshold: {area.predict.threshold}, for areas of two classes, and there "
            f"are {count}"
        )
    for name in area.runs:
        chosen = area.train_of(name)
        if chosen.activation == "sigmoid" and count != 2:
            raise ValueError(
                f"train.activation (run {name}): sigmoid, for areas of two classes, and there "
                f"are {count}; take softmax"
            )
        side = chosen.crop or chosen.size or (area.select.size if area.select else 0)
        if side and side <= 2 * chosen.design.margin:
            raise ValueError(
                f"train.padding (run {name}): valid, which takes {chosen.design.margin} px from "
                f"each side of patches of {side} px; lower depth or raise crop, size or select.size"
            )


def extent_of(area: Area) -> Window:
    """The part of the grid that is worked on: all of it, or the blocks that `window` touches."""
    grid = area.the_grid()
    return grid.window if area.window is None else _extent(grid, tuple(area.window))


@functools.cache
def _extent(grid: Grid, window: tuple[float, ...]) -> Window:
    left, bottom, right, top = window
    step = grid.resolution
    row, col = _floor((grid.top - top) / step), _floor((left - grid.left) / step)
    end = -_floor((bottom - grid.top) / step), -_floor((grid.left - right) / step)
    asked = Window(row, col, end[0] - row, end[1] - col)
    blocks = grid.blocks_touching(asked) if right > left and top > bottom else []
    if not blocks:
        raise ValueError(f"window: {list(window)} is no box within the grid's bounds")
    first, last = blocks[0].window, blocks[-1].window
    size = last.row_end - first.row, last.col_end - first.col
    return Window(first.row, first.col, *size)


def _floor(value: float) -> int:
    # a hair's breadth of rounding must not take in a row of blocks
    return int((value + 1e-6) // 1)


def check(area: Area) -> None:
    """Raise ValueError for the first thing that does not agree."""
    for each in CHECKS:
        each(area)


CHECKS = (
    classes_exist,
    grid_or_chips,
    scenes_are_combined,
    labels_fit,
    something_to_learn_from,
    maps_fit,
    comparisons_fit,
    sources_fit,
    window_fits,
    tiles_fit,
    split_fits,
    patches_fit,
    encoders_fit,
    features_fit,
    fractions_fit,
    periods_fit,
    nets_fit,
    filters_fit,
)
