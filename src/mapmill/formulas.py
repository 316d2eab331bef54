"""Formulas of indices: sums, differences, products, quotients and powers of bands. Pure Python.

A formula is parsed and walked, never executed: any other syntax is refused. Bands go by the
symbols of the catalogue Awesome Spectral Indices (Montero et al. 2023, Scientific Data 10:197).
"""

import ast
import functools
import importlib.util
import json
import operator
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

LONGEST, DEEPEST = 1000, 60
INDICES = {
    "NDVI": "(N - R) / (N + R)",  # Rouse et al. 1974
    "GNDVI": "(N - G) / (N + G)",  # Gitelson et al. 1996
    "NDREI": "(N - RE1) / (N + RE1)",  # Gitelson and Merzlyak 1994
    "EVI": "2.5 * (N - R) / (N + 6 * R - 7.5 * B + 1)",  # Huete et al. 2002
    "EVI2": "2.5 * (N - R) / (N + 2.4 * R + 1)",  # Jiang et al. 2008
    "SAVI": "1.5 * (N - R) / (N + R + 0.5)",  # Huete 1988, with L = 0.5
    "MSAVI": "0.5 * (2 * N + 1 - ((2 * N + 1) ** 2 - 8 * (N - R)) ** 0.5)",  # Qi et al. 1994
    "NDWI": "(G - N) / (G + N)",  # McFeeters 1996
    "MNDWI": "(G - S1) / (G + S1)",  # Xu 2006
    "NDMI": "(N - S1) / (N + S1)",  # Hardisky et al. 1983
    "NBR": "(N - S2) / (N + S2)",  # Lopez Garcia and Caselles 1991
    "NBR2": "(S1 - S2) / (S1 + S2)",
    "NDSI": "(G - S1) / (G + S1)",  # Hall et al. 1995
    "NDBI": "(S1 - N) / (S1 + N)",  # Zha et al. 2003
    "BSI": "((S1 + R) - (N + B)) / ((S1 + R) + (N + B))",  # Rikimaru et al. 2002
    "gray": "0.299 * R + 0.587 * G + 0.114 * B",  # ITU-R BT.601
}
"""What needs no catalogue."""
SYMBOLS = {
    "A": ("B01", "coastal"),
    "B": ("B02", "blue"),
    "G": ("B03", "green"),
    "R": ("B04", "red"),
    "RE1": ("B05", "rededge071"),
    "RE2": ("B06", "rededge075"),
    "RE3": ("B07", "rededge078"),
    "N": ("B08", "nir"),
    "N2": ("B8A", "nir08"),
    "WV": ("B09", "nir09"),
    "S1": ("B11", "swir16"),
    "S2": ("B12", "swir22"),
}
"""Names of bands that a symbol stands for unless the area says otherwise: Sentinel-2's, STAC's."""
OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


class Index(NamedTuple):
    """One index: its formula, and the numbers in it that have names."""

    formula: str
    constants: dict[str, float]


@functools.lru_cache(maxsize=512)
def parsed(formula: str) -> ast.expr:
    """The formula as a tree.

    Raises
    ------
    ValueError
        if it is anything but arithmetic on names and numbers.
    """
    if len(formula) > LONGEST:
        raise ValueError(f"a formula of {len(formula)} letters; at most {LONGEST}")
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"`{formula}`, which is no formula") from None
    _check(tree, formula, DEEPEST)
    return tree


def _check(node: ast.expr, formula: str, depth: int) -> None:
    parts: list[ast.expr] = []
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow()):
            parts = [node.left, node.right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            parts = [node.operand]
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            pass
        case ast.Name():
            pass
        case _:
            raise ValueError(f"`{ast.unparse(node)}` in `{formula}`; only + - * / ** of bands")
    if not depth:
        raise ValueError(f"`{formula}`, nested more than {DEEPEST} deep")
    for part in parts:
        _check(part, formula, depth - 1)


def names_in(formula: str) -> list[str]:
    """Names in a formula, each once, in order of the alphabet."""
    return sorted({node.id for node in ast.walk(parsed(formula)) if isinstance(node, ast.Name)})


def evaluate(
    formula: str,
    values: Mapping[str, Any],
    divide: Callable[[Any, Any], Any],
    power: Callable[[Any, Any], Any],
) -> Any:
    """The formula's value for numbers or arrays by name."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return float(node.value)  # type: ignore[arg-type]
            case ast.Name():
                return values[node.id]
            case ast.UnaryOp():
                inner = value(node.operand)
                return -inner if isinstance(node.op, ast.USub) else inner
            case ast.BinOp():
                left, right = value(node.left), value(node.right)
                if isinstance(node.op, ast.Div):
                    return divide(left, right)
                if isinstance(node.op, ast.Pow):
                    return power(left, right)
                return OPERATIONS[type(node.op)](left, right)
        raise AssertionError(node)

    return value(parsed(formula))


def depends_on_scale(formula: str, constants: Mapping[str, float]) -> bool:
    """Whether bands in other units give another pattern, not just a multiple of it.

    A homogeneous formula f(2x) = 2^d f(x) does not; tried at random reflectances.
    """
    source, ratios = random.Random(0), []  # noqa: S311
    free = [name for name in names_in(formula) if name not in constants]
    for _ in range(8):
        once = {name: source.uniform(0.02, 0.6) for name in free}
        twice = {name: 2 * number for name, number in once.items()}
        try:
            first, second = (
                evaluate(formula, {**constants, **each}, operator.truediv, operator.pow)
                for each in (once, twice)
            )
            ratios.append(second / first)
        except (ArithmeticError, TypeError):
            continue
    return any(abs(ratio - ratios[0]) > 1e-9 * abs(ratios[0]) for ratio in ratios)


def band_of(symbol: str, bands: Iterable[str], roles: Mapping[str, str]) -> str | None:
    """The band that a symbol stands for: as `roles` say, of that name, or of a usual name."""
    known = {band.casefold(): band for band in reversed(list(bands))}
    if symbol in roles:
        return roles[symbol]
    names = (symbol, *SYMBOLS.get(symbol, ()))
    return next((known[name.casefold()] for name in names if name.casefold() in known), None)


def index_named(name: str) -> Index | None:
    """An index by name: one of `INDICES`, or of the catalogue if that is installed."""
    if name in INDICES:
        return Index(INDICES[name], {})
    return catalogue().get(name)


@functools.cache
def catalogue() -> dict[str, Index]:
    """The indices that the package spyndex holds; none where it is not installed.

    Its files are read, its code is not imported.
    """
    found = importlib.util.find_spec("spyndex")
    if found is None or not found.submodule_search_locations:
        return {}
    folder = Path(next(iter(found.submodule_search_locations))) / "data"
    entries = _json(folder / "spectral-indices-dict.json")["SpectralIndices"]
    constants = _json(folder / "constants.json")
    usual = {
        name: float(each["default"])
        for name, each in constants.items()
        if each.get("default") is not None
    }
    result = {}
    for name, entry in entries.items():
        used = names_in(entry["formula"])
        result[name] = Index(entry["formula"], {n: usual[n] for n in used if n in usual})
    return result


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
