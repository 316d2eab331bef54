"""Catalogues by name: where they are, and what they ask of whoever downloads from them.

Addresses and accounts come from the environment; secrets are read here and stay in memory.
"""

import os
import urllib.parse
from collections.abc import Mapping

from mapmill.catalogue.addresses import origin
from mapmill.config import Area
from mapmill.errors import CatalogueError

HOSTS = {
    "bdc": "https://data.inpe.br/bdc/stac/v1",
    "dgi": "https://www.dgi.inpe.br",
}
"""Catalogues whose address is known; that of `stac` is in the area file."""
ADDRESS = {"stac": "STAC_BASE_URL", "bdc": "BDC_BASE_URL", "dgi": "INPE_BASE_URL"}
"""Variables that give another address."""
ACCOUNT = {"bdc": "BDC_ACCESS_TOKEN", "dgi": "INPE_EMAIL"}
"""Variables that hold what a catalogue asks for: a token (few collections need it), an e-mail."""
RIGHTS = {
    "stac": "check your rights to it, and download.sign",
    "bdc": "check BDC_ACCESS_TOKEN",
    "dgi": "check INPE_EMAIL",
}
"""What to do where a file is refused."""
PARAMETER = {"bdc": "access_token", "dgi": "email"}
"""How it is given, in the query of an address."""
ADDED = frozenset(PARAMETER.values())
"""What a catalogue may have put into an address because it was asked with it."""


def base_of(area: Area) -> str:
    """Address of the catalogue that an area's imagery is searched in, without a last slash.

    Raises
    ------
    CatalogueError
        if the one in the environment has a query or a user: no later request would have it.
    """
    assert area.search is not None and area.search.catalogue is not None
    known = area.search.catalogue.api or HOSTS[area.source]
    given = os.environ.get(ADDRESS[area.source], "").strip()
    if set("?#@") & set(given):
        raise CatalogueError(
            ADDRESS[area.source], "an address with ?, # or @", "one without", "take out the account"
        )
    return (given or known).rstrip("/")


def account(source: str, url: str, base: str) -> Mapping[str, str]:
    """What goes into the query of a request to `url`: nothing where it is another host.

    Raises
    ------
    CatalogueError
        if an e-mail address is needed and not set.
    """
    if source not in ACCOUNT or origin(url) != origin(base):
        return {}
    secret = os.environ.get(ACCOUNT[source], "").strip()
    if not secret and source == "dgi":
        raise CatalogueError(
            "INPE's catalogue",
            "no INPE_EMAIL in the environment",
            "the e-mail address of an account there",
            "register at www.dgi.inpe.br/catalogo, then: export INPE_EMAIL=...",
        )
    return {PARAMETER[source]: secret} if secret else {}


def plain(url: str) -> str:
    """An address as it is pinned: without query, fragment and user, which may hold secrets."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))
