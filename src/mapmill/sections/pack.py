"""How patches are stored."""

from pydantic import Field

from mapmill.sections.base import Section


class Pack(Section):
    """The patch store."""

    shard: int = Field(default=64, ge=1)
    """Patches in one file."""
