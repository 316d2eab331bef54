"""The text of an area file as a value, with mistakes told in one line."""

import difflib
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from mapmill.codes import read_codes
from mapmill.config import Area
from mapmill.consistency import check
from mapmill.errors import ConfigError
from mapmill.regular import read_text
from mapmill.sections import Section, Train
from mapmill.sections.base import LINE

AREA_NAME = r"[a-z0-9][a-z0-9-]{0,79}"
DEEPEST, MOST_NODES = 50, 200_000
"""Of an area file, which has five levels and some hundred keys and values."""


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


def parse_area(path: Path) -> Area:
    """Read an area file by itself.

    Raises
    ------
    ConfigError
        with one line that names the file, the key, what was found and what is allowed.
    """
    if not re.fullmatch(AREA_NAME, path.stem):
        raise ConfigError(
            path, f"the name {path.stem!r}", "lower-case letters, digits and hyphens", "rename it"
        )
    content = _like(path, _mapping_in(path))
    labels = content.get("labels")
    if isinstance(labels, dict):
        _read_labels(path, labels)
    search = content.get("search")
    if isinstance(search, dict) and isinstance(search.get("periods"), dict):
        search["periods"] = {str(name): value for name, value in search["periods"].items()}
    try:
        area = Area.model_validate(content)
        check(area)
    except ValidationError as error:
        raise _one_line(path, error, content) from None
    except ValueError as error:
        raise _inconsistent(path, "", str(error)) from None
    return area


def _like(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content with all that it leaves to the area that it is `like`.

    Of a section the keys that are given replace those there, whole.
    """
    name = content.get("like")
    if not isinstance(name, str) or not re.fullmatch(AREA_NAME, name):
        return content  # what is wrong with it is told with all else
    other = path.with_name(f"{name}.yaml")
    if not other.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"{path}: like", f"area {name}", f"one of {known}", "check the name")
    theirs = _mapping_in(other)
    if "like" in theirs:
        found = f"{name}, which is itself like {theirs['like']}"
        raise ConfigError(f"{path}: like", found, "an area that stands by itself", "name that one")
    for key, own in content.items():
        both = isinstance(own, dict) and isinstance(theirs.get(key), dict)
        theirs[key] = theirs[key] | own if both else own
    return theirs


def _read_labels(path: Path, labels: dict[str, Any]) -> None:
    """Codes as texts, from the section itself or from its table."""
    codes, table = labels.get("codes"), labels.get("table")
    if isinstance(table, str):
        if codes is not None:
            raise ConfigError(f"{path}: labels", "codes and table", "one of them", "take one out")
        labels["codes"] = read_codes(Path(table))
    elif isinstance(codes, dict):
        labels["codes"] = {str(code): value for code, value in codes.items()}
        if len(labels["codes"]) < len(codes):  # 5 and "5" are two keys of YAML and one code
            raise ConfigError(
                f"{path}: labels.codes", "a code twice", "each code once", "take one out"
            )


PATTERNS = {
    "^#[0-9a-fA-F]{6}$": "a colour as #rrggbb",
    "^[a-z0-9-]+/[a-z0-9-]+$": "area/run",
    "^[0-9a-f]{64}$": "64 digits 0-9 a-f",
    LINE: "one line of text",
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$": "a moment such as 2018-04-30T23:59:59Z",
}


def _inconsistent(path: Path, section: str, problem: str) -> ConfigError:
    """A mistake told as `key: what is wrong`, or just what is wrong."""
    key, told, rest = problem.partition(": ")
    is_key = told and re.fullmatch(r"[^\s:]+", key)
    place = ".".join(part for part in (section, key if is_key else "") if part)
    found = rest if is_key else problem
    return ConfigError(
        f"{path}: {place}" if place else path, found, "an area that fits", "correct it"
    )


def _check_size(text: str) -> None:
    """Refuse what the library would follow into the ground: it recurses in C, without a limit.

    Raises
    ------
    ValueError
        if values are nested deeper than DEEPEST, or there are more than MOST_NODES.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"values nested deeper than {DEEPEST}")
        if number > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} keys and values")


def _mapping_in(path: Path) -> dict[str, Any]:
    """The YAML file's content."""
    try:
        text = read_text(path)
        _check_size(text)
        content = yaml.load(text, _StrictLoader)  # noqa: S506
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(path, "no such file", "an area file", f"areas here: {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, str(error), "a readable UTF-8 file", "check the file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = (getattr(error, "problem", None) or str(error)).removeprefix("found ")
        if "\\t" in problem:
            problem += " (a tab: indent with spaces)"
        raise ConfigError(line, problem, "valid YAML", "correct that line") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(path, str(error), "plain YAML", "shorten it") from None
    if not isinstance(content, dict):
        raise ConfigError(path, type(content).__name__, "a mapping of sections", "see demo.yaml")
    return content


def _one_line(path: Path, error: ValidationError, content: dict[str, Any]) -> ConfigError:
    """The first mistake, as file: key path: found, expected, remedy."""
    first = next((e for e in error.errors() if e["type"] == "extra_forbidden"), error.errors()[0])
    keys = [str(key) for key in first["loc"] if key != "[key]"]
    where = f"{path}: {'.'.join(keys)}" if keys else str(path)
    more = f" ({error.error_count() - 1} more mistakes follow)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = _keys_at(first["loc"][:-1])
        remedy = _mend(keys[-1], allowed)
        return ConfigError(
            where, f"unknown key {keys[-1]!r}", f"one of {', '.join(allowed)}", remedy + more
        )
    if first["type"] == "missing":
        return ConfigError(where, "nothing", "a value, since the key is required", "add it" + more)
    if first["type"] == "value_error":
        return _inconsistent(path, ".".join(keys), first["msg"].removeprefix("Value error, "))
    found = "nothing" if first["input"] is None else reprlib.repr(first["input"])
    found = found if len(found) < 80 else found[:77] + "..."
    remedy = "fill it in, or take the line out" if first["input"] is None else "correct it"
    return ConfigError(where, found, _expected(first), remedy + more)


def _expected(mistake: Any) -> str:
    """What pydantic would have taken, in the words of an area file."""
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "a mapping, key: value"
    if kind == "list_type":
        return "a list, [a, b]"
    if kind == "too_short":
        return f"at least {context['min_length']}"
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"text like {context['pattern']}")
    return str(mistake["msg"]).replace("Input should be ", "")


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


def _mend(key: str, allowed: list[str]) -> str:
    """What to do about an unknown key: the nearest right one, or the section that has it."""
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
    close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.8)
    homes = " or ".join(_homes_of(key))
    if homes and not close:
        return f"it belongs under {homes}" + (f"; or did you mean {near[0]!r}?" if near else "")
    return f"did you mean {near[0]!r}?" if near else "remove it"


def _homes_of(key: str) -> list[str]:
    """Where keys of this name are at home: sections, or the first level."""
    if key in Area.model_fields:
        return ["the first level of the file"]
    return sorted({f"{place}:" for place, names in _sections(Area, "") if key in names})


def _sections(model: type[BaseModel], place: str) -> Iterator[tuple[str, set[str]]]:
    """Each section below `model`, as its place in the file and the names of its keys."""
    for name, field in model.model_fields.items():
        below = f"{place}.{name}" if place else name
        for each in _models_in(field.annotation):
            if issubclass(each, Section):
                yield below, set(each.model_fields)
                yield from _sections(each, below)
