"""Addresses: where requests may go, and what messages may show of them."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import quote, unquote, urljoin

import requests
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from mapmill.errors import CatalogueError

SCHEMES = {"http": 80, "https": 443}
"""Schemes that are asked, and their ports."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""How a network of IPv6 alone writes the addresses of IPv4."""
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Secrets = str | tuple[str, ...]
"""One or several; the empty one is none."""


def shown(url: str) -> str:
    """An address without its query and without a user, which may hold a secret."""
    return without_user(url.partition("?")[0].partition("#")[0])


def without_user(url: str) -> str:
    """An address without `user:password@`."""
    return re.sub(r"^(\w+://)[^/?#]*@", r"\1", url)


def secrets(hidden: Secrets) -> tuple[str, ...]:
    """Secrets, one or several, as a tuple."""
    return (hidden,) if isinstance(hidden, str) else hidden


def cleaned(text: str, hidden: Iterable[str]) -> str:
    """A text without secrets, nor the queries and users of the addresses in it."""
    for secret in hidden:
        for form in {secret, quote(secret), quote(secret, safe="")} - {""}:
            text = text.replace(form, "...")
    text = re.sub(r"(\w+://)[^\s/?#]*@", r"\1", text)
    return re.sub(r"(\w+://[^\s?#]*)[?#][^\s\"')]*", r"\1", text)


def holds(text: str, hidden: Iterable[str]) -> bool:
    """Whether a text holds a secret, plain or quoted as addresses are."""
    plain = unquote(text)
    return any(s in text or s in plain or unquote(s) in plain for s in hidden if s)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: whoever has a secret for one of these has none for another."""
    parts = _parts(url)
    scheme = parts.scheme or ""
    return scheme, (parts.host or "").rstrip("."), parts.port or SCHEMES.get(scheme, 0)


def joined(url: str, href: str) -> str:
    """The address that a link of the document at `url` leads to.

    Raises
    ------
    CatalogueError
        if the link is no address.
    """
    try:
        return urljoin(url, href)
    except ValueError:  # such as http://[::1
        found = f"a link to {shown(href)[:100]}"
        raise CatalogueError(shown(url), found, "an address", "report it there") from None


def check_address(url: str, base: str | None) -> None:
    """Refuse an address that a public catalogue, or a redirect, should not lead to.

    A catalogue on the network could otherwise have us ask the router, or the metadata service
    of the cloud that we run in. One on a private network leads to its neighbours, rightly.
    What a name means may change between this and the request: it is no wall.

    Parameters
    ----------
    base : address of the catalogue, or the first one of a redirect; None: any host is right

    Raises
    ------
    CatalogueError
        if it is not http or https, or lies on a private network while `base` does not.
    """
    found = fault(url, base)
    if found:
        raise CatalogueError(
            shown(url), found, "http or https, to a public host", "check the address"
        )


def fault(url: str, base: str | None) -> str:
    """What is wrong with an address, in a few words; empty if nothing is."""
    parts = _parts(url)
    if parts.scheme not in SCHEMES:
        return f"an address of {parts.scheme or 'no scheme'}"
    if not parts.host:
        return "an address without a host"
    private = base is not None and _private_ip(url)
    if private and not _private_ip(base or ""):
        return f"an address on a private network ({private})"
    return ""


def _parts(url: str) -> Url:
    """Parts of an address, taken apart as the request does it; none of one that is no address."""
    try:
        return parse_url(url)
    except LocationParseError:
        return Url()


def _private_ip(url: str) -> str:
    """The first address of a host that is not one of the public network; empty if all are."""
    host = (_parts(url).host or "").strip("[]").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    found = _literal(host)
    ips = [found] if found else _resolved(host, url)
    return next((str(ip) for ip in ips if not _is_public(ip)), "")


def _literal(host: str) -> Ip | None:
    """The IP that a host is, also in the old ways of writing one: 127.1, 0x7f000001."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _resolved(host: str, url: str) -> list[Ip]:
    """What a name means; nothing if it means nothing, or where a proxy finds it out."""
    proxies = requests.utils.get_environ_proxies(url)
    if requests.utils.select_proxy(url, proxies):
        return []
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [ipaddress.ip_address(str(answer[4][0])) for answer in answers]
    except (OSError, ValueError):
        return []


def _is_public(ip: Ip) -> bool:
    inner = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    if isinstance(ip, ipaddress.IPv6Address) and ip in NAT64:
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    ip = inner or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)
