"""Secrets of all accounts and proxies are nowhere: not in files, logs, metadata, reports, errors or
lists of processes, in any spelling, though services fail and all speaks at debug level."""

import base64
import os
import re
import threading
import time
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from faults.catalogue_cells import SOURCES
from making import write_area
from running import snakemake
from servers.areas import BLOCK, content_of, files_below
from servers.sentinel_hub import SentinelHub

MARKS = {
    "SH_CLIENT_ID": "cl1ent/5ecret+One&x",
    "SH_CLIENT_SECRET": "h0b/5ecret+Two=&y",
    "INPE_EMAIL": "some.one+5ecret3@inpe.example",
    "BDC_ACCESS_TOKEN": "t0k+en/5ecret=Four",
    "PROXY_USER": "pr0xy5ecretFive",
    "PROXY_PASSWORD": "pr0xy5ecret%2FSix",
}
"""Marked, and full of letters that spellings differ in."""
PROXY = "http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:9".format(**MARKS)
EVERYTHING = "import logging\nlogging.basicConfig(level=logging.DEBUG)\n"
"""Loaded by every Python of the run: libraries say all that they can."""
PERIODS = {"hub": "2018-04", "bdc": SOURCES["bdc"].period, "dgi": SOURCES["dgi"].period}


def spellings(secret):
    """A secret as it is, in URLs and JSON, in base64 at any offset, and in hexadecimal."""
    found = {secret, urllib.parse.unquote(secret), urllib.parse.quote(secret, safe="")}
    found |= {urllib.parse.quote(secret), urllib.parse.quote_plus(secret)}
    found |= {secret.replace("/", "\\/"), secret.replace("&", "&amp;"), secret.encode().hex()}
    for offset in range(3):
        for altchars in (b"+/", b"-_"):
            coded = base64.b64encode(b"\0" * offset + secret.encode(), altchars).decode()
            found.add(coded.rstrip("=")[(offset * 8 + 5) // 6 : -1])
    return {form for form in found if len(form) > 8}


def planted(servers):
    """Environment of an account of each service, and of a proxy that asks for a password."""
    hub, bdc, dgi = servers
    found = {name: value for name, value in MARKS.items() if not name.startswith("PROXY")}
    found |= {"SH_BASE_URL": hub.url, "SH_TOKEN_URL": hub.token_url}
    found |= {"BDC_BASE_URL": bdc.api_url, "INPE_BASE_URL": dgi.url}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        found[name] = PROXY
    return found | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def areas():
    """An area of each service, and one whose labels are behind the proxy."""
    write_area("hub", yaml.safe_dump(content_of(), sort_keys=False))
    for name in ("bdc", "dgi"):
        SOURCES[name].area().rename(f"config/areas/{name}.yaml")
    content = content_of()
    content["labels"] = {"url": "https://labels.invalid/map.tif"}
    write_area("behind", yaml.safe_dump(content, sort_keys=False))


@pytest.fixture
def services(tmp_path, monkeypatch):
    """A local server of each service, which fails before it answers; the cwd is a new project."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    sources = [
        replace(SOURCES["bdc"], secret=MARKS["BDC_ACCESS_TOKEN"]),
        replace(SOURCES["dgi"], secret=MARKS["INPE_EMAIL"]),
    ]
    hub = SentinelHub(client_id=MARKS["SH_CLIENT_ID"], client_secret=MARKS["SH_CLIENT_SECRET"])
    bdc, dgi = (each.served([each.scenes(tmp_path / "scenes")]) for each in sources)
    with hub, bdc, dgi:
        for name in ("500", "429", "short_body", "html200"):
            hub.fault(name)
        hub.fault("401", path="process")
        for server in (bdc, dgi):
            server.fault("500", path="search")
            server.fault("429", path="asset")
            server.fault("cut", path="asset") if "cut" in server.kinds else None
        yield hub, bdc, dgi


class Watch(threading.Thread):
    """Looks at how all processes of the machine were called, until it is stopped."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.ended = set(), threading.Event()

    def run(self):
        while not self.ended.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:  # it has ended
                    continue
            time.sleep(0.02)


def run(servers, folder, *arguments):
    """Snakemake, with all accounts planted and everything at debug level."""
    place = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "CPL_DEBUG": "ON"}
    for path in (*(Path(place[name]) for name in ("HOME", "TMPDIR")), folder / "site"):
        path.mkdir(exist_ok=True)
    (folder / "site/sitecustomize.py").write_text(EVERYTHING)
    place["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    return snakemake(Path.cwd(), *arguments, **planted(servers), **place)


def leaks(folder, texts):
    """Where any spelling of any secret is."""
    forms = {form.encode() for secret in MARKS.values() for form in spellings(secret)}
    pair = f"{MARKS['SH_CLIENT_ID']}:{MARKS['SH_CLIENT_SECRET']}".encode()
    forms |= {base64.b64encode(pair), PROXY.encode()}
    contents = [(path, Path(path).read_bytes()) for path in files_below(folder)]
    contents += [(f"name of {path}", str(path).encode()) for path, _ in contents]
    return [(name, form) for name, content in contents + texts for form in forms if form in content]


def test_the_spellings_are_found(tmp_path):
    """The search below would find nothing whatever was written."""
    secret = MARKS["SH_CLIENT_SECRET"]
    pair = f"{MARKS['SH_CLIENT_ID']}:{secret}".encode()
    for number, text in enumerate(
        [
            secret,
            f"https://x/?token={urllib.parse.quote(secret, safe='')}",
            urllib.parse.urlencode({"a": secret}),
            base64.b64encode(pair).decode(),
            base64.b64encode(b"ab" + secret.encode() + b"cd").decode(),
            f"proxy {PROXY}",
        ]
    ):
        (tmp_path / "file").write_text(text)
        assert leaks(tmp_path, []), (number, text)


@pytest.mark.full
def test_no_secret_anywhere(services, tmp_path):
    """A token, an e-mail or the password of a proxy would be published with a log or a report."""
    areas()
    made = [f"results/hub/compose/{PERIODS['hub']}/{BLOCK}.tif"]
    made += [f"results/{name}/compose/{PERIODS[name]}/r000c000.tif" for name in ("bdc", "dgi")]
    watch = Watch()
    watch.start()
    done = run(services, tmp_path, "--verbose", *made)
    assert done.returncode == 0, done.stdout[-3000:]
    report = run(services, tmp_path, "--report", "report.html", *made)
    assert report.returncode == 0, report.stdout[-3000:]
    failed = run(services, tmp_path, "--verbose", "results/behind/download/labels.tif")
    services[0].fault("401", times=None)
    services[0].fault("400", times=None, message=f"no client {MARKS['SH_CLIENT_SECRET']}")
    refused = run(
        services, tmp_path, "--verbose", f"results/hub/download/{PERIODS['hub']}/r000c000.tif"
    )
    watch.ended.set()
    watch.join()
    assert failed.returncode == refused.returncode == 1
    told = "".join(each.stdout for each in (done, report, failed, refused))
    logs = b"".join(path.read_bytes() for path in Path("logs").rglob("*.log"))
    assert b"DEBUG" in logs, "libraries spoke at debug level"
    assert re.search(rb"labels.invalid", logs) and any(b"mapmill" in line for line in watch.seen)
    for folder in (".snakemake/metadata", "benchmarks", "logs", "results", "resources"):
        assert files_below(folder), f"nothing to look through in {folder}"
    assert "500" in told or b"500" in logs
    texts = [("what was said", told.encode()), ("processes", b"\n".join(watch.seen))]
    assert leaks(tmp_path / "project", texts) == []
    for place in ("home", "tmp"):
        assert leaks(tmp_path / place, []) == []
