"""The baseline: a random forest that sees one pixel at a time and no neighbours."""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from mapmill.raster import Array, valid_pixels
from mapmill.store import PatchStore

PIXELS_PER_CLASS = 5000
TREES = 200


class PixelForest:
    """A random forest fitted on training pixels of a patch store.

    At most 5,000 pixels a class, drawn at random, so that each class counts alike.
    """

    def __init__(self, store: PatchStore, seed: int) -> None:
        pixels_PB, classes_P = _training_pixels(store, np.random.default_rng(seed))
        self._forest = RandomForestClassifier(
            TREES, min_samples_leaf=3, random_state=seed, n_jobs=2
        )
        self._forest.fit(pixels_PB, classes_P)

    def classify(self, image_BYX: Array, wanted_YX: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Classes (y, x) of the wanted pixels, 0 elsewhere."""
        result = np.zeros(wanted_YX.shape, np.uint8)
        if wanted_YX.any():
            result[wanted_YX] = self._forest.predict(image_BYX[:, wanted_YX].T)
        return result


def _training_pixels(store: PatchStore, random: np.random.Generator) -> tuple[Array, Array]:
    """(pixel, band) and (pixel,) of the training patches, at most PIXELS_PER_CLASS a class."""
    nodata = store.attributes["nodata"]
    kept: dict[int, list[Array]] = {}
    share = [
        min(1.0, PIXELS_PER_CLASS / max(count, 1)) for count in store.attributes["class_pixels"]
    ]
    for index in store.indices("train"):
        image_BYX, label_YX = store.images[int(index)], store.labels[int(index)]
        valid_YX = valid_pixels(image_BYX, np.nan if nodata is None else nodata)
        for value in np.unique(label_YX[valid_YX & (label_YX > 0)]):
            pixels_PB = image_BYX[:, valid_YX & (label_YX == value)].T
            drawn = random.random(len(pixels_PB)) < share[value - 1]
            kept.setdefault(int(value), []).append(pixels_PB[drawn])
    stacked = {value: np.concatenate(parts) for value, parts in sorted(kept.items())}
    classes = np.concatenate([np.full(len(p), value, np.uint8) for value, p in stacked.items()])
    return np.concatenate(list(stacked.values())), classes
