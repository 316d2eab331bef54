"""Evalscripts, as far as regular expressions read them: setup(), and what is returned."""

import re
from dataclasses import dataclass

import numpy as np
from servers.answers import RefusedError

TYPES = {"UINT8": np.uint8, "INT16": np.int16, "UINT16": np.uint16, "FLOAT32": np.float32}
PAIRS = {"[": "]", "{": "}"}
NUMBER = r"\d+(?:\.\d+)?"
SAMPLE = rf"(?:({NUMBER})\s*\*\s*)?\w+(?:\[\w+\])?\.(\w+)(?:\s*\*\s*({NUMBER}))?"


@dataclass(frozen=True)
class Output:
    """One output of setup()."""

    id: str
    bands: int
    sample_type: str
    nodata: float | None

    def typed(self, values_BYX):
        """Values in the type of the file: rounded and clamped, as the service does."""
        if self.sample_type == "AUTO":
            return np.clip(np.rint(values_BYX * 255.0), 0, 255).astype(np.uint8)
        dtype = np.dtype(TYPES[self.sample_type])
        if dtype.kind == "f" or values_BYX.dtype == dtype:
            return values_BYX.astype(dtype)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values_BYX), limits.min, limits.max).astype(dtype)


@dataclass(frozen=True)
class Script:
    """What a request's script asks for."""

    inputs: tuple
    units: str
    mosaicking: str
    outputs: dict
    items: dict
    """Output id -> (band or None, factor) of each of its bands; empty: not readable."""


def bad(message):
    return RefusedError(400, message, parameter="evalscript")


def parsed(text):
    """The script of a request.

    Raises
    ------
    RefusedError
        if the service would not take it.
    """
    if not isinstance(text, str) or not text.lstrip().startswith("//VERSION=3"):
        raise bad("Evalscript must start with //VERSION=3")
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    found = re.search(r"function\s+setup\s*\([^)]*\)\s*(?=\{)", code)
    if not found or not re.search(r"function\s+evaluatePixel\s*\(", code):
        raise bad("Evalscript must have function setup() and function evaluatePixel()")
    setup = _bracketed(code, found.end())
    inputs, units = _inputs(setup)
    mosaicking = re.search(r"mosaicking\s*:\s*(?:[\"']|Mosaicking\.)(\w+)", setup)
    outputs = _outputs(setup)
    rest = code[found.end() + len(setup) :]
    kind = mosaicking[1] if mosaicking else "SIMPLE"
    return Script(inputs, units, kind, outputs, _items(rest, outputs))


def _bracketed(code, start):
    """The text from the bracket at `start` to its partner."""
    depth = []
    for at in range(start, len(code)):
        if code[at] in PAIRS:
            depth.append(PAIRS[code[at]])
        elif depth and code[at] == depth[-1]:
            depth.pop()
            if not depth:
                return code[start : at + 1]
    raise bad("Evalscript has brackets that do not match")


def _section(setup, name):
    found = re.search(rf"\b{name}\s*:\s*(?=[\[{{])", setup)
    if not found:
        raise bad(f"Evalscript's function setup() must return {name}")
    return _bracketed(setup, found.end())


def _inputs(setup):
    section = _section(setup, "input")
    bands = _section(section, "bands") if re.search(r"\bbands\s*:", section) else section
    units = re.search(r"\bunits\s*:\s*\[?\s*[\"'](\w+)[\"']", section)
    names = re.findall(r"[\"'](\w+)[\"']", bands)
    return tuple(names), units[1] if units else "REFLECTANCE"


def _outputs(setup):
    section = _section(setup, "output")
    starts = [match.start() for match in re.finditer(r"\{", section)]
    outputs = [_output(_bracketed(section, start)) for start in starts]
    if len({output.id for output in outputs}) != len(outputs):
        raise bad("Output ids must be unique")
    return {output.id: output for output in outputs}


def _output(text):
    name = re.search(r"\bid\s*:\s*[\"'](\w+)[\"']", text)
    bands = re.search(r"\bbands\s*:\s*(\d+)", text)
    kind = re.search(r"\bsampleType\s*:\s*(?:[\"']|SampleType\.)(\w+)", text)
    nodata = re.search(r"\bnodataValue\s*:\s*(-?[\d.]+)", text)
    sample_type = kind[1] if kind else "AUTO"
    if not bands or (sample_type != "AUTO" and sample_type not in TYPES):
        raise bad("Output must have bands and a known sampleType")
    value = float(nodata[1]) if nodata else None
    return Output(name[1] if name else "default", int(bands[1]), sample_type, value)


def _items(code, outputs):
    """What the return statement that names most bands gives for each output."""
    best = {}
    for match in re.finditer(r"\breturn\s*(?=[\[{])", code):
        block = _bracketed(code, match.end())
        items = {name: _list(block, name, len(outputs) == 1) for name in outputs}
        if all(items.values()) and _named(items) >= _named(best):
            best = items
    return best


def _named(items):
    return sum(band is not None for listed in items.values() for band, _ in listed)


def _list(block, name, alone):
    """(band, factor) of each entry of an output's list; None if it is not one of bands."""
    found = re.search(rf"(?<![\w.])[\"']?{name}[\"']?\s*:\s*(?=\[)", block)
    if found:
        block = _bracketed(block, found.end())
    elif not alone or block[0] != "[":
        return None
    items = []
    for entry in block[1:-1].split(","):
        sample = re.fullmatch(SAMPLE, entry.strip())
        if sample:
            items.append((sample[2], float(sample[1] or 1) * float(sample[3] or 1)))
        elif re.fullmatch(NUMBER, entry.strip()):
            items.append((None, float(entry)))
        elif entry.strip():
            return None
    return items
