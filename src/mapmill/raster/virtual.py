"""Rasters that name others: only such as name plain files of this machine are opened.

GDAL opens whatever a virtual raster (VRT) names: addresses too, by `NETCDF:"http://..."` and other
formats' own ways into the network. So its XML is read here first, by rules narrower than GDAL's:
what is not known to be harmless is refused.
"""

import functools
import re
from pathlib import Path
from typing import Any
from xml.parsers import expat

from mapmill.errors import ContractError
from mapmill.regular import MOST_TEXT, regular

HEAD = 2**16
"""Bytes in which GDAL looks for the mark of a virtual raster, and more."""
DEEPEST = 4
"""Virtual rasters that may name one another in a row."""
BESIDE = (".ovr", ".ovr.ovr", ".msk", ".msk.ovr")
"""Suffixes of the overviews and masks that GDAL opens, whatever is in them."""
NAMES = {"SourceFilename", "SourceDataset"}
"""Elements whose text is the name of a file."""
FREE = {"MDI", "Description", "Category", "Name", "F", "UnitType"}
"""Elements whose text is for people."""
OF_ELEMENTS = """
VRTDataset SRS GeoTransform GCPList GCP Metadata VRTRasterBand MaskBand ColorInterp NoDataValue
HideNoDataValue Offset Scale CategoryNames ColorTable Entry OverviewList Overview Histograms
HistItem HistMin HistMax BucketCount IncludeOutOfRange Approximate HistCounts BlockXSize BlockYSize
GDALRasterAttributeTable FieldDefn Type Usage Row

SimpleSource ComplexSource AveragedSource NoDataFromMaskSource KernelFilteredSource Kernel Size
Coefs SourceBand SourceProperties SrcRect DstRect NODATA UseMaskBand ScaleOffset ScaleRatio Exponent
SrcMin SrcMax DstMin DstMax Clamp LUT ColorTableComponent MaskValueThreshold RemappedValue
ImageOffset PixelOffset LineOffset ByteOrder PixelFunctionType PixelFunctionArguments
SourceTransferType SkipNonContributingSources

GDALWarpOptions WarpMemoryLimit ResampleAlg WorkingDataType Option Options Transformer MaxError
ApproxTransformer BaseTransformer GenImgProjTransformer SrcGeoTransform SrcInvGeoTransform
DstGeoTransform DstInvGeoTransform ReprojectTransformer ReprojectionTransformer SourceSRS TargetSRS
BandList BandMapping SrcNoDataReal SrcNoDataImag DstNoDataReal DstNoDataImag SrcAlphaBand
DstAlphaBand Cutline CutlineBlendDist
SrcGCPTransformer SrcTPSTransformer GCPTransformer TPSTransformer Order Reversed

PansharpeningOptions Algorithm AlgorithmOptions Weights Resampling NumThreads BitDepth NoData
SpatialExtentAdjustment PanchroBand SpectralBand"""
"""Of a raster and its bands, their sources, a warped and a pansharpened one, as GDAL's tools
write them; not the code of pixel functions, open options and transformers that read files."""
OF_ATTRIBUTES = """
rasterXSize rasterYSize subClass dataType band blockXSize blockYSize domain key name shared
dataAxisToSRSAxisMapping coordinateEpoch relativeToVRT resampling RasterXSize RasterYSize DataType
BlockXSize BlockYSize xOff yOff xSize ySize src dst dstBand c1 c2 c3 c4 Projection Id Info Pixel
Line X Y Z index tableType Row0Min BinSize min max normalized"""
ELEMENTS, ATTRIBUTES = NAMES | FREE | set(OF_ELEMENTS.split()), set(OF_ATTRIBUTES.split())
OPENED = {"geolocation", "overviews", "proxyoverviewrequest"}
"""Domains of metadata in which GDAL finds names of rasters to open."""
ELSEWHERE = re.compile(r"/vsi|\w+:|<")
"""How a name begins that leads elsewhere: GDAL's own file systems, subdatasets, XML."""
EXPECTED = "a raster that names none but files of this machine"
REMEDY = "if you trust it, make it one GeoTIFF (gdal_translate)"


def check_references(path: Path) -> None:
    """Refuse a raster, overview or mask that names others, except in a VRT of plain files.

    Raises
    ------
    ContractError
        if it names, or may name, anything but existing files of this machine.
    """
    for each in _with_beside(path):
        about = each.stat()
        _check(each, (about.st_dev, about.st_ino, about.st_size, about.st_ctime_ns))


def check_opened(source: Any, path: Path) -> None:
    """Refuse a raster whose metadata name other rasters, before GDAL looks for overviews there.

    Raises
    ------
    ContractError
        if there are such names.
    """
    if source.tags(ns="OVERVIEWS") or source.tags(ns="GEOLOCATION"):
        found = "metadata that name another raster"
        raise ContractError(
            path, found, EXPECTED, "if you trust it, copy it (gdal_translate -nomd)"
        )


@functools.lru_cache(maxsize=256)
def _check(path: Path, state: tuple[int, ...]) -> None:
    """The same of one file, once for each `state` of it."""
    _follow(path, (path,), set())


def _real(path: Path) -> Path:
    """The file itself where the path is a link, from which GDAL counts too."""
    return path.resolve() if path.is_symlink() else path


def _with_beside(path: Path) -> list[Path]:
    """The file, and those of the files beside it that GDAL opens with it that are there."""
    changed = path.parent.stat().st_mtime_ns
    there = _listed(path.parent, changed)
    beside = (there.get((path.name + suffix).casefold(), ()) for suffix in BESIDE)
    return [path, *(each for same in beside for each in same if each.is_file())]


@functools.lru_cache(maxsize=256)
def _listed(folder: Path, changed: int) -> dict[str, list[Path]]:
    """Files that may lie beside others, by name in small letters: GDAL tells no `.OVR` from `.ovr`.

    Once for each time `changed` at which the folder was changed.
    """
    found: dict[str, list[Path]] = {}
    for each in folder.iterdir():
        small = each.name.casefold()
        if small.endswith((".ovr", ".msk")):
            found.setdefault(small, []).append(each)
    return found


def _follow(path: Path, chain: tuple[Path, ...], seen: set[Path]) -> None:
    """Check a file and all that it names.

    Parameters
    ----------
    chain : the raster that was given, those that led here, and the file itself
    seen : files that were checked
    """
    seen.add(path)
    with regular(path).open("rb") as file:
        head = file.read(HEAD).partition(b"\0")[0]
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"<") and b"<VRTDataset" not in head:
        return
    first, where = chain[0], "" if len(chain) == 1 else f" in {path}"
    for name, beside in _named(path, first, where):
        inner = named = _real(path).parent / name if beside else Path(name)
        if name != name.strip() or ELSEWHERE.match(name) or ELSEWHERE.match(str(inner)):
            raise ContractError(first, f"the source {name!r}{where}", EXPECTED, REMEDY)
        try:
            inner = _real(regular(named))
        except (OSError, ValueError) as error:
            said = "no such file" if isinstance(error, FileNotFoundError) else str(error)
            found = f"the source {name!r}{where} ({said})"
            raise ContractError(first, found, EXPECTED, REMEDY) from None
        if inner in chain or len(chain) > DEEPEST:
            found = f"virtual rasters more than {DEEPEST} in a row, or in a circle"
            raise ContractError(first, found, EXPECTED, REMEDY)
        for each in [*_with_beside(inner), *_with_beside(named)[1:]]:  # of a link: beside it, too
            if each not in seen:
                _follow(each, (*chain, each), seen)


def _named(path: Path, first: Path, where: str) -> set[tuple[str, bool]]:
    """Names in a virtual raster, each with whether it counts from the raster's folder.

    Raises
    ------
    ContractError
        if it is another XML, no whole XML, or holds what may lead elsewhere or run a program.
    """
    size = path.stat().st_size
    if size > MOST_TEXT:
        found = f"a virtual raster of {size:,} bytes{where}"
        raise ContractError(first, found, f"at most {MOST_TEXT:,}", REMEDY)
    reader = _Reader()
    try:
        with path.open("rb") as file:
            reader.parser.ParseFile(file)
    except (expat.ExpatError, ValueError) as error:
        raise ContractError(first, f"XML with {error}{where}", EXPECTED, REMEDY) from None
    return reader.names


class _Reader:
    """The names in a virtual raster's XML; ValueError at what is not known to be harmless."""

    def __init__(self) -> None:
        self.names: set[tuple[str, bool]] = set()
        self._open: list[str] = []
        self._text: list[str] = []
        self._beside = False
        self.parser = expat.ParserCreate("UTF-8")  # whatever it declares: so does GDAL
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _doctype(self, *_: Any) -> None:
        raise ValueError("a document type, which may define entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open and tag != "VRTDataset":
            raise ValueError(f"<{tag}> for a raster")
        if tag not in ELEMENTS or (self._open and self._open[-1] in NAMES):
            raise ValueError(f"the element <{tag}>")
        self._check_text()
        for key, value in attributes.items():  # GDAL takes them for elements, too
            if key not in ATTRIBUTES and tag != "PixelFunctionArguments":
                raise ValueError(f"the attribute {key}")
            _check_text(value)
        if tag == "Metadata" and attributes.get("domain", "").casefold() in OPENED:
            raise ValueError(f"metadata of {attributes['domain']}")
        relative = attributes.get("relativeToVRT", "0")
        if relative not in ("0", "1"):
            raise ValueError(f"relativeToVRT={relative!r}")
        self._open.append(tag)
        self._beside = relative == "1"

    def _end(self, tag: str) -> None:
        if tag in NAMES:
            self.names.add(("".join(self._text), self._beside))
        self._check_text()
        self._open.pop()

    def _characters(self, text: str) -> None:
        self._text.append(text)

    def _check_text(self) -> None:
        """Of the element that is open, as far as it was read."""
        if self._open and self._open[-1] not in NAMES | FREE:
            _check_text("".join(self._text))
        self._text = []


def _check_text(text: str) -> None:
    """No address where GDAL may ask for it, as it does for that of a CRS."""
    if "://" in text or "/vsi" in text:
        raise ValueError(f"the address {text.strip()!r}")
