"""Scores, calibration and the fate of classes in downsampling, as tables for people."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapmill import few_cells
from mapmill.areas import totals
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.layout import Layout
from mapmill.pages import Table
from mapmill.scores import SCORES, interval

PARTS = {"val": "validation", "test": "test"}
EDGES = ("precision", "recall", "f1", "iou", "boundary_f1")


def score_tables(content: dict[str, Any], calibrated: dict[str, Any] | None) -> list[Table]:
    """All that `assess` found, and what `calibrate` did, if anything.

    Parameters
    ----------
    content : of metrics.json
    """
    parts: dict[str, Any] = content["parts"]
    found = [_models(content), *(_classes(split, part) for split, part in parts.items())]
    found.append(_as_published(parts))
    if calibrated:
        found.append(_before_and_after(calibrated))
    rows = [[name, meaning] for name, meaning in content["definitions"].items()]
    return [*found, Table("Definitions", "", ["score", "what it means"], rows)]


def _models(content: dict[str, Any]) -> Table:
    rows = [
        [PARTS[split], f"{part['pixels']:,}", name, *(interval(values[each]) for each in SCORES)]
        for split, part in content["parts"].items()
        for name, values in part["models"].items()
    ]
    remarks = [
        f" {PARTS[split].capitalize()}: {line.strip()}."
        for split, part in content["parts"].items()
        for line in few_cells.told(part)
    ]
    about = (
        "Agreement with the labels; in brackets the 95 % interval. Other rows than `map` are its"
        " models alone and the baseline, if one was asked for."
        f" Place: {content['labels and image']}. Distance: {content['distance']}."
        f"{''.join(remarks)}"
    )
    header = ["part", "labelled pixels", "model", *SCORES]
    return Table("The map and its models", about, header, rows)


def _classes(split: str, part: dict[str, Any]) -> Table:
    rows = [
        [
            row["name"],
            f"{row['reference_pixels']:,}",
            f"{row['mapped_pixels']:,}",
            *("absent" if row[key] is None else f"{row[key]:.3f}" for key in EDGES),
        ]
        for row in part["classes"]
    ]
    header = ["class", "label pixels", "map pixels", "precision", "recall", "F1", "IoU"]
    about = "Low precision: the class is mapped where it is not. Low recall: it is missed."
    return Table(f"Classes, {PARTS[split]} part", about, [*header, "boundary F1"], rows)


def _as_published(parts: dict[str, Any]) -> Table:
    rows = [
        [PARTS[split], *(_number(part["calibration"][key]) for key in ("ECE", "Brier"))]
        for split, part in parts.items()
    ]
    about = (
        "Of all labelled pixels of the part, by the confidence that is stored with the map: whole"
        " per cent, at the map's temperature, of the mapped class alone. Brier: of that class"
    )
    return Table("Confidence as published", f"{about}.", ["part", "ECE", "Brier"], rows)


def _before_and_after(calibrated: dict[str, Any]) -> Table:
    keys = ("error", "class-wise error", "brier", "negative_log_likelihood")
    rows = [
        [
            PARTS[split],
            f"{part['pixels']:,}",
            when,
            *(_number(part[when][key]) for key in keys),
        ]
        for split, part in sorted(calibrated["parts"].items(), reverse=True)
        for when in ("before", "after")
    ]
    about = (
        f"Temperature {calibrated['temperature']:.3f}, fitted on the validation part. Of labelled"
        " pixels evenly spread over evenly spread tiles, by the probabilities of all classes as"
        " they were averaged, not rounded. Brier: summed over all classes, so it is larger than"
        " above"
    )
    header = ["part", "pixels", "temperature", "ECE", "class-wise ECE", "Brier", "log loss"]
    return Table("Confidence before and after", f"{about}.", header, rows)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def area_table(path: Path) -> Table:
    """Areas of the map's classes, as `mosaic` counted them."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
    except (OSError, ValueError) as error:
        raise ContractError(path, repr(error), "areas of classes", "rerun mosaic") from None
    about = (
        "Counts of the map's pixels, which hold its errors, with the area in square units of the"
        " CRS. Areas with intervals need a probability sample (mapmill sample, mapmill areas)."
    )
    return Table("Areas of the map's classes", about, header, rows)


def downsampling_table(area: Area, layout: Layout) -> Table:
    """Areas of the classes in the label map and on the grid."""
    if area.chips:
        about = "Nothing was downsampled: chips come with masks of their own resolution."
        return Table("Classes before and after downsampling", about, [], [])
    areas = totals(area, layout)
    rows = []
    for value, name in enumerate(("no label", *area.class_names)):
        before, after = areas.before[value], areas.after[value]
        change = f"{100 * (after / before - 1):+.1f} %" if before else "none before"
        shares = (
            f"{100 * share[value]:.1f} %" if before and after else "" for share in areas.shares
        )
        rows.append([name, *_sizes([before, after]), change, *shares])
    about = (
        f"Method: {area.downsample.method}. Areas in square units of the CRS. Kept: share of the"
        " class's label pixels that lie in cells of their own class. Purity: mean share of a"
        " cell's label pixels that have its class. Pure: share of the class's cells that hold"
        " nothing else. A class that loses much of its area here cannot be mapped well later."
    )
    header = ["class", "area in the labels", "area on the grid", "change", "kept", "purity", "pure"]
    return Table("Classes before and after downsampling", about, header, rows)


def _sizes(values: Sequence[float]) -> list[str]:
    return [f"{value:,.0f}" if value >= 1000 else f"{value:.6g}" for value in values]
