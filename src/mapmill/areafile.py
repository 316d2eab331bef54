"""Reading an area file, with mistakes told in one line; and what a stage depends on."""

import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from mapmill.chain import VERSION
from mapmill.config import Area
from mapmill.errors import ConfigError
from mapmill.sections import Train


class _StrictLoader(yaml.CSafeLoader):
    """YAML without duplicate keys, which the standard loader lets the last one win."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool, type(None))):
            raise yaml.MarkedYAMLError(
                problem="a key that is no plain word", problem_mark=key_node.start_mark
            )
        if key in seen:
            raise yaml.MarkedYAMLError(
                problem=f"duplicate key {key!r}", problem_mark=key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


# A date stays the text it was written as: names of periods and moments are texts.
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load_area(path: Path) -> Area:
    """Read and check an area file.

    Raises
    ------
    ConfigError
        with one line that names the file, the key, what was found and what is allowed.
    """
    if not re.fullmatch(r"[a-z0-9-]+", path.stem):
        raise ConfigError(
            path, f"the name {path.stem!r}", "lower-case letters, digits and hyphens", "rename it"
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(path, "no such file", "an area file", f"areas here: {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, str(error), "a readable UTF-8 file", "check the file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(line, problem, "valid YAML", "correct that line") from None
    if not isinstance(content, dict):
        raise ConfigError(path, type(content).__name__, "a mapping of sections", "see demo.yaml")
    if isinstance(content.get("labels"), dict) and isinstance(content["labels"].get("codes"), dict):
        codes = content["labels"]["codes"]
        content["labels"]["codes"] = {str(code): value for code, value in codes.items()}
    search = content.get("search")
    if isinstance(search, dict) and isinstance(search.get("periods"), dict):
        search["periods"] = {str(name): value for name, value in search["periods"].items()}
    try:
        return Area.model_validate(content)
    except ValidationError as error:
        raise _one_line(path, error, content) from None


def _one_line(path: Path, error: ValidationError, content: dict[str, Any]) -> ConfigError:
    """The first mistake, as file: key path: found, expected, remedy."""
    first = next((e for e in error.errors() if e["type"] == "extra_forbidden"), error.errors()[0])
    keys = [str(key) for key in first["loc"] if key != "[key]"]
    where = f"{path}: {'.'.join(keys)}" if keys else str(path)
    more = f" ({error.error_count() - 1} more mistakes follow)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = _keys_at(first["loc"][:-1])
        near = difflib.get_close_matches(keys[-1], allowed, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]!r}?" if near else "remove it"
        return ConfigError(
            where, f"unknown key {keys[-1]!r}", f"one of {', '.join(allowed)}", remedy + more
        )
    if first["type"] == "missing":
        return ConfigError(where, "nothing", "a value, since the key is required", "add it" + more)
    if first["type"] == "value_error":
        problem = first["msg"].removeprefix("Value error, ")
        return ConfigError(where, problem, "a consistent area", "correct it" + more)
    found = repr(first["input"])
    found = found if len(found) < 80 else found[:77] + "..."
    return ConfigError(
        where, found, first["msg"].replace("Input should be ", ""), "correct it" + more
    )


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys allowed at a place in the area file."""
    model: type[BaseModel] = Area
    if location[:1] == ("runs",):
        model, location = Train, location[2:]
    for key in location:
        field = model.model_fields.get(str(key))
        if field is None:
            continue  # a name chosen by the user, such as that of a period
        model = next((m for m in _models_in(field.annotation)), model)
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


ON_THE_GRID = ("compose", "downsample", "select", "predict", "mosaic", "assess")


def settings(area: Area, stage: str, name: str | None = None) -> dict[str, Any]:
    """Everything in the area file that a stage's output depends on, as JSON values.

    Parameters
    ----------
    stage : name of the stage
    name : the period for `search`, the file for `download`, the model for `train`, the map for
        `predict` and `mosaic`
    """
    content = area.model_dump(mode="json")
    result = {"version": VERSION[stage]} | _section(area, content, stage, name or "")
    if stage in ON_THE_GRID:
        result |= {f"grid.{key}": value for key, value in content["grid"].items()}
    if stage == "downsample":
        result |= {f"labels.{key}": value for key, value in content["labels"].items()}
    if stage in ("downsample", "select"):
        result["classes"] = sorted(area.classes)
    if stage in ("pack", "train"):
        result["classes"] = {value: area.classes[value].name for value in sorted(area.classes)}
    if stage == "predict":
        result |= {"models": area.models_of(name or ""), "periods": area.periods_of(name or "")}
    if stage in ("mosaic", "assess"):
        shown = ("classes", "attribution", "title", "license")
        result |= {key: content[key] for key in shown}
    return result


def _section(area: Area, content: dict[str, Any], stage: str, name: str) -> dict[str, Any]:
    """The stage's own section, or what of it concerns `name`."""
    if stage == "train":
        run, seed = area.run_and_seed(name)
        return area.train_of(run).model_dump(mode="json", exclude={"seeds"}) | {"seed": seed}
    if stage == "search":
        own: dict[str, Any] = content["search"]
        return own | {"periods": area.period(name).model_dump(mode="json")}
    if stage == "download":
        if name == "sample.whl":
            return content["download"]["sample"] or {}
        is_label = name.startswith("labels.") and "/" not in name
        return {"file": area.labels.file, "source": area.search.source} if is_label else {}
    section: dict[str, Any] = content[stage]
    return section


def digest(area: Area, stage: str, name: str | None = None) -> str:
    """Short digest of `settings`, for provenance."""
    text = json.dumps(settings(area, stage, name), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
