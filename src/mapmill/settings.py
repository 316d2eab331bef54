"""What a stage's output depends on: its settings, as JSON values, and their digest."""

import hashlib
import json
from typing import Any

from mapmill.buffers import buffer_of
from mapmill.chain import VERSION
from mapmill.config import Area
from mapmill.sections import CATALOGUES

PLACE = ("compose", "downsample", "select", "calibrate", "predict", "mosaic", "vectorise", "assess")
"""Stages whose outputs lie on the grid."""
NOT_ASKED = ("deployment", "empty")
"""Settings of Sentinel Hub that change nothing in what is served."""
AFTER_PROBABILITIES = ("threshold", "temperature", "layers", "members", "threads", "device")
"""Settings of `predict` on which no probability depends."""
EXTENT = ("select", "calibrate", "predict", "mosaic", "vectorise", "assess")
"""Stages that look beyond one block: which blocks there are matters to them."""


def settings(area: Area, stage: str, name: str | None = None) -> dict[str, Any]:
    """Everything in the area file that a stage's output depends on, as JSON values.

    Parameters
    ----------
    stage : name of the stage
    name : the period for `search`, the file for `download`, the model for `train`, the map for
        `calibrate`, `predict`, `mosaic` and `vectorise`, the comparison for `compare`
    """
    content = area.model_dump(mode="json")
    result = {"version": VERSION[stage]} | _section(area, content, stage, name or "")
    if stage in PLACE:
        result |= {f"grid.{key}": value for key, value in (content["grid"] or {}).items()}
    if stage in EXTENT:
        result |= {key: content[key] for key in ("aoi", "window") if content[key]}
    if stage in ("select", "pack", "calibrate", "predict") and area.chips:
        result |= {f"chips.{key}": value for key, value in content["chips"].items()}
        result |= {f"compose.{key}": value for key, value in content["compose"].items()}
    if stage == "downsample" or (stage == "select" and area.chips):
        result |= {f"labels.{key}": value for key, value in (content["labels"] or {}).items()}
    if stage == "select" and area.split().buffer == "auto":
        result["buffer_px"] = buffer_of(area)
    if stage in ("downsample", "select"):
        result["classes"] = sorted(area.classes)
    return result | _after_patches(area, content, stage, name or "")


def _after_patches(area: Area, content: dict[str, Any], stage: str, name: str) -> dict[str, Any]:
    """What matters to patches and to what is made of them."""
    result: dict[str, Any] = {}
    if stage == "pack" and area.downsample.fraction:
        result["downsample.fraction"] = True
    if stage in ("pack", "train"):
        result["classes"] = {value: area.classes[value].name for value in sorted(area.classes)}
        result["units"] = area.compose.units
    if stage in ("calibrate", "predict"):
        run = area.run_of(name)
        result["models"] = area.seeds_of(run) if run else area.model
        result["periods"] = area.periods_of(name)
    if stage in ("mosaic", "assess", "compare"):
        shown = ("classes", "attribution", "title", "license")
        result |= {key: content[key] for key in shown}
    if stage == "calibrate":
        chosen = content["predict"].items()
        result |= {f"predict.{k}": v for k, v in chosen if k not in AFTER_PROBABILITIES}
    if stage == "vectorise":
        result["classes"] = content["classes"]
    if stage == "mosaic" and area.providers:
        result["providers"] = content["providers"]
    if stage == "tabulate":
        result["classes"] = area.class_names
        result["maps"] = [[name, *area.periods_of(name)] for name in area.maps]
    return result


def _section(area: Area, content: dict[str, Any], stage: str, name: str) -> dict[str, Any]:
    """The stage's own section, or what of it concerns `name`."""
    if stage == "train":
        run, seed = area.run_and_seed(name)
        own = area.train_of(run).model_dump(mode="json", exclude={"seeds", "resident"})
        return own | {"seed": seed} | _fold(area, name)
    if stage == "compare":
        models = area.models_of_comparison(name)
        runs = [[run, own, content["runs"][run]] for run, own in models.items()]
        return {"runs": runs}  # a list: the first is what the others are held against
    if stage == "search":
        asked: dict[str, Any] = content["search"]
        asked = asked | {"periods": area.period(name).model_dump(mode="json")}
        return asked | (_asked_of_catalogue(area, content) if area.source in CATALOGUES else {})
    if stage == "download":
        return _download(area, content, name)
    section: dict[str, Any] = content[stage] or {}
    if stage == "downsample":  # the fraction is always written; whether it is packed is told here
        return {key: value for key, value in section.items() if key != "fraction"}
    return section


def _fold(area: Area, model: str) -> dict[str, Any]:
    """What a model for one fold depends on beside its run."""
    fold = area.fold_of(model)
    if fold is None:
        return {}
    return {"fold": fold, "folds": area.split().folds, "buffer_px": buffer_of(area)}


def _download(area: Area, content: dict[str, Any], name: str) -> dict[str, Any]:
    """What one downloaded file depends on."""
    kind, _, rest = name.partition("/")
    if name == "sample.whl":
        return content["download"]["sample"] or {}
    if rest and area.source in CATALOGUES:
        return _reading(area, content)
    if rest:
        return _request(area, content, kind) if area.source == "sentinelhub" else {}
    if kind.startswith("labels."):
        keys = ("file", "url", "size", "sha256")
        place = {key: content["labels"][key] for key in keys} if content["labels"] else {}
        return place | {"source": area.source}
    if kind.startswith("weights-"):
        run = kind.removeprefix("weights-").rpartition(".")[0]
        weights = area.train_of(run).weights
        return weights.model_dump(mode="json") if weights else {}
    return {}


def _asked_of_catalogue(area: Area, content: dict[str, Any]) -> dict[str, Any]:
    """What a search depends on beside its own section: the ground, and the bands."""
    place = {f"grid.{key}": value for key, value in content["grid"].items()}
    place |= {key: content[key] for key in ("aoi", "window") if content[key]}
    return place | {"bands": area.compose.wanted}


def _reading(area: Area, content: dict[str, Any]) -> dict[str, Any]:
    """What a catalogue's file depends on: only a part of it on where the area is."""
    if content["download"]["read"] == "whole":
        return {}
    return {"read": "window"} | _asked_of_catalogue(area, content)


def _request(area: Area, content: dict[str, Any], period: str) -> dict[str, Any]:
    """What is asked of a service that serves block by block."""
    chosen = {k: v for k, v in content["download"]["sentinelhub"].items() if k not in NOT_ASKED}
    asked = {"sentinelhub": chosen, "time": area.moments(period)}
    return asked | {"grid": content["grid"], "bands": area.compose.bands}


def digest(area: Area, stage: str, name: str | None = None) -> str:
    """Short digest of `settings`, for provenance."""
    text = json.dumps(settings(area, stage, name), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
