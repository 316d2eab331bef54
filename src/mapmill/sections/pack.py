"""How patches are stored."""

from typing import Literal

from pydantic import Field

from mapmill.sections.base import Section


class Pack(Section):
    """The patch store."""

    shard: int = Field(default=64, ge=1, le=4096)
    """Patches in one file. 1: a file for each patch, without shards, which GDAL reads too (from
    3.11 on)."""
    codec: Literal["lz4", "zstd", "none"] = "lz4"
    """lz4 is quickest to read; zstd is smaller; none is for readers without Blosc."""
