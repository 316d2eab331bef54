"""The area file as one value: one grid, the imagery, the labels and every choice of every stage."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from mapmill.errors import ConfigError
from mapmill.grid import Grid
from mapmill.sections import (
    Assess,
    Box,
    Calibrate,
    Chips,
    ClassEntry,
    Compare,
    Compose,
    Download,
    Downsample,
    GridSection,
    Labels,
    Line,
    Map,
    Mosaic,
    Name,
    Pack,
    Period,
    Predict,
    Provider,
    RunOfArea,
    SampleSection,
    Search,
    Section,
    Select,
    Split,
    Tabulate,
    Train,
    Vectorise,
)

OF_FOLD = re.compile(r"(?P<run>.+)-fold(?P<fold>0|[1-9]\d*)-(?P<seed>\d+)")
"""Name of a model for one fold."""


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
    """One study area: a grid with scenes of several periods, or a folder of chips."""

    title: Line
    attribution: list[Line] = Field(min_length=1)
    """Credits that travel with every product and picture."""
    license: str = "other"
    """SPDX identifier of the map's licence, or `other`."""
    providers: list[Provider] = Field(default_factory=list)
    """Who made and who publishes the map, for its STAC item."""
    like: Name | None = None
    """Another area in the same folder: all that is left out here is as there, key by key of each
    section."""
    grid: GridSection | None = None
    aoi: str | None = None
    """Polygons (any CRS) of the area of interest: blocks wholly outside are not worked on."""
    window: Box | None = None
    """left, bottom, right, top: only the blocks that this box touches, under the same names."""
    chips: Chips | None = None
    """Separate images and masks, instead of `grid` and `search`."""
    classes: dict[int, ClassEntry] = Field(min_length=2)
    """Class 1 to K, at least two (`other` may be one); 0 is not a class but `ignore`."""
    labels: Labels | None = None
    """May be left out where `model` or `train.train_on` says what to learn from."""
    model: RunOfArea | None = None
    """`area/run`: map with the models of another area's run, without training."""
    search: Search | None = None
    download: Download = Download()
    compose: Compose
    downsample: Downsample = Downsample()
    select: Select | None = None
    """May be left out where there are no labels."""
    pack: Pack = Pack()
    train: Train = Train()
    calibrate: Calibrate = Calibrate()
    predict: Predict = Predict()
    mosaic: Mosaic = Mosaic()
    vectorise: Vectorise = Vectorise()
    assess: Assess = Assess()
    sample: SampleSection = SampleSection()
    tabulate: Tabulate = Tabulate()
    runs: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """Named sets of changes to `train`."""
    compare: dict[Name, Compare] = Field(default_factory=dict)
    """Named comparisons of runs."""
    maps: dict[Name, Map] = Field(min_length=1)

    @model_validator(mode="after")
    def _runs_are_valid(self) -> "Area":
        for name in self.runs:
            try:
                self.train_of(name)
            except ValidationError as error:
                raise _below(error, "runs", name) from None
        return self

    def _known(self, kind: str, name: str) -> None:
        named: dict[str, Iterable[str]] = {
            "periods": self.periods,
            "runs": self.runs,
            "maps": self.maps,
            "compare": self.compare,
        }
        known = list(named[kind])
        if name not in known:
            raise ConfigError(
                f"{kind} {name}", "no such name", f"one of {', '.join(known)}", "check the name"
            )

    def the_grid(self) -> Grid:
        """The grid as a value.

        Raises
        ------
        ConfigError
            if the area has chips instead.
        """
        if self.grid is None:
            raise ConfigError("the area", "chips", "a grid", "chips have no blocks and no mosaic")
        return self.grid.grid()

    def the_labels(self) -> Labels:
        """The section of labels.

        Raises
        ------
        ConfigError
            if the area has none.
        """
        if self.labels is None:
            raise ConfigError(
                "labels", "none in the area file", "labels", "a place without labels has no scores"
            )
        return self.labels

    def the_select(self) -> Select:
        """The section that says which tiles there are.

        Raises
        ------
        ConfigError
            if the area has none.
        """
        if self.select is None:
            raise ConfigError("select", "nothing", "the section", "add it with the size of a tile")
        return self.select

    def split(self) -> Split:
        """How tiles are dealt to the parts, its method always named."""
        chosen = self.the_select().split
        default = "chip" if self.chips else "blocks"
        return chosen if chosen.method else chosen.model_copy(update={"method": default})

    @property
    def has_labels(self) -> bool:
        """Whether there is anything to learn from or to be scored by."""
        return self.chips.masks is not None if self.chips else self.labels is not None

    @property
    def source(self) -> str:
        """Where the imagery comes from; `chips` for chips."""
        return self.search.source if self.search else "chips"

    @property
    def bands(self) -> list[str]:
        """Bands of the composed image, in order."""
        return self.compose.all_bands

    @property
    def class_names(self) -> list[str]:
        """Names of class 1 to K."""
        return [self.classes[value].name for value in sorted(self.classes)]

    @property
    def periods(self) -> list[str]:
        """Names of the periods; none for chips."""
        return list(self.search.periods) if self.search else []

    def period(self, name: str) -> Period:
        """A period by its name."""
        self._known("periods", name)
        assert self.search is not None
        return self.search.periods[name]

    def moments(self, period: str) -> tuple[str, str]:
        """First and last moment of a period, RFC 3339 in UTC."""
        return self.period(period).moments(period)

    def train_of(self, run: str) -> Train:
        """The training settings of a run: `train` with the run's changes."""
        self._known("runs", run)
        return Train.model_validate({**self.train.model_dump(exclude_unset=True), **self.runs[run]})

    def run_of(self, map_name: str) -> str | None:
        """The run that makes a map; None where the area's `model` does."""
        self._known("maps", map_name)
        return self.maps[map_name].run

    def seeds_of(self, run: str) -> list[str]:
        """Names of a run's models, `{run}-{seed}`."""
        return [f"{run}-{seed}" for seed in self.train_of(run).seeds]

    def folds_of(self, run: str) -> list[str]:
        """Names of a run's models for each fold, `{run}-fold{k}-{seed}`; none without folds."""
        chosen = self.train_of(run)
        folds = self.split().folds if self.select and chosen.periods != "channels" else None
        return [f"{run}-fold{fold}-{seed}" for fold in range(folds or 0) for seed in chosen.seeds]

    def models_of_comparison(self, name: str) -> dict[str, list[str]]:
        """Names of the models that a comparison scores, by run."""
        self._known("compare", name)
        named = self.folds_of if self.compare[name].folds else self.seeds_of
        return {run: named(run) for run in self.compare[name].runs}

    def run_and_seed(self, model: str) -> tuple[str, int]:
        """Split a model's name into run and seed."""
        found = OF_FOLD.fullmatch(model)
        run, _, seed = (found["run"], "", found["seed"]) if found else model.rpartition("-")
        if not seed.isdecimal():
            raise ConfigError(f"model {model}", "no seed", "RUN-SEED, such as unet-1", "name it so")
        self._known("runs", run)
        models = self.folds_of(run) if found else self.seeds_of(run)
        if model not in models:
            what = "fold or seed" if found else "seed"
            known = ", ".join(models) or "none, without select.split.folds"
            raise ConfigError(f"model {model}", f"no such {what}", f"one of {known}", "see seeds")
        return run, int(seed)

    def fold_of(self, model: str) -> int | None:
        """The fold that a model is tested on; None of one that is not for a fold."""
        found = OF_FOLD.fullmatch(model)
        return int(found["fold"]) if found else None

    def periods_of(self, map_name: str) -> list[str]:
        """Periods that a map averages over."""
        self._known("maps", map_name)
        return self.maps[map_name].periods or self.periods
