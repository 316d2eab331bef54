"""Imagery of Sentinel Hub's Process API, asked for block by block.

One request is one block in one period: the bands, the scene classification (SCL) and where there
are data (dataMask), as a tar of three GeoTIFFs. It becomes one GeoTIFF with a band for each, on
the area's grid. What is asked for names the folder of the store: another evalscript, another file.
"""

import hashlib
import logging
import os
import shutil
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests

from mapmill import __version__
from mapmill.atomic import whole_file, write_json
from mapmill.catalogue import http
from mapmill.catalogue.process import epsg, request, request_digest
from mapmill.config import Area
from mapmill.errors import CatalogueError, ContractError
from mapmill.grid import Block, Grid
from mapmill.layout import RESOURCES
from mapmill.raster import Array, write_raster
from mapmill.raster.opening import opened
from mapmill.sections import SentinelHub

log = logging.getLogger(__name__)
VARIABLES = ("SH_CLIENT_ID", "SH_CLIENT_SECRET")
WAIT_UNIT_S = 0.001
"""Sentinel Hub counts Retry-After in milliseconds."""
HOSTS = {
    "sentinel-hub": (
        "https://services.sentinel-hub.com",
        "https://services.sentinel-hub.com/auth/realms/main/protocol/openid-connect/token",
    ),
    "copernicus": (
        "https://sh.dataspace.copernicus.eu",
        "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
    ),
}
"""Addresses of the service and of its tokens; SH_BASE_URL and SH_TOKEN_URL go before them."""
EXTRA = ("SCL", "dataMask")
HEADERS = {"User-Agent": f"mapmill/{__version__}", "Accept-Encoding": "identity"}
ASIDE = ".sentinelhub-"
DAY_S = 86_400
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a GeoTIFF: GDAL would read other formats too, some of which name other files."""
LARGEST_TILE = 4096**2
"""Pixels of one tile or strip of a GeoTIFF, which is what GDAL makes room for."""
NO_TAR = (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Wanted:
    """The block that is asked for, and what an answer has to be."""

    what: str
    """For messages: period and block."""
    bands: list[str]
    grid: Grid
    block: Block

    @property
    def limit(self) -> int:
        """Bytes beyond which an answer cannot be this block: twice its pixels, uncompressed."""
        size = self.block.window.width * self.block.window.height
        return 2 * size * (2 * len(self.bands) + 2) + 2**20


def credentials() -> tuple[str, str]:
    """Client id and secret, from the environment alone.

    Raises
    ------
    CatalogueError
        naming the variables that are not set.
    """
    found = [os.environ.get(name, "").strip() for name in VARIABLES]
    missing = [name for name, value in zip(VARIABLES, found, strict=True) if not value]
    if missing:
        raise CatalogueError(
            "Sentinel Hub",
            f"no {' and no '.join(missing)} in the environment",
            "the id and secret of an OAuth client",
            f"create one in your account, then: export {' '.join(f'{n}=...' for n in missing)}",
        )
    return found[0], found[1]


def fetch(area: Area, period: str, block: Block) -> Path:
    """The image of one block and period in the store, after asking for it if it is not there.

    Raises
    ------
    CatalogueError
        if the service does not give exactly what was asked for, or has no data there at all.
    """
    chosen, grid = area.download.sentinelhub, area.the_grid()
    wanted = Wanted(f"Sentinel Hub, {period} {block.name}", area.compose.bands, grid, block)
    asked = request(area, period, grid, block)
    kept = RESOURCES / "sentinelhub" / request_digest(area, period) / f"{block.name}.tif"
    if kept.exists():
        log.info("%s is in the store; nothing to download", kept)
        with opened(kept) as source:  # kept, maybe, while empty blocks were accepted
            _check_share(source.read(source.count), chosen, wanted.what)
        return kept
    base, token_url = addresses(chosen)
    RESOURCES.mkdir(exist_ok=True)
    _clear_leftovers()
    with tempfile.TemporaryDirectory(dir=RESOURCES, prefix=ASIDE) as folder:
        served = Path(folder) / "served.tar"
        image_BYX = _asked(f"{base}/api/v1/process", token_url, asked, wanted, served)
    _check_content(image_BYX, chosen, wanted.what)
    bands = [*area.compose.bands, *EXTRA]
    tags = {"SOURCE": f"Sentinel Hub {chosen.collection}", "MAPMILL_REQUEST": kept.parent.name}
    with whole_file(kept) as part:
        write_raster(part, image_BYX, grid, block.window, bands=bands, nodata=0, tags=tags)
        write_json(kept.with_name(f"{kept.name}.json"), _record(base, chosen, period, part))
    return kept


def _record(base: str, chosen: SentinelHub, period: str, part: Path) -> dict[str, Any]:
    """What is kept beside a block: where it is from, and its digest; no secret and no time."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    asked = {"url": http.shown(f"{base}/api/v1/process"), "period": period}
    return asked | {"sha256": digest, "offset": 0, **chosen.model_dump(mode="json")}


def _clear_leftovers() -> None:
    """Folders that killed runs have left; those of a day belong to others that may be at work."""
    for folder in RESOURCES.glob(f"{ASIDE}*"):
        if time.time() - folder.stat().st_mtime > DAY_S:
            shutil.rmtree(folder, ignore_errors=True)


def addresses(chosen: SentinelHub) -> tuple[str, str]:
    """Addresses of the service and of its tokens."""
    names = ("SH_BASE_URL", "SH_TOKEN_URL")
    known = zip(names, HOSTS[chosen.deployment], strict=True)
    base, token = (os.environ.get(name, "").strip() or address for name, address in known)
    for name, address in zip(names, (base, token), strict=True):
        if not address.startswith(("https://", "http://127.0.0.1", "http://localhost")):
            log.warning("%s: %s is not encrypted", name, http.shown(address))
    return base.rstrip("/"), token


def _as_given(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """No other credentials than ours: requests would put those of a netrc file before them."""
    return prepared


def access_token(url: str) -> str:
    """An access token for the account in the environment; it is kept in memory alone.

    Raises
    ------
    CatalogueError
        if there is no account, or the service refuses it.
    """
    name, secret = credentials()
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
    shown = http.shown(url)

    def read(answer: requests.Response) -> str:
        if answer.status_code != 200:
            raise CatalogueError(
                shown,
                http.status_of(answer, secret),
                "an access token",
                f"check {' and '.join(VARIABLES)} and the deployment",
            )
        try:
            token = http.json_of(answer)["access_token"]
        except (ValueError, KeyError, TypeError):
            token = None
        if (
            not isinstance(token, str)
            or not token.isascii()
            or not token.isprintable()
            or not token
        ):
            kind = http.kind_of(answer) or "no type"
            raise http.DamagedError(
                shown, f"no token in an answer of {kind}", "JSON", "check SH_TOKEN_URL"
            )
        return token

    more: dict[str, Any] = {
        "data": form,
        "headers": HEADERS,
        "auth": _as_given,
        "allow_redirects": False,
    }
    token: str = http.send("POST", url, read, wait_unit_s=WAIT_UNIT_S, hidden=secret, **more)
    return token


def _asked(url: str, token_url: str, body: dict[str, Any], wanted: Wanted, served: Path) -> Array:
    """Bands, SCL and dataMask that the service gives; a token that is refused is renewed once."""
    shown = http.shown(url)
    for _ in range(2):
        token = access_token(token_url)

        def read(answer: requests.Response, token: str = token) -> Array | None:
            if answer.status_code == 401:
                return None
            if answer.status_code != 200:
                found = http.status_of(answer, token)
                raise CatalogueError(shown, found, "an image", "see the reason")
            kind = http.kind_of(answer)
            if "tar" not in kind:
                found = f"an answer of {kind or 'no type'}"
                raise http.DamagedError(shown, found, "a tar", "rerun later")
            http.save_body(answer, served, "Sentinel Hub", None, wanted.limit)
            spent = answer.headers.get("X-ProcessingUnits-Spent", "?")
            log.info("%s processing units spent", spent[:20] if spent.isprintable() else "?")
            return _read(served, wanted)

        headers = {**HEADERS, "Authorization": f"Bearer {token}", "Accept": "application/x-tar"}
        more: dict[str, Any] = {
            "json": body,
            "headers": headers,
            "auth": _as_given,
            "allow_redirects": False,
        }
        image_BYX: Array | None = http.send(
            "POST", url, read, wait_unit_s=WAIT_UNIT_S, hidden=token, **more
        )
        if image_BYX is not None:
            return image_BYX
    raise CatalogueError(
        shown, "status 401 with a fresh token", "access", "check the account and the deployment"
    )


def _read(served: Path, wanted: Wanted) -> Array:
    """Bands, SCL and dataMask of the tar, (band, y, x) uint16, after comparing each with the grid.

    Raises
    ------
    CatalogueError
        if a member is missing, damaged (then a DamagedError), or not exactly the block.
    """
    window, count = wanted.block.window, len(wanted.bands)
    image_BYX = np.empty((count + len(EXTRA), window.height, window.width), np.uint16)
    image_BYX[:count] = _image(served, "bands", count, "uint16", wanted)
    image_BYX[count:-1] = _image(served, "scl", 1, "uint8", wanted)
    image_BYX[-1:] = _image(served, "mask", 1, "uint8", wanted)
    return image_BYX


def _image(served: Path, name: str, count: int, dtype: str, wanted: Wanted) -> Array:
    """One member of the tar, (band, y, x), exactly as asked for."""
    part, grid, window = served.with_name(f"{name}.tif"), wanted.grid, wanted.block.window
    part.write_bytes(_member(served, part.name, wanted))
    right = (f"EPSG:{epsg(grid.crs)}", grid.transform(window))
    shape = (count, window.height, window.width)
    try:
        with opened(part) as source:
            code, transform = source.crs and source.crs.to_epsg(), tuple(source.transform)[:6]
            there = np.allclose(transform, right[1], rtol=0, atol=1e-6 * grid.resolution)
            size, kinds = (source.count, source.height, source.width), set(source.dtypes)
            if (f"EPSG:{code}", size, kinds) != (right[0], shape, {dtype}) or not there:
                raise CatalogueError(
                    f"{wanted.what}, {part.name}",
                    f"EPSG:{code} {transform} {size} {' '.join(sorted(kinds))}",
                    f"{right[0]} {right[1]} {shape} {dtype}",
                    "report this",
                )
            if max(height * width for height, width in source.block_shapes) > LARGEST_TILE:
                raise ContractError(part, "tiles of a monstrous size", "a GeoTIFF", "rerun later")
            return np.asarray(source.read())
    except ContractError as error:
        raise _damaged(str(error).removeprefix(f"{part}: found "), part.name, wanted) from None


def _member(served: Path, name: str, wanted: Wanted) -> bytes:
    """Bytes of a plain file in the tar; its names are compared, and never written to."""
    try:
        with tarfile.open(served, "r:") as tar:  # not compressed: no bomb
            for member in tar:
                plain = member.isreg() and not member.issparse()  # whose size is that of its bytes
                if plain and member.name.removeprefix("./") == name:
                    file = tar.extractfile(member)
                    content = file.read() if file else b""
                    break
            else:
                raise _damaged(f"no {name}", name, wanted)
    except NO_TAR as error:
        raise _damaged(f"no whole tar ({type(error).__name__})", name, wanted) from None
    if not content.startswith(TIFF):
        raise _damaged(f"no GeoTIFF in {name}", name, wanted)
    return content


def _damaged(found: str, name: str, wanted: Wanted) -> http.DamagedError:
    short = found.partition(";")[0]
    return http.DamagedError(wanted.what, short, f"a tar with a whole {name}", "rerun later")


def _check_share(mask_YX: Array, chosen: SentinelHub, what: str) -> None:
    """A block that comes back empty, though the area lies there, is no block of zeros."""
    share = float((mask_YX > 0).mean())
    log.info("%s: %.1f %% of the pixels have data", what, 100 * share)
    if share == 0 and chosen.empty == "refuse":
        raise CatalogueError(
            what,
            "no pixel with data",
            "imagery",
            "widen the period, raise download.sentinelhub.max_cloud, or set empty: accept",
        )


def _check_content(image_BYX: Array, chosen: SentinelHub, what: str) -> None:
    """Compare the bands with dataMask; a band's 0 where there are data becomes 1, the next value.

    The service cuts negative reflectance, as of dark water, off at 0, which means `no data` here.
    """
    bands_BYX, mask_YX = image_BYX[: -len(EXTRA)], image_BYX[-1]
    _check_share(mask_YX, chosen, what)
    beside = (bands_BYX > 0).any(axis=0) & (mask_YX == 0)
    if beside.any():
        found = f"values in {int(beside.sum())} pixels that dataMask calls empty"
        raise CatalogueError(what, found, "0 there", "report this")
    if mask_YX.any() and not bands_BYX.any():
        raise CatalogueError(what, "nothing but 0 in all bands", "values", "report this")
    for band_YX in bands_BYX:
        band_YX[(band_YX == 0) & (mask_YX > 0)] = 1
