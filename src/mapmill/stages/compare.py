"""compare: runs side by side, scored on the same test patches."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from mapmill import compare_figure, metrics
from mapmill.apart import refuse_overlaps
from mapmill.areafile import load_area
from mapmill.atomic import write_text
from mapmill.cards import load_fitting
from mapmill.comparing import Scored, as_csv, by_model, by_run, counted_once, protocol
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.folds import Fold
from mapmill.grid import Window
from mapmill.infer import Predictor
from mapmill.layout import Layout
from mapmill.metrics import Matrix
from mapmill.nets.model import choose_device
from mapmill.plan import Plan
from mapmill.pool import PatchPool
from mapmill.progress import track
from mapmill.raster import Array, valid_pixels
from mapmill.sections import Pool

log = logging.getLogger(__name__)
WHOLE = 2**20
"""Side of a tile that holds any patch: nets whose reach ends are shown all that they reach."""


def run(area_path: Path, comparison: str, output: Path, models: Path, figure: Path) -> None:
    """Score the models of a comparison and write the table by run, that by model, and a figure.

    Raises
    ------
    ContractError
        if there is no test patch, a model was made for another area, or a run has learnt, in
        another area, from ground that is scored.
    """
    area, layout = load_area(area_path), Layout(area_path.stem)
    torch.set_num_threads(area.predict.threads)
    named = area.models_of_comparison(comparison)
    by_fold: dict[int | None, list[str]] = {}
    for model in [model for own in named.values() for model in own]:
        by_fold.setdefault(area.fold_of(model), []).append(model)
    found: dict[str, Scored] = {}
    patches = 0
    for own in by_fold.values():
        fold = Fold.of(area, own[0])
        refuse_overlaps(area_path, area, list(named), fold)
        with closing(PatchPool(area, area_path.stem, {area_path.stem: Pool()}, fold=fold)) as pool:
            part = TestPart(area, pool)
            patches += len(part.numbers)
            for model in own:
                found[model] = _scored(area, layout, model, part)
    scored = [found[model] for own in named.values() for model in own]
    told = protocol(area, comparison, patches, area.the_select().size)
    rows = by_run(scored, area)
    write_text(models, as_csv(by_model(scored, area)))
    compare_figure.draw(figure, area, comparison, scored)
    write_text(output, as_csv(rows, told))
    for row in rows:
        log.info("%s: mean IoU %s, sd %s", row["run"], row["mean IoU"], row["mean IoU sd"])


class TestPart:
    """The test patches of the area, and which of their pixels count."""

    def __init__(self, area: Area, pool: PatchPool) -> None:
        self._pool, self._images, self._labels = pool, pool.images(), pool.labels()
        self._nodata = area.compose.nodata
        self.numbers = pool.indices("test")
        if not len(self.numbers):
            raise ContractError(pool.folders(), "no test patch", "at least one", "see select")
        store = pool.members[0].store
        columns = [store.column(name)[self.numbers] for name in ("piece", "row", "col")]
        self._counted = list(counted_once(np.stack(columns, 1).astype(np.int64), self.size))

    @property
    def size(self) -> int:
        """Side of a patch, in pixels."""
        return int(self._labels.shape[1])

    def __iter__(self) -> Iterator[tuple[Array, Array, Array]]:
        """image (band, y, x), where it is valid (y, x), label (y, x) with 0 where none counts."""
        for number, counted_YX in zip(self.numbers, self._counted, strict=True):
            image_BYX = self._images.take([number])[0]
            valid_YX = valid_pixels(image_BYX, self._nodata)
            label_YX = self._labels.take([number])[0]
            yield image_BYX, valid_YX, np.where(valid_YX & counted_YX, label_YX, 0)


def _scored(area: Area, layout: Layout, model: str, part: TestPart) -> Scored:
    """A model's confusion matrix over the test patches, each mapped by itself."""
    net, card = load_fitting(area, layout.model(model))
    plan = Plan(tile=WHOLE, window=part.size, overlap=0.0)
    predictor = Predictor.of(net, card, choose_device(area.predict.device), plan, model)
    total: Matrix = np.zeros((len(area.classes),) * 2, np.int64)
    patch = Window(0, 0, part.size, part.size)
    for image, valid, label_YX in track(part, f"compare {model}", len(part.numbers), "patches"):
        if not label_YX.any():
            continue

        def read(window: Window, image: Array = image, valid: Array = valid) -> tuple[Array, Array]:
            place = window.slices(patch)
            return image[(slice(None), *place)], valid[place]

        p_KYX = predictor.probabilities(patch, patch, read)
        mapped_YX = p_KYX.argmax(axis=0) + 1
        total += metrics.confusion_matrix(label_YX, mapped_YX, len(area.classes))
    run_name, seed = area.run_and_seed(model)
    count = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return Scored(model, run_name, area.fold_of(model), seed, count, total)
