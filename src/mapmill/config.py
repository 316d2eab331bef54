"""The area file as one value: one grid, the imagery, the labels and every choice of every stage."""

import calendar
import datetime
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from mapmill.errors import ConfigError
from mapmill.sections import (
    VECTOR_SUFFIXES,
    Assess,
    ClassEntry,
    Compose,
    Download,
    Downsample,
    GridSection,
    Labels,
    Map,
    Mosaic,
    Name,
    Pack,
    Period,
    Predict,
    Search,
    Section,
    Select,
    Train,
)


def _moment(period: str, text: str) -> str:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"search.periods.{period}: {text}: {error}") from None
    return text


def _ordered(period: str, start: str, end: str) -> tuple[str, str]:
    if _moment(period, start) > _moment(period, end):
        raise ValueError(f"search.periods.{period}: start {start} is after end {end}")
    return start, end


def _below(error: ValidationError, *keys: str) -> ValidationError:
    """The same mistakes, `keys` further down."""
    lines = [
        InitErrorDetails(
            type=e["type"], loc=(*keys, *e["loc"]), input=e["input"], ctx=e.get("ctx", {})
        )
        for e in error.errors()
    ]
    return ValidationError.from_exception_data("Area", lines)


class Area(Section):
    """One study area."""

    title: str
    attribution: list[str] = Field(min_length=1)
    """Credits that travel with every product and picture."""
    license: str = "other"
    """SPDX identifier of the map's licence, or `other`."""
    grid: GridSection
    classes: dict[int, ClassEntry] = Field(min_length=2)
    """Class 1 to K; 0 is not a class but `ignore`."""
    labels: Labels
    search: Search
    download: Download = Download()
    compose: Compose
    downsample: Downsample = Downsample()
    select: Select
    pack: Pack = Pack()
    train: Train = Train()
    predict: Predict = Predict()
    mosaic: Mosaic = Mosaic()
    assess: Assess = Assess()
    runs: dict[Name, dict[str, Any]] = Field(min_length=1)
    """Named sets of changes to `train`."""
    maps: dict[Name, Map] = Field(min_length=1)

    @model_validator(mode="after")
    def _classes_exist(self) -> "Area":
        classes = set(self.classes)
        if classes != set(range(1, len(classes) + 1)) or len(classes) > 254:
            raise ValueError("classes must be numbered 1, 2, 3 ... without gaps, at most 254")
        for key, value in (self.labels.codes or {}).items():
            if value not in classes | {0}:
                raise ValueError(f"labels.codes.{key} is {value}, which is no class")
        for value in [*self.select.drop_only, *self.downsample.class_weights]:
            if value not in classes:
                raise ValueError(f"select.drop_only or downsample.class_weights: no class {value}")
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> "Area":
        for name in self.search.periods:
            self.moments(name)
        for name in self.runs:
            try:
                self.train_of(name)
            except ValidationError as error:
                raise _below(error, "runs", name) from None
        for name, made in self.maps.items():
            if made.run not in self.runs:
                raise ValueError(f"maps.{name}.run is {made.run}; runs has {', '.join(self.runs)}")
            for period in made.periods or ():
                if period not in self.search.periods:
                    raise ValueError(f"maps.{name}.periods: no period {period}")
        return self

    @model_validator(mode="after")
    def _choices_fit(self) -> "Area":
        if self.search.source == "sample" and self.download.sample is None:
            raise ValueError("search.source is sample, but download.sample is missing")
        if Path(self.labels.file).suffix.lower() in VECTOR_SUFFIXES and not (
            self.labels.attribute and self.labels.codes
        ):
            raise ValueError("labels are polygons: give labels.attribute and labels.codes")
        if len(set(self.compose.bands)) < len(self.compose.bands):
            raise ValueError("compose.bands names a band twice")
        grid = self.grid.grid()
        if self.select.size > min(grid.width, grid.height):
            raise ValueError(
                f"select.size is {self.select.size}, larger than the area "
                f"({grid.width} x {grid.height} pixels)"
            )
        return self

    @model_validator(mode="after")
    def _patches_fit(self) -> "Area":
        for name in self.runs:
            chosen, size = self.train_of(name), self.select.size
            if chosen.crop and chosen.crop > size:
                raise ValueError(f"train.crop is {chosen.crop}, larger than select.size ({size})")
            if (chosen.crop or size) % 2**chosen.depth:
                raise ValueError(
                    f"{'train.crop' if chosen.crop else 'select.size'} is {chosen.crop or size}, "
                    f"no multiple of {2**chosen.depth}, as depth {chosen.depth} of run {name} asks"
                )
        return self

    def _known(self, kind: str, name: str) -> None:
        named: dict[str, Iterable[str]] = {
            "periods": self.search.periods,
            "runs": self.runs,
            "maps": self.maps,
        }
        known = list(named[kind])
        if name not in known:
            raise ConfigError(
                f"{kind} {name}", "no such name", f"one of {', '.join(known)}", "check the name"
            )

    def period(self, name: str) -> Period:
        """A period by its name."""
        self._known("periods", name)
        return self.search.periods[name]

    def moments(self, period: str) -> tuple[str, str]:
        """First and last moment of a period, RFC 3339 in UTC."""
        given = self.search.periods[period]
        match = re.fullmatch(r"(\d{4})(?:-(0[1-9]|1[0-2]))?(?:-(\d\d))?", period)
        if given.start and given.end:
            return _ordered(period, given.start, given.end)
        if not match:
            raise ValueError(f"search.periods.{period}: give start and end, or name it 2017-02")
        year, month, day = (int(part) if part else None for part in match.groups())
        last = calendar.monthrange(year or 1, month or 12)[1]
        start = f"{year}-{month or 1:02d}-{day or 1:02d}T00:00:00Z"
        end = f"{year}-{month or 12:02d}-{day or last:02d}T23:59:59Z"
        return _ordered(period, given.start or start, given.end or end)

    def train_of(self, run: str) -> Train:
        """The training settings of a run: `train` with the run's changes."""
        self._known("runs", run)
        return Train.model_validate({**self.train.model_dump(), **self.runs[run]})

    def models_of(self, map_name: str) -> list[str]:
        """Names of the models that make a map, `{run}-{seed}`."""
        self._known("maps", map_name)
        run = self.maps[map_name].run
        return [f"{run}-{seed}" for seed in self.train_of(run).seeds]

    def run_and_seed(self, model: str) -> tuple[str, int]:
        """Split a model's name into run and seed."""
        run, _, seed = model.rpartition("-")
        if not seed.isdecimal():
            raise ConfigError(f"model {model}", "no seed", "RUN-SEED, such as unet-1", "name it so")
        self._known("runs", run)
        seeds = self.train_of(run).seeds
        if seed not in map(str, seeds):
            known = ", ".join(f"{run}-{each}" for each in seeds)
            raise ConfigError(f"model {model}", "no such seed", f"one of {known}", "see seeds")
        return run, int(seed)

    def periods_of(self, map_name: str) -> list[str]:
        """Periods that a map averages over."""
        self._known("maps", map_name)
        return self.maps[map_name].periods or list(self.search.periods)
