"""`mapmill doctor`: whether all is there that an area needs, before hours are spent on it."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

from mapmill.areafile import labels_file, load_area, weights_file
from mapmill.catalogue import files, keep, probe, sample, sentinelhub
from mapmill.catalogue.items import read_scenes
from mapmill.chips import find_chips
from mapmill.config import Area
from mapmill.errors import MapmillError
from mapmill.estimate import estimate
from mapmill.extent import blocks_of
from mapmill.layout import RESOURCES, Layout
from mapmill.machine import REINSTALL, Row, disk, gdal, gpu, memory, proj, snakemake
from mapmill.progress import size_text
from mapmill.sections import CATALOGUES, Chips, Remote

WIDTH = 100
"""Columns of the table."""
SPLIT: dict[str, Any] = {"break_on_hyphens": False, "break_long_words": False}
"""Addresses and paths stay whole."""
Check = tuple[str, Callable[[], Row | list[Row]]]
"""What is checked, and how."""


def examine(path: Path) -> list[Row]:
    """All checks of an area, in the order in which to see to them."""
    try:
        area = load_area(path)
        count = "chips" if area.chips else f"{len(blocks_of(area))} blocks"
    except MapmillError as error:
        general = [("Snakemake", snakemake)]
        return [_of_error("area file", error), *_all(general)]
    layout = Layout(path.stem)
    first = Row("area file", "ok", f"{path}: {area.title}, {count}")
    return [first, *_all([*_imagery(area, layout), *_files(area, layout), *_machine(area, layout)])]


def _all(checks: Iterable[Check]) -> list[Row]:
    """Rows of all checks, made side by side: some wait for the network."""
    with probe.impatient(), ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda check: _made(*check), checks)
        return [row for rows in found for row in rows]


def _made(what: str, check: Callable[[], Row | list[Row]]) -> list[Row]:
    """Rows of a check; whatever goes wrong in it is a row."""
    try:
        rows = check()
    except MapmillError as error:
        return [_of_error(what, error)]
    except Exception as error:  # a broken installation breaks anywhere
        told = f": {error}" if isinstance(error, ImportError) else ""
        return [Row(what, "failed", f"{type(error).__name__}{told}", REINSTALL)]
    return rows if isinstance(rows, list) else [rows]


def _of_error(what: str, error: MapmillError) -> Row:
    """A message of `where: found ...; expected ...; remedy` as a row."""
    where, _, rest = str(error).partition(": found ")
    found, _, rest = rest.partition("; expected ")
    remedy = rest.partition("; ")[2]
    missing = what == "account"
    told = f"{where}: {found}".replace(", 1 times", "")
    return Row(what, "missing" if missing else "failed", told, remedy)


# ------------------------------------------------------------------------------------ imagery
def _imagery(area: Area, layout: Layout) -> Iterator[Check]:
    """What the source of the imagery needs."""
    source = area.source
    if source in ("chips", "files", "sample"):
        yield "account", partial(Row, "account", "not needed", f"{source}: none is asked for")
    if area.chips:
        yield "chips", partial(_chips, area.chips)
    elif source == "files":
        for name in area.periods:
            yield f"imagery {name}", partial(_on_disk, area, name)
    elif source == "sample":
        yield "imagery", partial(_sample, area)
    elif source == "sentinelhub":
        yield "account", _credentials
        if all(os.environ.get(name, "").strip() for name in sentinelhub.VARIABLES):
            yield "Sentinel Hub", partial(_accepted, area)
    elif source in CATALOGUES:
        yield "account", partial(_account, source)
        yield "catalogue", partial(_catalogue, area)


def _chips(chosen: Chips) -> Row:
    found = find_chips(chosen)
    masks = sum(chip.mask is not None for chip in found)
    return Row("chips", "ok", f"{len(found)} chips, {masks} with masks")


def _on_disk(area: Area, name: str) -> Row:
    """Files of a period."""
    period, what = area.period(name), f"imagery {name}"
    if period.stac is not None:
        found = files.in_catalogue(Path(period.stac), name, area.moments(name))
    else:
        found = files.on_disk(period.files or "", name)
    return Row(what, "ok", f"{len(found)} files of {len({f.scene for f in found})} scenes")


def _sample(area: Area) -> Row:
    chosen = area.download.sample
    assert chosen is not None  # since sources_fit holds
    kept = RESOURCES / "sample" / chosen.sha256 / chosen.file
    if not kept.exists():
        return Row("imagery", "ok", f"{chosen.requirement}: not here yet; pip fetches it, untried")
    return Row("imagery", "ok", f"{kept.name}: {len(sample.members(kept))} files")


def _credentials() -> Row:
    sentinelhub.credentials()
    return Row("account", "ok", " and ".join(sentinelhub.VARIABLES) + " are set")


def _accepted(area: Area) -> Row:
    where = probe.account(area.download.sentinelhub)
    return Row("Sentinel Hub", "ok", f"{where}: the account is accepted")


def _account(source: str) -> Row:
    """What a catalogue wants to be told; never what it is."""
    from mapmill.catalogue.sources import ACCOUNT

    name = ACCOUNT.get(source)
    value = os.environ.get(name, "").strip() if name else ""
    if name is None:
        return Row("account", "not needed", "an open catalogue")
    if value and source == "dgi" and "@" not in value.strip("@"):
        return Row("account", "failed", f"{name} is no e-mail address", f"export {name}=...")
    if value:
        return Row("account", "ok", f"{name} is set; it is tried with the first download")
    if source == "bdc":
        return Row("account", "not needed", f"no {name}: open collections ask for none")
    remedy = f"register at www.dgi.inpe.br/catalogo, then: export {name}=..."
    return Row("account", "missing", f"no {name} in the environment", remedy)


def _catalogue(area: Area) -> Row:
    from mapmill.catalogue.sources import base_of

    base = base_of(area)
    where = probe.landing(f"{base}/lgi-stac/" if area.source == "dgi" else base)
    return Row("catalogue", "ok", f"{where} answers")


# -------------------------------------------------------------------------- labels and weights
def _files(area: Area, layout: Layout) -> Iterator[Check]:
    """Labels, and weights of each run."""
    labels = area.labels
    if labels is None or area.chips:
        why = "the masks of the chips" if area.chips else "none: this place is only mapped"
        yield "labels", partial(Row, "labels", "not needed", why)
    else:
        file = layout.download(labels_file(area))
        yield "labels", partial(_remote, "labels", labels, file, area.source == "sample")
    for run in area.runs:
        weights, name = area.train_of(run).weights, weights_file(area, run)
        if weights and name:
            what, file = f"weights of {run}", layout.download(name)
            yield what, partial(_remote, what, weights, file, area.source == "sample")


def _remote(what: str, wanted: Remote, file: Path, in_archive: bool) -> Row:
    """A file that is there, or whose server has it, of the size that is expected."""
    if file.exists():
        return Row(what, "ok", f"{file}, {size_text(file.stat().st_size)}")
    if not wanted.url:
        path = Path(wanted.file or "")
        if in_archive:
            return Row(what, "ok", f"{path.name}, in the sample")
        if path.exists():
            return Row(what, "ok", f"{path}, {size_text(path.stat().st_size)}")
        return Row(what, "missing", f"no {path}", "get the file, or correct its path")
    kept = keep.kept_file(wanted.url, wanted.size, wanted.sha256)
    if kept.exists():
        return Row(what, "ok", f"{kept}, {size_text(kept.stat().st_size)}")
    size, where = probe.size_at(wanted.url), wanted.url.partition("?")[0].rpartition("/")[2]
    if size and wanted.size and size != wanted.size:
        found = f"{where}: {size} bytes at its address, not {wanted.size}"
        return Row(what, "failed", found, "correct size, or the address")
    said = "of unknown size" if size is None else size_text(size)
    return Row(what, "ok", f"{where}: {said}, at its address")


# ------------------------------------------------------------------------------------ machine
def _machine(area: Area, layout: Layout) -> Iterator[Check]:
    if area.grid:
        yield "disk", lambda: disk(layout, estimate(area, layout))
    else:
        yield "disk", partial(Row, "disk", "not needed", "chips stay where they are")
    yield "memory", partial(memory, area)
    yield "GPU", partial(gpu, area)
    yield "GDAL", lambda: gdal(area, _names(area, layout))
    yield "PROJ", partial(proj, area)
    yield "Snakemake", snakemake


def _names(area: Area, layout: Layout) -> Iterator[str]:
    """Names of files that will be read, as far as they are known."""
    if area.labels:
        yield area.labels.source
    for name in area.periods:
        yield area.period(name).files or ""
        listing = layout.search(name)
        if listing.exists():
            scenes = read_scenes(listing)
            yield from (asset.file_name for scene in scenes for asset in scene.assets)


# -------------------------------------------------------------------------------------- to say
def told(rows: Sequence[Row], area: Path) -> str:
    """The table, and what to do first."""
    names = max(len(row.what) for row in rows)
    lines = [line for row in rows for line in _lines(row, names)]
    bad = [row for row in rows if row.is_bad]
    if bad:
        more = f" ({len(bad) - 1} more after it)" if len(bad) > 1 else ""
        last = f"First: {bad[0].what}: {bad[0].remedy}{more}"
    else:
        last = f"Nothing is missing. Next: mapmill estimate {area}"
    return "\n".join([*lines, "", last])


def _lines(row: Row, names: int) -> list[str]:
    """One row; what to do stands below what was found."""
    margin = names + len("not needed") + 4
    texts = wrap(row.found, WIDTH - margin, **SPLIT) or [""]
    if row.is_bad:
        texts += wrap(f"-> {row.remedy}", WIDTH - margin, **SPLIT)
    head = f"{row.what:{names}}  {row.state:10}  "
    return [head + texts[0], *(" " * margin + text for text in texts[1:])]


def is_ready(rows: Iterable[Row]) -> bool:
    """Whether all that is needed is there."""
    return not any(row.is_bad for row in rows)
