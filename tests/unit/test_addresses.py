"""Redirects and addresses: requests go where they should, and secrets nowhere else."""

import socket

import pytest
from answering import BODY, answer, serving

from mapmill.catalogue import addresses, http
from mapmill.errors import CatalogueError

SECRET = "s3cr3t-t0ken"
PUBLIC = {"catalogue.example": "93.184.216.34", "other.example": "151.101.1.1"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxy, and no waiting between attempts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)


def names(monkeypatch, **more):
    """A resolver of these names alone."""
    known = PUBLIC | {name.replace("_", "."): ip for name, ip in more.items()}

    def resolve(host, *_, **__):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        family = socket.AF_INET6 if ":" in known[host] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (known[host], 0))]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)


def get(url, **more):
    """Body of what is asked for."""
    return http.send("GET", url, lambda found: b"".join(http.pieces(found)), **more)


def refused(url, **more):
    with pytest.raises(CatalogueError) as caught:
        get(url, **more)
    assert "\n" not in str(caught.value) and SECRET not in str(caught.value)
    return str(caught.value)


def to(location, status=302):
    return answer(b"", status, Location=location)


@pytest.fixture
def heard(monkeypatch):
    """The headers of each request, by server."""
    found = []
    real = http._Session.send

    def send(self, request, **more):
        found.append((request.url, dict(request.headers)))
        return real(self, request, **more)

    monkeypatch.setattr(http._Session, "send", send)
    return found


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_chain_is_followed(status):
    """Archives hand on from a permanent address to the store of today."""
    steps = [to(f"/{n}", status) for n in range(10)]
    with serving(*steps, answer()) as server:
        assert get(f"{server.url}/start") == BODY
        assert server.asked == ["/start"] + [f"/{n}" for n in range(10)]


def test_a_chain_has_an_end():
    """A server that always sends elsewhere would be asked for ever."""
    with serving(*[to(f"/{n}") for n in range(30)]) as server:
        assert "found more than 10 redirects" in refused(f"{server.url}/start")
        assert len(server.asked) == 11
    with serving(to("/b")) as server:
        assert "found redirects in a circle" in refused(f"{server.url}/a")


def test_posts_are_not_handed_on():
    """The body of a request, with its secret, would go to another host."""
    with serving(to("/there", 307)) as server:
        found = http.send("POST", server.url, lambda found: found.status_code, data={"a": SECRET})
        assert found == 307 and len(server.asked) == 1


def test_secrets_stay_with_their_host(heard):
    """The key for one server would be given to another, that any server may name."""
    with serving(answer()) as other, serving(to(f"{other.url}/x?y=1")) as server:
        headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k", **http.AGENT}
        url = server.url.replace("//", "//user:word@")
        assert get(url, headers={**headers, "Range": "bytes=0-"}, params={"token": "t"}) == BODY
        assert other.asked == ["/x?y=1"]
    (_, first), (_, second) = heard
    assert first["X-Api-Key"] == "k" and first["Authorization"].startswith("Basic ")
    assert {"Range", "User-Agent"} <= set(second)
    assert not {"Authorization", "Cookie", "X-Api-Key"} & set(second)


def test_secrets_go_on_within_their_host(heard):
    """A server that moves a file on itself would ask for the password, and not get it."""
    with serving(to("/there?x=1"), answer()) as server:
        url = server.url.replace("//", "//user:word@")
        get(url, headers={"X-Api-Key": "k"}, params={"token": "t"})
        assert server.asked == ["/?token=t", "/there?x=1"]
    assert all(each["Authorization"].startswith("Basic ") for _, each in heard)
    assert heard[1][1]["X-Api-Key"] == "k"


@pytest.mark.parametrize("form", [SECRET, "s3cr3t%2Dt0ken", "a%20" + SECRET])
def test_a_redirect_that_carries_a_secret_away(form):
    """A server that repeats the query would hand our key to any host it names."""
    with serving(answer()) as other, serving(to(f"{other.url}/x?token={form}")) as server:
        line = refused(server.url, params={"token": SECRET}, hidden=("", SECRET))
        assert "another host that would be given a secret" in line and other.asked == []
    with serving(to(f"/x?token={form}"), answer()) as server:
        assert get(server.url, params={"token": SECRET}, hidden=SECRET) == BODY


def test_a_password_of_the_address_that_is_carried_away():
    """The same, of a password that stands in the address itself."""
    with serving(answer()) as other, serving(to(f"{other.url}/x?key=p4ssw0rd")) as server:
        refused(server.url.replace("//", "//user:p4ssw0rd@"))
        assert other.asked == []


def test_a_netrc_file_is_not_used(tmp_path, monkeypatch, heard):
    """The password of another program would be sent, and replace the token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(to("/there"), answer()) as server:
        get(server.url)
        get(server.url, auth=None)
    assert not [1 for _, each in heard if "Authorization" in each]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher:x"])
def test_a_redirect_to_no_server(location):
    """A server could have us read the user's own files."""
    with serving(to(location)) as server:
        assert f"an address of {location.partition(':')[0]}" in refused(server.url)


@pytest.mark.parametrize("location", ["http://[::1", "http://", "//", "http://a b/"])
def test_a_redirect_to_no_address(location):
    """A mistake of a server would end in a page of Python."""
    with serving(to(location)) as server:
        assert "check the address" in refused(server.url)


PRIVATE = [
    "http://127.0.0.1/x",
    "http://localhost:8080/x",
    "https://10.1.2.3/x",
    "http://169.254.169.254/latest/meta-data",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://[::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[64:ff9b::a00:1]/",
    "http://127.1/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://user@10.0.0.1/",
    "http://router.example/",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_a_public_catalogue_leads_to_no_private_address(monkeypatch, url):
    """A catalogue could have us ask the router, or the cloud for its own passwords."""
    names(monkeypatch, router_example="192.168.0.1")
    with pytest.raises(CatalogueError, match="an address on a private network"):
        http.check_address(url, "https://catalogue.example/stac")
    http.check_address(url, "http://127.0.0.1:9000/stac")
    http.check_address(url, "http://router.example/stac")
    http.check_address(url, None)
    monkeypatch.setattr(http._Session, "request", lambda *_, **__: pytest.fail("asked"))
    assert "private network" in refused(url, base="https://catalogue.example/stac")


@pytest.mark.parametrize(
    "url",
    ["https://other.example/x", "http://8.8.8.8/", "http://[2606:4700::1111]/",
     "http://nobody.example/", "http://[64:ff9b::808:808]/"],
)  # fmt: skip
def test_public_addresses_are_right(monkeypatch, url):
    """Assets lie on other hosts than the catalogue, as a rule."""
    names(monkeypatch)
    http.check_address(url, "https://catalogue.example/stac")


def test_a_redirect_to_a_private_address(monkeypatch):
    """The same, one step later."""
    names(monkeypatch, router_example="192.168.0.1")
    found = http.requests.Response()
    found.status_code, found.url = 302, "https://catalogue.example/a"
    for location in ("http://router.example/", "//169.254.169.254/x"):
        found.headers["Location"] = location
        with pytest.raises(CatalogueError, match="private network"):
            http._next(found, "x", (), "https://catalogue.example/a")


def test_a_proxy_resolves_names(monkeypatch):
    """Behind a proxy no name may be known here: all would wait, or be refused."""
    monkeypatch.setenv("HTTPS_PROXY", "http://10.0.0.1:3128")
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: pytest.fail("resolved"))
    http.check_address("https://other.example/x", "https://catalogue.example")
    with pytest.raises(CatalogueError, match="private network"):
        http.check_address("https://10.0.0.7/x", "https://catalogue.example")


def test_messages_hold_no_secret(caplog):
    """What a server says of a request may repeat all of it, and people send logs around."""
    said = f'{{"message": "no http://u:{SECRET}@h/x?sig={SECRET} for {SECRET}, first1st"}}'.encode()
    with serving(answer(said, 403, Content_Type="application/json")) as server:

        def use(found):
            return http.status_of(found, ("first1st", SECRET))

        found = http.send("GET", f"{server.url}/x?key={SECRET}", use)
    assert found == "status 403 Forbidden (no http://h/x for ..., ...)"
    with serving(answer(b"", 503)) as server, caplog.at_level("DEBUG"):
        refused(f"{server.url}/{SECRET}?key={SECRET}", hidden=(SECRET,))
    assert SECRET not in caplog.text


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "a..b", "%zz"])
def test_hosts_that_are_none(host):
    """A typing error would end in a page of Python."""
    assert "check the address" in refused(f"http://{host}/x")
