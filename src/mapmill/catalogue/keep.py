"""Files by their address that are kept whole and right, or not at all.

A file is fetched aside, checked, flushed to disk and renamed; before that its record is written
beside it. What a broken connection or a kill leaves is gone on with by the next attempt or run.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from mapmill.atomic import room_for, write_json
from mapmill.catalogue import http
from mapmill.catalogue.addresses import shown
from mapmill.catalogue.partial import Version, held, lock_of, range_of, validator_of
from mapmill.catalogue.wanted import (
    AfreshError,
    Check,
    Job,
    RefusedError,
    StrayError,
    check_kind,
    check_length,
    checked,
)
from mapmill.catalogue.wanted import Ask as Ask
from mapmill.catalogue.wanted import Wanted as Wanted
from mapmill.layout import RESOURCES

log = logging.getLogger(__name__)
FURTHER = 2**20
"""Bytes more than ever before, after which an attempt does not count as one that failed."""
LONGEST = 120
"""Letters of a file's name that are kept, its suffix among them; a path's part has 255."""


def fetch(
    wanted: Wanted,
    kept: Path,
    *,
    ask: Callable[[bool], Ask] | None = None,
    check: Check | None = None,
    record: Mapping[str, Any] | None = None,
    base: str | None = None,
) -> Path:
    """The file at `kept`, after fetching it if it is not there.

    Parameters
    ----------
    ask : how to ask for it; called with True after the first 401 or 403, to renew what ran out
    check : looks at the finished file, aside; raises CatalogueError for what is wrong for good,
        DamagedError for what may be better next time; gives facts for the record
    record : more for the record, `kept` and `.json`
    base : address of the catalogue that named the address; see `http.check_address`

    Raises
    ------
    CatalogueError
        if the server does not give the whole file that is expected.
    """
    if there(kept):
        with suppress(OSError):  # in a store of others, who may have left a lock
            if lock_of(kept).exists():  # one that a kill has left is taken away
                with held(kept) as part:
                    part.clear()
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with room_for(kept), held(kept) as part:
        if there(kept):
            part.clear()  # what a kill has left after the file had its name
        else:
            job = Job(wanted, kept, part, ask, check, base)
            told = _bring(job)
            write_json(kept.with_name(f"{kept.name}.json"), {**(record or {}), **told})
            part.commit(kept)
    return kept


def there(kept: Path) -> bool:
    """Whether the file is in the store; if so, the log says it."""
    if kept.exists():
        log.info("%s is in the store; nothing to download", kept)
    return kept.exists()


def _bring(job: Job) -> dict[str, Any]:
    """Fetch and check the file aside; what its record says of it.

    Bytes that were found wrong are gone after an error; those that only lack the rest stay.
    """
    patience, best = http.Patience(job.where), job.part.size
    job.part.mixed = best > 0
    while True:
        try:
            return _attempt(job)
        except AfreshError:
            log.info("%s: the server does not go on; starting afresh", job.where)
            job.part.clear()
        except RefusedError as refused:
            job.again(refused)  # the bytes stay, for a run with better rights
        except (http.DamagedError, requests.RequestException) as error:
            size = job.part.size
            further, best = size >= best + FURTHER, max(best, size)
            job.renewed = job.renewed and not further
            _wait(job, patience, error, further)
        except OSError:  # such as a full disk, which a part should not fill
            job.part.clear()
            raise


def _wait(job: Job, patience: http.Patience, error: Exception, further: bool) -> None:
    """Wait before the next attempt, or tell that there is none; what has come may stay."""
    remedy = "check the network and rerun"
    if isinstance(error, http.DamagedError) and not isinstance(error, StrayError):
        job.part.clear()
    elif job.part.usable(shown(job.wanted.url), job.wanted.size, job.sure):
        remedy = "rerun: the same command goes on where it stopped"
    patience.after(error, further, remedy)


def _attempt(job: Job) -> dict[str, Any]:
    """Ask for what is missing, and look at the whole; nothing is asked if all is there."""
    part, wanted = job.part, job.wanted
    known = part.usable(shown(wanted.url), wanted.size, job.sure)
    if not (known and known.total == part.size):
        headers = dict(http.AGENT)
        if known:
            headers["Range"] = f"bytes={part.size}-"
            headers |= {"If-Range": known.validator} if known.validator else {}
        more: dict[str, Any] = {"params": dict(job.asked.params), "headers": headers}
        hidden, url = job.asked.hidden, job.asked.url

        def use(answer: requests.Response) -> None:
            _receive(job, answer, known)

        http.once("GET", url, use, hidden=hidden, base=job.base, **more)
    return checked(job)


def _receive(job: Job, answer: requests.Response, known: Version | None) -> None:
    """Write an answer behind what there is, if it goes on from there; or instead of it."""
    status, where = answer.status_code, shown(job.wanted.url)
    if status in (401, 403):
        raise RefusedError(http.status_of(answer, job.asked.hidden))
    if known and (status == 416 or (status == 206 and not _goes_on(job, answer, known))):
        raise AfreshError
    if status != 200 and not (status == 206 and known):
        found = http.status_of(answer, job.asked.hidden)
        remedy = (status == 400 and job.wanted.rights) or job.wanted.remedy
        raise job.wrong(found, "200", remedy)
    check_kind(job, answer)
    told = range_of(answer) if status == 206 else None
    total = told[2] if told else http.length_of(answer)
    check_length(job, total)
    if status == 200:
        compressed = "Content-Encoding" in answer.headers
        job.part.begin(None if compressed else Version.of(where, answer))
    _write(job, answer, total)


def _goes_on(job: Job, answer: requests.Response, known: Version) -> bool:
    """Whether a 206 is the rest of the same version, from the byte that was asked for."""
    told, validator = range_of(answer), validator_of(answer)
    same = validator == known.validator or (job.sure and not validator)
    if not told or not same or "Content-Encoding" in answer.headers:
        return False
    start, last, total = told
    return start == job.part.size and start <= last < total == (known.total or total)


def _write(job: Job, answer: requests.Response, told: int | None) -> None:
    """Add the body to the part; it is given up when there are too many bytes."""
    part, wanted = job.part, job.wanted
    start, total = part.size, wanted.size or told
    most = total or wanted.limit
    part.mixed = part.mixed or start > 0
    with part.path.open("ab") as file:
        http.write(answer, file, job.kept.name, max((total or 0) - start, 0), most - start)
    if part.size > most:
        part.clear()
        raise job.wrong(f"over {most} bytes", f"{total or 'less'}", job.sizes)
    if told and part.size < told:
        raise requests.exceptions.ChunkedEncodingError  # a part of the rest
    if part.size < (total or 1):
        remedy = f"rerun; {job.sizes}" if job.base is not None else "rerun; if it stays, the size"
        raise http.DamagedError(job.where, f"{part.size} bytes", f"{total or 'a file'}", remedy)


def fetch_address(url: str, size: int | None, sha256: str | None, key: str) -> Path:
    """Path in the store of what `url` serves, after fetching it if it is not there.

    Parameters
    ----------
    size, sha256 : what is expected, where it is known
    key : of the area file, for messages

    Raises
    ------
    CatalogueError
        if the server does not answer with the whole file that is expected.
    """
    checksum = f"sha256:{sha256}" if sha256 else None
    return fetch(Wanted(url, size, checksum, key=key), kept_file(url, size, sha256))


def kept_file(url: str, size: int | None, sha256: str | None) -> Path:
    """Where in the store the file of an address is kept."""
    request = hashlib.sha256(f"{url}\n{size}\n{sha256}".encode()).hexdigest()[:16]
    return RESOURCES / "url" / request / _name(url)


def _name(url: str) -> str:
    """Last part of an address, fit for a path."""
    name = url.partition("?")[0].rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-LONGEST:].lstrip(".") or "file"
