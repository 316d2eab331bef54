"""The network: requests with bounded patience, along redirects that are looked at."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

import requests
import urllib3

from mapmill.catalogue.addresses import (
    Secrets,
    cleaned,
    fault,
    holds,
    origin,
    secrets,
    without_user,
)
from mapmill.catalogue.addresses import check_address as check_address
from mapmill.catalogue.addresses import shown as shown
from mapmill.catalogue.answers import BusyError, asked_wait, trouble
from mapmill.catalogue.answers import json_of as json_of
from mapmill.catalogue.answers import kind_of as kind_of
from mapmill.catalogue.answers import length_of as length_of
from mapmill.catalogue.answers import pieces as pieces
from mapmill.catalogue.answers import save_body as save_body
from mapmill.catalogue.answers import status_of as status_of
from mapmill.catalogue.answers import write as write
from mapmill.errors import CatalogueError

log = logging.getLogger(__name__)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings hold whole addresses
TIMEOUT_S = (10, 120)
"""To connect, and between two pieces of the answer."""
ATTEMPTS = 5
DAMAGED = 3
"""Answers that are damaged before the last one is told."""
MOST = 100
"""Attempts in all, where each one gets further than the one before."""
BACKOFF_S = 1.0
"""Wait before the second attempt; each later one waits twice as long, give or take a quarter."""
LONGEST_WAIT_S = 120.0
"""A server that asks to wait longer is an error: the same command goes on later."""
AGAIN = (429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""
REDIRECTS = 10
"""Redirects that are followed, one after the other."""
MOVED = (301, 302, 303, 307, 308)
HARMLESS = ("user-agent", "accept", "accept-encoding", "accept-language", "range", "if-range")
"""Headers that another server may see; all others may hold a secret."""
HOPELESS = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationValueError,
)
"""Errors that the same request gives again."""
AGENT = {"User-Agent": "Mozilla/5.0 (compatible; mapmill)", "Accept-Encoding": "identity"}
"""Some public servers turn away whoever does not look like a browser."""


class DamagedError(CatalogueError):
    """What came is damaged: the same request may succeed."""


class Patience:
    """What is left of it: attempts are counted, and each waits longer than the one before.

    Parameters
    ----------
    where : the address, for messages
    """

    def __init__(self, where: str) -> None:
        self.where, self.failed, self.damaged, self.all = where, 0, 0, 0

    def after(
        self, error: Exception, further: bool = False, remedy: str = "check the network and rerun"
    ) -> None:
        """Wait before the next attempt; the error in one line when there is none.

        Parameters
        ----------
        error : DamagedError, or RequestException
        further : the attempt got further than those before, which then do not count
        remedy : what the user can do when patience is at an end
        """
        self.failed, self.all = 0 if further else self.failed + 1, self.all + 1
        found, asked_s = trouble(error), getattr(error, "wait_s", 0.0)
        if isinstance(error, DamagedError):
            self.damaged += 1
            if self.damaged == DAMAGED:
                raise error
        step = 2 ** max(self.failed - 1, 0) * random.uniform(0.75, 1.25)  # noqa: S311
        wait_s = max(BACKOFF_S * step, asked_s)
        if wait_s > LONGEST_WAIT_S:
            found = f"{found}, to wait {wait_s:.0f} s"
            raise CatalogueError(self.where, found, "an answer", "rerun after that time")
        if self.failed >= ATTEMPTS or self.all >= MOST:
            times = ATTEMPTS if self.failed >= ATTEMPTS else MOST
            raise CatalogueError(self.where, f"{found}, {times} times", "an answer", remedy)
        log.info("%s: %s; asking again in %.1f s", self.where, found, wait_s)
        time.sleep(wait_s)


def send(
    method: str,
    url: str,
    use: Callable[[requests.Response], Any],
    *,
    wait_unit_s: float = 1.0,
    hidden: Secrets = "",
    base: str | None = None,
    **more: Any,
) -> Any:
    """What `use` makes of the server's answer, asking again where that may help.

    Redirects of GET and HEAD are followed unless `allow_redirects` is False. Another server
    than the first gets none of the caller's parameters, passwords and headers.

    Parameters
    ----------
    use : called with the answer of any status but those of `AGAIN`, its body not yet read; it
        may raise a DamagedError
    wait_unit_s : unit of a number in the Retry-After of a 429, in seconds
    hidden : secrets that no message may repeat, and no redirect hand on
    base : address of the catalogue that named `url`; see `check_address`
    more : passed to requests: headers, params, json, data, auth, allow_redirects

    Raises
    ------
    CatalogueError
        when patience is at an end.
    """
    patience = Patience(cleaned(shown(url), secrets(hidden)))
    while True:
        try:
            return once(method, url, use, wait_unit_s=wait_unit_s, hidden=hidden, base=base, **more)
        except (DamagedError, requests.RequestException) as error:
            patience.after(error)


def once(
    method: str,
    url: str,
    use: Callable[[requests.Response], Any],
    *,
    wait_unit_s: float = 1.0,
    hidden: Secrets = "",
    base: str | None = None,
    **more: Any,
) -> Any:
    """One attempt of `send`; a DamagedError or RequestException may be better next time."""
    wrong = fault(url, base) if base is not None else ""
    if wrong:
        where = cleaned(shown(url), secrets(hidden))
        raise CatalogueError(where, wrong, "a public host", "check the address")
    try:
        with _followed(method, url, secrets(hidden), base or url, more) as answer:
            if answer.status_code in AGAIN:
                wait_s = asked_wait(answer, wait_unit_s)
                raise BusyError(status_of(answer, hidden), wait_s)
            return use(answer)
    except HOPELESS as error:
        where, found = cleaned(shown(url), secrets(hidden)), f"no answer ({type(error).__name__})"
        raise CatalogueError(where, found, "an answer", "check the address") from None


class _Session(requests.Session):
    """One chain of redirects, followed by ourselves; its cookies live as long."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: requests would read the body, follow, and hand passwords of a netrc file on."""
        return None


class _Account:
    """The user and password of an address; requests looks for no others, as in a netrc file."""

    def __init__(self, url: str) -> None:
        try:
            self.user, self.password = requests.utils.get_auth_from_url(url)
        except ValueError:  # of `http://[::1`
            raise requests.exceptions.InvalidURL from None

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        known = self.user or self.password
        return (
            requests.auth.HTTPBasicAuth(self.user, self.password)(prepared) if known else prepared
        )


@contextmanager
def _followed(
    method: str, url: str, hidden: tuple[str, ...], base: str, more: dict[str, Any]
) -> Iterator[requests.Response]:
    """The answer at the end of the redirects, if they are to be followed."""
    follow = more.get("allow_redirects", True) and method in ("GET", "HEAD")
    account = _Account(url)
    first, seen, hidden = url, {url}, (*hidden, account.password)
    url, more = without_user(url), more | {"auth": more.get("auth") or account}
    with _Session() as session:
        for _ in range(REDIRECTS + 1):
            with session.request(method, url, stream=True, timeout=TIMEOUT_S, **more) as answer:
                if not (follow and answer.status_code in MOVED and "Location" in answer.headers):
                    yield answer
                    return
                there = _next(answer, cleaned(shown(first), hidden), hidden, base)
            more = _harmless(more, origin(url) == origin(there))
            circle, url = there in seen, there
            seen.add(there)
    found = "redirects in a circle" if circle else f"more than {REDIRECTS} redirects"
    raise CatalogueError(cleaned(shown(first), hidden), found, "an answer", "check the address")


def _next(answer: requests.Response, where: str, hidden: tuple[str, ...], base: str) -> str:
    """Where a redirect leads, if one may go there."""
    text = answer.headers["Location"].encode("latin1", "replace").decode("utf-8", "replace")
    expected = "a redirect to a public host"
    try:
        there = without_user(urljoin(answer.url, text).partition("#")[0])
    except ValueError:
        raise CatalogueError(where, "no address", expected, "check the address") from None
    wrong = fault(there, base)
    if not wrong and origin(there) != origin(answer.url) and holds(text, hidden):
        wrong = "another host that would be given a secret"
    if wrong:
        found = f"a redirect to {cleaned(shown(there), hidden)}, {wrong}"
        raise CatalogueError(where, found, expected, "check the address")
    log.info("%s: a redirect to %s", where, cleaned(shown(there), hidden))
    return there


def _harmless(more: dict[str, Any], same: bool) -> dict[str, Any]:
    """What of a request goes on to the next address; parameters are in the redirect, or not."""
    headers = more.get("headers") or {}
    if same:
        return {"headers": headers, "cookies": more.get("cookies"), "auth": more["auth"]}
    kept = {name: value for name, value in headers.items() if name.lower() in HARMLESS}
    return {"headers": kept, "auth": _Account("")}
