"""Checksums as catalogues write them: `sha256:` and digits, or a multihash in hexadecimal."""

import hashlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)
PREFIXES = {
    "1220": ("sha256", 64),
    "1340": ("sha512", 128),
    "1114": ("sha1", 40),
    "d50110": ("md5", 32),
    "d510": ("md5", 32),
}
"""Code and length of a multihash -> algorithm and digits; md5's code is also met without its 01."""
NAMED = dict(PREFIXES.values())
CHUNK = 2**20


def expected_digest(checksum: str | None) -> tuple[str, str] | None:
    """Algorithm and digest that a checksum stands for; None if it cannot be checked."""
    text = (checksum or "").strip().lower()
    name, _, digest = text.partition(":")
    if name in NAMED and digest:
        return name, digest  # also of a wrong length: then no file is right
    for prefix, (name, digits) in PREFIXES.items():
        if re.fullmatch(f"{prefix}[0-9a-f]{{{digits}}}", text):
            return name, text.removeprefix(prefix)
    return None


def digests_of(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Digests of a file by these algorithms, reading it once."""
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in digests.items()}
