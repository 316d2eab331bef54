"""Imagery of Sentinel Hub's Process API, asked for block by block.

One request is one block in one period: the bands, the scene classification (SCL) and where there
are data (dataMask), as a tar of three GeoTIFFs. It becomes one GeoTIFF with a band for each, on
the area's grid. What is asked for names the folder of the store: another evalscript, another file.
"""

import logging
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import requests

from mapmill.catalogue import http
from mapmill.catalogue.process import epsg, request, request_digest
from mapmill.config import Area
from mapmill.errors import CatalogueError, ContractError
from mapmill.grid import Block, Grid
from mapmill.layout import RESOURCES
from mapmill.raster import Array, inspect, read_image, write_raster
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


def credentials() -> tuple[str, str]:
    """Client id and secret, from the environment alone.

    Raises
    ------
    CatalogueError
        naming the variables that are not set.
    """
    found = [os.environ.get(name, "") for name in VARIABLES]
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
    asked = request(area, period, grid, block)
    kept = RESOURCES / "sentinelhub" / request_digest(area, period) / f"{block.name}.tif"
    if kept.exists():
        log.info("%s is in the store; nothing to download", kept)
        return kept
    base, token_url = _addresses(chosen)
    RESOURCES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESOURCES, prefix=".sentinelhub-") as folder:
        served = _asked(f"{base}/api/v1/process", token_url, asked, Path(folder))
        image_BYX = _read(served, area.compose.bands, grid, block)
    _check_content(image_BYX, chosen, f"{period} {block.name}")
    bands = [*area.compose.bands, *EXTRA]
    tags = {"SOURCE": f"Sentinel Hub {chosen.collection}", "MAPMILL_REQUEST": kept.parent.name}
    write_raster(kept, image_BYX, grid, block.window, bands=bands, nodata=0, tags=tags)
    return kept


def _addresses(chosen: SentinelHub) -> tuple[str, str]:
    base, token = HOSTS[chosen.deployment]
    return os.environ.get("SH_BASE_URL", base).rstrip("/"), os.environ.get("SH_TOKEN_URL", token)


def _token(url: str) -> str:
    """An access token, kept in memory alone."""
    name, secret = credentials()
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}

    def read(answer: requests.Response) -> str:
        if answer.status_code != 200:
            raise CatalogueError(
                url,
                f"status {answer.status_code} ({_reason(answer)})",
                "an access token",
                f"check {' and '.join(VARIABLES)} and the deployment",
            )
        try:
            return str(answer.json()["access_token"])
        except (ValueError, KeyError, TypeError):
            kind = http.kind_of(answer) or "no type"
            raise CatalogueError(
                url, f"no token in an answer of {kind}", "JSON", "check SH_TOKEN_URL"
            ) from None

    token: str = http.send(
        "POST", url, read, wait_unit_s=WAIT_UNIT_S, data=form, allow_redirects=False
    )
    return token


def _reason(answer: requests.Response) -> str:
    """What the service says is wrong, in a few words."""
    try:
        content = answer.json()
        error = content.get("error", content)
        text = error if isinstance(error, str) else error.get("message") or error.get("code")
        return str(text or answer.reason)[:300]
    except (ValueError, AttributeError):
        return f"{answer.reason}, a page of {http.kind_of(answer) or 'no type'}"


def _asked(url: str, token_url: str, body: dict[str, Any], folder: Path) -> Path:
    """The tar that the service gives, in `folder`; a token that is refused is renewed once."""
    size = body["output"]["width"] * body["output"]["height"]
    limit = 2 * size * (2 * body["evalscript"].count("s.B") + 24) + 2**20
    target = folder / "served.tar"

    def save(answer: requests.Response) -> bool:
        if answer.status_code == 401:
            return False
        if answer.status_code != 200:
            raise CatalogueError(
                url,
                f"status {answer.status_code} ({_reason(answer)})",
                "an image",
                "see the reason",
            )
        kind = http.kind_of(answer)
        if "tar" not in kind:
            raise CatalogueError(url, f"an answer of {kind or 'no type'}", "a tar", "rerun later")
        http.save_body(answer, target, "Sentinel Hub", None, limit)
        spent = answer.headers.get("X-ProcessingUnits-Spent", "?")
        log.info("%s processing units spent", spent)
        return True

    for _ in range(2):
        headers = {"Authorization": f"Bearer {_token(token_url)}", "Accept": "application/x-tar"}
        more = {"json": body, "headers": headers, "allow_redirects": False}
        if http.send("POST", url, save, wait_unit_s=WAIT_UNIT_S, **more):
            return target
    raise CatalogueError(
        url, "status 401 with a fresh token", "access", "check the account and the deployment"
    )


def _read(served: Path, bands: list[str], grid: Grid, block: Block) -> Array:
    """Bands, SCL and dataMask of the tar, (band, y, x) uint16, after comparing each with the grid.

    Raises
    ------
    CatalogueError
        if a member is missing, damaged, or not exactly the block.
    """
    stacked = []
    for name, count in (("bands", len(bands)), ("scl", 1), ("mask", 1)):
        part = served.with_name(f"{name}.tif")
        try:
            with tarfile.open(served) as tar:
                member = next(
                    m for m in tar if m.isfile() and m.name in (part.name, f"./{part.name}")
                )
                content = tar.extractfile(member)
                part.write_bytes(content.read() if content else b"")
            info = inspect(part)
            image_BYX = read_image(part)[0]
        except (tarfile.TarError, EOFError, StopIteration, ContractError) as error:
            found = str(error).removeprefix(f"{part}: ") or f"no {part.name}"
            raise CatalogueError(
                f"Sentinel Hub, {block.name}", found, f"a tar with {part.name}", "rerun later"
            ) from None
        crs, transform = f"EPSG:{epsg(grid.crs)}", grid.transform(block.window)
        shape = (count, block.window.height, block.window.width)
        there = np.allclose(info.transform, transform, rtol=0, atol=1e-6 * grid.resolution)
        if info.crs != crs or not there or image_BYX.shape != shape:
            raise CatalogueError(
                f"Sentinel Hub, {block.name} {part.name}",
                f"{info.crs} {info.transform} {image_BYX.shape}",
                f"{crs} {transform} {shape}",
                "rerun later",
            )
        stacked.append(image_BYX.astype(np.uint16))
    return np.concatenate(stacked)


def _check_content(image_BYX: Array, chosen: SentinelHub, what: str) -> None:
    """A block that comes back empty, though the area lies there, is no block of zeros."""
    mask_YX = image_BYX[-1]
    share = float((mask_YX > 0).mean())
    log.info("Sentinel Hub, %s: %.1f %% of the pixels have data", what, 100 * share)
    if share == 0 and chosen.empty == "refuse":
        raise CatalogueError(
            f"Sentinel Hub, {what}",
            "no pixel with data",
            "imagery",
            "widen the period, raise download.sentinelhub.max_cloud, or set empty: accept",
        )
    beside = (image_BYX[:-2] > 0).any(axis=0) & (mask_YX == 0)
    if beside.any():
        raise CatalogueError(
            f"Sentinel Hub, {what}",
            f"values in {int(beside.sum())} pixels that dataMask calls empty",
            "0 there",
            "report this",
        )
