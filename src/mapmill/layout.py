"""Where the files of an area are: the same names for the workflow and for the commands.

All paths are relative to the project's folder, where every command is run.
"""

from dataclasses import dataclass
from pathlib import Path

RESOURCES = Path("resources")


@dataclass(frozen=True)
class Layout:
    """Paths of the files that stages of one area hand to one another."""

    area: str

    @property
    def root(self) -> Path:
        """Folder of the area's results."""
        return Path("results") / self.area

    def search(self, period: str) -> Path:
        """Item collection of the scenes of a period."""
        return self.root / "search" / f"{period}.json"

    def download(self, file: str) -> Path:
        """A downloaded file: `sample.whl`, `labels.*` or `{period}/{item}/{asset}.*`."""
        return self.root / "download" / file

    def compose(self, period: str, block: str) -> Path:
        """Image of a period and block, all bands on the grid."""
        return self.root / "compose" / period / f"{block}.tif"

    def vrt(self, period: str) -> Path:
        """Virtual raster over all composed blocks of a period."""
        return self.root / "compose" / f"{period}.vrt"

    def quality(self, period: str, block: str) -> Path:
        """Of each pixel of a composed block: how many observations, and what kind was taken."""
        return self.root / "compose" / period / "quality" / f"{block}.tif"

    def downsample(self, block: str) -> Path:
        """Classes of a block on the grid."""
        return self.root / "downsample" / f"{block}.tif"

    def fraction(self, block: str) -> Path:
        """Share of each cell of a block that its class takes."""
        return self.root / "downsample" / "fraction" / f"{block}.tif"

    @property
    def tiles(self) -> Path:
        """Table of candidate tiles."""
        return self.root / "select" / "tiles.csv"

    @property
    def shift(self) -> Path:
        """How well labels and imagery agree in place."""
        return self.root / "select" / "shift.json"

    @property
    def leak(self) -> Path:
        """How far what is learnt from lies from what is scored."""
        return self.root / "select" / "leak.json"

    @property
    def patches(self) -> Path:
        """The patch store (a folder)."""
        return self.root / "pack" / "patches.zarr"

    def model(self, model: str) -> Path:
        """A trained model."""
        return self.root / "train" / model / "model.safetensors"

    def predict(self, map_name: str, block: str) -> Path:
        """Predicted classes of a block."""
        return self.root / "predict" / map_name / f"{block}.tif"

    def calibrate(self, map_name: str) -> Path:
        """How far a map's confidence can be believed, on the validation part."""
        return self.root / "calibrate" / f"{map_name}.json"

    def map(self, map_name: str) -> Path:
        """The published map."""
        return Path("results") / f"{self.area}_{map_name}.tif"

    def mosaic(self, map_name: str) -> Path:
        """Folder of what lies beside a published map."""
        return self.root / "mosaic" / map_name

    def assess(self, map_name: str) -> Path:
        """Folder of a map's scores."""
        return self.root / "assess" / map_name

    @property
    def tabulate(self) -> Path:
        """Table of the areas of all maps; that of the changes is beside it."""
        return self.root / "tabulate" / "areas.csv"

    def sample(self, map_name: str) -> Path:
        """Folder of the points at which a map is to be checked."""
        return self.root / "sample" / map_name

    def areas(self, map_name: str) -> Path:
        """Folder of a map's accuracy and areas from a sample."""
        return self.root / "areas" / map_name

    def compare(self, comparison: str) -> Path:
        """Table of a comparison."""
        return self.root / "compare" / f"{comparison}.csv"
