"""Names that mean something to a shell, a path, an option, YAML or Snakemake: each is refused in
one line, or is a word like any other; no code runs and no file lies elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from making import LEFT, SMALL_AREA, STEP, TOP, simulated_scene, write_area, write_tif
from running import snakemake
from stages.stage_steps import refused_cleanly

from mapmill.areafile import labels_file, load_area, models_of
from mapmill.catalogue.items import safe_name
from mapmill.cli import main
from mapmill.errors import MapmillError
from mapmill.layout import Layout

HOSTILE = [
    "a b", " a", "a ", "", ".", "..", "../x", "../../etc/passwd", "/etc/passwd", "a/b", "a//b",
    "~", "~root", "-x", "--help", "-rf", "*", "?", "[a]", "{a}", "{{a}}", "{wildcards.area}",
    "{0.__class__}", "%s%n", "$HOME", "${PATH}", "$(touch ran)", "`touch ran`", "; touch ran #",
    "| touch ran", "&& touch ran", "> ran", "a\nb", "a\rb", "a\tb", "a\x00b", "a\x1b[31mb",
    "' ; touch ran ; '", '" ; touch ran ; "', "\\", "a\\nb", "é", "日本", "\u202eb", "a\u200bb",
    "!!python/name:os.system", "!x", "&a", "*a", "#a", "CON", "a:b", "a,b", "a=b", "<b>&amp;",
    "<script>", "x" * 300, "1e5", "null", "0", "00", ".hidden", "a.", "/vsicurl/http://127.0.0.1:9",
    "http://127.0.0.1:9/x", "/dev/zero", "/dev/stdin",
]  # fmt: skip
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


FREE = ("title", "credit", "class", "label file", "label path", "label suffix", "pattern", "band")
FREE += ("outline", "units")
"""Places where most words are allowed."""


MOMENTS = {"start": "2018-04-01T00:00:00Z", "end": "2018-04-02T00:00:00Z"}
FILES = {"files": "data/{scene}_{band}.tif"}
PLACES = {
    "title": lambda word: {"title": word},
    "credit": lambda word: {"attribution": [word]},
    "class": lambda word: {"classes": {1: {"name": word, "colour": "#000000"}}},
    "label file": lambda word: {"labels": {"file": word}},
    "label path": lambda word: {"labels": {"file": f"data/{word}/labels.tif"}},
    "label suffix": lambda word: {"labels": {"file": f"data/labels.{word}"}},
    "pattern": lambda word: {
        "search": {"periods": {"2018-04": {"files": f"data/{word}_{{band}}.tif"}}}
    },
    "band": lambda word: {"compose": {"bands": [word, "B03", "B04"]}},
    "period": lambda word: {"search": {"periods": {word: FILES | MOMENTS}}},
    "run": lambda word: {"runs": {word: {}}, "maps": {"landcover": {"run": word}}},
    "map": lambda word: {"maps": {word: {"run": "unet"}}},
    "comparison": lambda word: {"compare": {word: {"runs": ["unet"]}}},
    "outline": lambda word: {"aoi": word},
    "units": lambda word: {"tabulate": {"units": word, "name": word}},
    "other area": lambda word: {"like": word},
    "model": lambda word: {"model": f"{word}/unet"},
    "crs": lambda word: {"grid": {"crs": word}},
}
"""Place of a name in an area file -> the sections that differ."""


def with_word(place, word):
    """The small area's content with a word in a place; keys of sections are replaced whole."""
    content = yaml.safe_load(SMALL_AREA)
    for section, values in PLACES[place](word).items():
        inside = section in ("classes", "search", "compose", "grid")
        content[section] = {**content[section], **values} if inside else values
    return content


def paths_of(path, area):
    """Every part of a path that the area's own names become."""
    layout = Layout(path.stem)
    found = [layout.download(labels_file(area))]
    for period in area.periods:
        found += [layout.search(period), layout.compose(period, "r000c000"), layout.vrt(period)]
    for name in area.maps:
        found += [layout.map(name), layout.assess(name), layout.predict(name, "r000c000")]
        found += models_of(path, area, name).values()
    return found + [layout.compare(name) for name in area.compare]


@pytest.mark.parametrize("place", PLACES)
def test_words_in_an_area_file(small_area, place):
    """A command line would run what a name says, or write where it says."""
    try_in_area_file(place, HOSTILE[len(place) % 6 :: 6])


@pytest.mark.full
@pytest.mark.parametrize("place", PLACES)
def test_all_words_in_an_area_file(small_area, place):
    """The same, of every word."""
    accepted = try_in_area_file(place, HOSTILE)
    assert accepted < 10 or place in FREE
    assert accepted < len(HOSTILE) or place in ("label file", "label path", "label suffix",
                                                "pattern", "outline")  # fmt: skip


def try_in_area_file(place, words):
    """Read an area file with each of these words in a place; how many are allowed there."""
    kept = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    accepted = []
    for word in words:
        content = with_word(place, word)
        path = write_area("words", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        try:
            area = load_area(path)
        except MapmillError as error:
            assert "\n" not in str(error) and str(error).isprintable(), word
            continue
        accepted.append(word)
        for name in paths_of(path, area):
            assert SAFE.fullmatch(str(name)) and ".." not in str(name), (word, name)
            assert all(len(part) <= 255 for part in name.parts)
    path.unlink()
    assert {each: each.read_bytes() for each in Path().rglob("*") if each.is_file()} == kept
    assert accepted or place not in FREE
    return len(accepted)


FURTHER = {
    "label file": ["download", "labels.tif"],
    "label path": ["download", "labels.tif"],
    "pattern": ["search", "2018-04"],
    "outline": ["check"],
    "band": ["search", "2018-04"],
    "class": ["check"],
}


@pytest.mark.full
@pytest.mark.parametrize("place", FURTHER)
def test_words_at_work(small_area, capsys, place):
    """What the area file may say would end in a page of Python where it is first used."""
    command, *names = FURTHER[place]
    for word in HOSTILE:
        content = with_word(place, word)
        path = write_area("words", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        output = [f"results/words/{command}/{names[0]}"] if names else []
        status = main([command, str(path), *names, *output])
        said = capsys.readouterr().err
        lines = [line for line in said.splitlines() if line.startswith(f"mapmill {command}: ")]
        assert (status, len(lines)) in ((0, 0), (1, 1)) and "Traceback" not in said, (word, said)
    assert not list(Path().rglob("ran"))


@pytest.mark.parametrize("word", HOSTILE)
def test_names_of_scenes(word):
    """A catalogue would choose where files are written: `../x`."""
    allowed = word in ("1e5", "null", "0", "00", "CON", "a.")
    try:
        assert safe_name("items.json", word) == word and allowed
    except MapmillError as error:
        assert not allowed and "\n" not in str(error)


AREAS = ["a b", "../x", "--help", "-x", "$(touch ran)", "é", "a\nb", "A", "a_b", "x" * 240, ".x"]


@pytest.mark.parametrize("word", AREAS)
def test_names_of_areas(small_area, capsys, word):
    """An area's name is the first part of every path."""
    path = Path("config/areas") / f"{word}.yaml"
    if word == "x" * 240:
        with pytest.raises(OSError, match="too long"):
            (path.parent / f"{word}yyyyyyyyyyyyyyyy.yaml").write_text("")
        return
    path.write_text(SMALL_AREA)
    if word == "../x":  # a name like any other, of another folder
        assert main(["check", str(path)]) == 0
        return
    assert "lower-case letters, digits and hyphens" in refused_cleanly(capsys, "check", str(path))
    assert not Path("ran").exists()


CHIPS = ["a b", "$(touch ran)", "é", "a;b", "-x", "a\nb", "a..b", "'", "{chip}", "x" * 240]


@pytest.mark.parametrize("word", CHIPS)
def test_names_of_chips(tmp_path, monkeypatch, capsys, word):
    """The same, for the names of a user's own chips."""
    from chip_making import SMALL_CHIPS

    monkeypatch.chdir(tmp_path)
    write_tif(Path(f"data/image/{word}.tif"), np.ones((3, 64, 64), np.float32))
    write_tif(Path(f"data/mask/{word}.tif"), np.ones((64, 64), np.int16))
    line = refused_cleanly(capsys, "check", write_area("chips", SMALL_CHIPS))
    assert "rename" in line and not Path("ran").exists()


NASTY = "a b;$(touch ran)'\"`touch ran`&|>é"
"""In folders, files, classes and credits of a whole run."""


def names_in(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.full
def test_a_whole_run_with_such_names(tmp_path, monkeypatch):
    """A name that is allowed would break a command, a picture or a product at the end."""
    monkeypatch.chdir(tmp_path)
    label_YX, image_BYX = simulated_scene(128, 128)
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path(f"data/{NASTY}/S1_{band}.tif"), values)
    write_tif(Path(f"data/{NASTY}/{NASTY}.tif"), label_YX)
    content = yaml.safe_load(SMALL_AREA)
    bounds = [int(LEFT), int(TOP - 128 * STEP), int(LEFT + 128 * STEP), int(TOP)]
    content["grid"] |= {"bounds": bounds}
    content |= {"title": NASTY, "attribution": [NASTY, "<b>&amp;{x}%s$x_y^2\\frac"]}
    content["classes"][1]["name"] = NASTY
    content["classes"][2]["name"] = "{wildcards.area} %s $x^2$ <b>"
    content["labels"]["file"] = f"data/{NASTY}/{NASTY}.tif"
    content["search"]["periods"] = {"2018-04": {"files": f"data/{NASTY}/{{scene}}_{{band}}.tif"}}
    content["train"] |= {"steps": 4, "validate_every": 2, "threads": 1}
    write_area("words", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    outside = names_in(tmp_path.parent)
    targets = ["results/words/assess/landcover/metrics.json", "results/words_landcover.gpkg"]
    done = snakemake(tmp_path, *targets)
    assert done.returncode == 0, done.stdout[-3000:]
    report = snakemake(tmp_path, "--report", "report.html", *targets)
    assert report.returncode == 0, report.stdout[-3000:]
    assert not list(tmp_path.rglob("ran")) and names_in(tmp_path.parent) == outside
    expected = {".snakemake", "benchmarks", "config", "data", "logs", "report.html", "results"}
    assert names_in(tmp_path) <= expected | {"resources"}
    with rasterio.open("results/words_landcover.tif") as source:
        assert source.read(1).max() > 0
    again = snakemake(tmp_path, "-n", *targets)
    assert "Nothing to be done" in again.stdout


@pytest.mark.full
@pytest.mark.parametrize(
    "target",
    [
        "results/../x_landcover.tif",
        "results/a b_landcover.tif",
        "results/$(touch ran)_landcover.tif",
        "/etc/x_landcover.tif",
    ],
)
def test_hostile_targets(small_area, target):
    """A target that somebody pastes would be a command."""
    done = snakemake(Path.cwd(), "-n", target)
    assert done.returncode == 1 and "MissingRuleException" in done.stdout, done.stdout
    assert not Path("ran").exists()
