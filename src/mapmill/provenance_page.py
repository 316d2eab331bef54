"""What a map was made from and with, as tables for people: no host, no date, no path."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mapmill.areafile import models_of
from mapmill.catalogue.items import read_scenes
from mapmill.chain import VERSION
from mapmill.chips import find_chips
from mapmill.config import Area
from mapmill.layout import Layout
from mapmill.pages import Table
from mapmill.provenance import file_digest, software, without_folders
from mapmill.raster.formats import gdal
from mapmill.settings import digest


def provenance_tables(area_path: Path, area: Area, map_name: str) -> list[Table]:
    """Scenes, models, stages, software and settings of a map."""
    return [
        _imagery(area, Layout(area_path.stem), map_name),
        _models(area_path, area, map_name),
        _stages(area, map_name),
        Table(
            "Software",
            "Versions when the map was scored; stages that ran on another day may have had others.",
            ["name", "version"],
            [[name, text] for name, text in (software() | {"GDAL": gdal()[0]}).items()],
        ),
        Table(
            "Settings",
            "As the area file (and the one that it is like) gives them; of absolute paths the last"
            " part and a digest. What is not listed has the default of this version.",
            ["key", "value"],
            list(_lines("", without_folders(area.model_dump(mode="json", exclude_unset=True)))),
        ),
    ]


def _imagery(area: Area, layout: Layout, map_name: str) -> Table:
    if area.chips:
        chips = find_chips(area.chips)
        rows = [[chip.name, ", ".join(Path(f).name for f in chip.files)] for chip in chips]
        return Table("Chips", "Each with its files.", ["chip", "files"], rows)
    rows = [row for period in area.periods_of(map_name) for row in _scenes(area, layout, period)]
    about = f"Source: {area.source}. Scenes are pinned by the search, in this order."
    header = ["period", "scene", "date and time", "cloud cover, per cent"]
    return Table("Imagery", about, header, rows)


def _scenes(area: Area, layout: Layout, period: str) -> Iterator[list[str]]:
    listing = layout.search(period)
    if area.source == "sentinelhub":
        yield [period, "asked for block by block", " to ".join(area.moments(period)), ""]
    elif not listing.exists():  # composed without the workflow
        yield [period, "no list of scenes", "", ""]
    else:
        for scene in read_scenes(listing):
            told = scene.properties
            clouds = told.get("eo:cloud_cover")
            shown = "" if clouds is None else f"{clouds:g}"
            span = (told.get("start_datetime"), told.get("end_datetime"))
            moment = told.get("datetime") or " to ".join(str(end) for end in span if end)
            yield [period, scene.id, moment, shown]


def _models(area_path: Path, area: Area, map_name: str) -> Table:
    rows = [
        [name, file_digest(path) if path.exists() else "no longer there"]
        for name, path in models_of(area_path, area, map_name).items()
    ]
    return Table("Models", "The map is the mean of these.", ["model", "sha256 of its file"], rows)


def _stages(area: Area, map_name: str) -> Table:
    of_map = [*(["calibrate"] if area.predict.is_calibrated else []), "predict"]
    of_map += [] if area.chips else ["mosaic"]
    of_area = ["select", "pack"] if area.chips else ["compose", "downsample", "select", "pack"]
    named: list[tuple[str, str | None]] = [(stage, None) for stage in of_area]
    named += [*((stage, map_name) for stage in of_map), ("assess", None)]
    rows = [[stage, str(VERSION[stage]), digest(area, stage, name)] for stage, name in named]
    about = "Equal versions and digests mean that a stage was asked for the same."
    return Table("Stages", about, ["stage", "version", "digest of its settings"], rows)


def _lines(key: str, value: Any) -> Iterator[list[str]]:
    """Key and value of every setting, the keys joined by dots."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _lines(f"{key}.{name}" if key else str(name), below)
    else:
        yield [key, _plain(value)]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value)
    return json.dumps(value)
