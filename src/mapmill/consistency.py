"""What must agree between the sections of an area file: one function for each.

They raise a ValueError whose message is `key: what is wrong`.
"""

from mapmill.config import Area
from mapmill.grid import Window
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
    """A tile is no larger than the area; the split suits it."""
    if area.select is None:
        return
    if area.grid:
        part = extent_of(area)
        if area.select.size > min(part.width, part.height):
            raise ValueError(
                f"select.size: {area.select.size}, larger than the area "
                f"({part.width} x {part.height} pixels)"
            )
    split = area.split()
    for_chips = split.method in ("chip", "column") or split.strata is not None
    if for_chips and not area.chips:
        raise ValueError(f"select.split.method: {split.method}, for chips")
    if area.chips and split.method in ("strips", "blocks"):
        raise ValueError(f"select.split.method: {split.method}, for grids; use chip or column")
    named = split.column or split.strata
    if named and area.chips and not area.chips.table:
        raise ValueError(f"select.split: column {named}, but no chips.table")
    if area.runs and not split.folds and split.method != "column" and split.train <= 0:
        raise ValueError("select.split.train: no share for training")


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
    return [area.select.size, *getattr(area.select, "more_sizes", [])]


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
        stride = 32 if chosen.encoder != "plain" else 2**chosen.depth
        if side and chosen.batch * (-(-side // stride)) ** 2 < 2:
            raise ValueError(
                f"train.batch (run {name}): one value a channel at {side} px leaves nothing to "
                "normalise over; raise batch, crop or select.size"
            )


def extent_of(area: Area) -> Window:
    """The part of the grid that is worked on: all of it, or the blocks that `window` touches."""
    grid = area.the_grid()
    if area.window is None:
        return grid.window
    left, bottom, right, top = area.window
    step = grid.resolution
    row, col = _floor((grid.top - top) / step), _floor((left - grid.left) / step)
    end = -_floor((bottom - grid.top) / step), -_floor((grid.left - right) / step)
    asked = Window(row, col, end[0] - row, end[1] - col)
    blocks = grid.blocks_touching(asked) if right > left and top > bottom else []
    if not blocks:
        raise ValueError(f"window: {list(area.window)} is no box within the grid's bounds")
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
    labels_fit,
    something_to_learn_from,
    maps_fit,
    sources_fit,
    window_fits,
    tiles_fit,
    patches_fit,
    encoders_fit,
)
