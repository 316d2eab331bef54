"""The sections of an area file: one for each stage, of its own name, and what they share.

Everything is frozen; an unknown key is an error.
"""

from mapmill.sections.acquire import (
    ChipFiles,
    ChipImages,
    Chips,
    ClassEntry,
    GridSection,
    Labels,
    Remote,
)
from mapmill.sections.base import SPLITS, VECTOR_SUFFIXES, Box, Line, Name, RunOfArea, Section
from mapmill.sections.compare import Compare
from mapmill.sections.compose import Compose, Mask, Pansharpen
from mapmill.sections.downsample import Downsample
from mapmill.sections.features import Feature, Inputs
from mapmill.sections.imagery import (
    CATALOGUES,
    Catalogue,
    Download,
    Period,
    Sample,
    Search,
    SentinelHub,
)
from mapmill.sections.learn import Assess, Map, Pool, Train, Weights
from mapmill.sections.net import PRESETS, Smp
from mapmill.sections.pack import Pack
from mapmill.sections.predict import Calibrate, Predict
from mapmill.sections.publish import Mosaic, Provider, Vectorise
from mapmill.sections.sample import SampleSection
from mapmill.sections.select import Select, Split
from mapmill.sections.tabulate import Tabulate

__all__ = [
    "CATALOGUES",
    "PRESETS",
    "SPLITS",
    "VECTOR_SUFFIXES",
    "Assess",
    "Box",
    "Calibrate",
    "Catalogue",
    "ChipFiles",
    "ChipImages",
    "Chips",
    "ClassEntry",
    "Compare",
    "Compose",
    "Download",
    "Downsample",
    "Feature",
    "GridSection",
    "Inputs",
    "Labels",
    "Line",
    "Map",
    "Mask",
    "Mosaic",
    "Name",
    "Pack",
    "Pansharpen",
    "Period",
    "Pool",
    "Predict",
    "Provider",
    "Remote",
    "RunOfArea",
    "Sample",
    "SampleSection",
    "Search",
    "Section",
    "Select",
    "SentinelHub",
    "Smp",
    "Split",
    "Tabulate",
    "Train",
    "Vectorise",
    "Weights",
]
