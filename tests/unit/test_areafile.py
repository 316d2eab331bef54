"""Area files: every mistake is one line that can be acted on; settings reach the right stages."""

import copy
import json

import pytest
import yaml
from making import SMALL_AREA, write_area

from mapmill import settings as settings_module
from mapmill.areafile import load_area
from mapmill.errors import ConfigError
from mapmill.settings import digest, settings

HERE = "config/areas/small.yaml"
STAGES = {
    "search": "2018-04",
    "download": "labels.tif",
    "compose": None,
    "downsample": None,
    "select": None,
    "pack": None,
    "train": "unet-1",
    "calibrate": "landcover",
    "predict": "landcover",
    "mosaic": "landcover",
    "vectorise": "landcover",
    "assess": "landcover",
    "tabulate": None,
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def mistake(text, name="small"):
    """The one line told about an area file."""
    with pytest.raises(ConfigError) as caught:
        load_area(write_area(name, text))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"config/areas/{name}.yaml")
    assert "Traceback" not in line and "pydantic" not in line
    return line


def edited(**changes):
    """The small area with sections updated."""
    content = yaml.safe_load(SMALL_AREA)
    for section, values in changes.items():
        content[section] = (
            {**content.get(section, {}), **values} if isinstance(values, dict) else values
        )
    return yaml.safe_dump(content, sort_keys=False)


def area(**changes):
    return load_area(write_area("small", edited(**changes)))


MISTAKES = {
    "misspelt section": (
        "compose:",
        "compos:",
        [f"{HERE}: compos:", "'compos'", "one of title,", "did you mean 'compose'?"],
    ),
    "misspelt nested key": (
        "method: strips",
        "metod: strips",
        ["select.split.metod", "one of method, direction", "did you mean 'method'?"],
    ),
    "misspelt key of a period": (
        "2018-04: {files:",
        "2018-04: {filse:",
        ["search.periods.2018-04.filse", "one of files, stac", "did you mean 'files'?"],
    ),
    "key that resembles none": ("  width: 4", "  qqqqqqq: 4", ["train.qqqqqqq", "remove it"]),
    "missing section": (
        "labels:\n  file: data/labels.tif\n",
        "",
        [f"{HERE}: labels:", "nothing", "run unet learns from this area"],
    ),
    "missing key": ("  size: 32\n", "", ["select.size", "nothing", "required", "add it"]),
    "wrong type": ("  width: 4", "  width: four", ["train.width", "'four'", "integer"]),
    "out of range": ("  size: 32", "  size: 8", ["select.size", "found 8", "equal to 16"]),
    "unknown choice": (
        "method: strips",
        "method: stripes",
        ["select.split.method", "'stripes'", "'subtiles', 'strata', 'chip' or 'column'"],
    ),
    "bad colour": ("#1b6b2f", "green", ["classes.2.colour", "'green'", "#rrggbb"]),
    "bad name of a run": ("  unet: {}", "  U_Net: {}", ["runs.U_Net", "lower-case"]),
    "classes with gaps": ("  3: {name", "  4: {name", ["without gaps"]),
    "unknown class in codes": (
        "file: data/labels.tif",
        "file: data/labels.tif\n  codes: {7: 9}",
        ["labels.codes.7", "9, which is no class"],
    ),
    "unknown class to drop": ("  size: 32", "  size: 32\n  drop_only: [9]", ["drop_only", "9"]),
    "unknown run": (
        "{run: unet}",
        "{run: unett}",
        ["maps.landcover.run", "unett, none of the runs (unet)"],
    ),
    "unknown period": (
        "{run: unet}",
        "{run: unet, periods: [2019-04]}",
        ["maps.landcover.periods", "2019-04"],
    ),
    "tile larger than the area": (
        "  size: 32",
        "  size: 176",
        ["select.size", "176", "192 x 160"],
    ),
    "random split with overlap": (
        "split: {method: strips",
        "stride: 16\n  split: {method: random",
        ["select", "overlapping", "split otherwise"],
    ),
    "buffer auto without range": ("{method: strips", "{buffer: auto, method: strips", ["range"]),
    "range without buffer auto": ("{method: strips", "{range: 9, method: strips", ["buffer: auto"]),
    "strata without a name": ("{method: strips", "{method: strata", ["strata: NAME"]),
    "column without polygons": (
        "{method: strips",
        "{column: part, method: column",
        ["select.split", "part, an attribute of polygons, but no polygons"],
    ),
    "polygons for strips": ("{method: strips", "{polygons: a.gpkg, method: strips", ["polygons"]),
    "chips' split on a grid": (
        "{method: strips",
        "{method: chip",
        ["select.split.method", "chip, for chips", "grids have strips, blocks"],
    ),
    "a further size twice": ("  size: 32", "  size: 32\n  more_sizes: [16, 16]", ["twice"]),
    "a further size that is size": ("  size: 32", "  size: 32\n  more_sizes: [32]", ["32, which"]),
    "a further size beyond the area": (
        "  size: 32",
        "  size: 32\n  more_sizes: [512]",
        ["select.more_sizes: found 512", "larger than the area"],
    ),
    "parts that are not a whole": ("test: 0.2", "test: 0.3", ["select.split", "sum to 1"]),
    "bounds between pixels": ("401920,", "401925,", ["grid", "192.5 pixels", "left and right"]),
    "a band twice": ("B03, B04", "B03, B03", ["compose.bands", "twice"]),
    "both kinds of a period": ("_{band}.tif", '_{band}.tif", stac: "a.json', ["search.periods."]),
    "no archive": ("source: files", "source: sample", ["download.sample", "nothing"]),
    "period without dates": ("2018-04:", "spring:", ["search.periods.spring", "start and end"]),
    "a day that is not": ("2018-04:", "'2018-04-31':", ["2018-04-31"]),
    "a date that is not": ("2018-04:", "2018-04-31:", ["2018-04-31"]),
    "misspelt key of a run": (
        "unet: {}",
        "unet: {los: dice}",
        ["runs.unet.los", "did you mean 'loss'?"],
    ),
    "wrong value of a run": ("unet: {}", "unet: {steps: 0}", ["runs.unet.steps", "found 0"]),
    "no such loss": ("unet: {}", "unet: {loss: dise}", ["runs.unet.loss", "dise", "jaccard"]),
    "a loss that weighs nothing": (
        "unet: {}",
        "unet: {loss: 0*dice + focal}",
        ["runs.unet.loss", "0*dice", "nothing"],
    ),
    "a loss twice": ("unet: {}", "unet: {loss: dice+dice}", ["runs.unet.loss", "twice"]),
    "weights not given": (
        "unet: {}",
        "unet: {class_weights: given}",
        ["runs.unet", "given_weights"],
    ),
    "an accuracy of no class": (
        "assess:",
        "sample: {accuracies: {9: 0.5}}\nassess:",
        ["sample.accuracies", "9", "no class"],
    ),
    "a weight of no class": (
        "unet: {}",
        "unet: {class_weights: given, given_weights: {9: 2}}",
        ["train.given_weights", "run unet", "9", "no class"],
    ),
    "a seed below zero": ("seeds: [1]", "seeds: [-1]", ["train.seeds", "-1"]),
    "a seed twice": ("seeds: [1]", "seeds: [1, 1]", ["train.seeds", "1"]),
    "crop larger than the tile": ("  width: 4", "  crop: 64", ["train.crop", "64", "32"]),
    "a size that is not packed": (
        "  width: 4",
        "  size: 64",
        ["train.size (run unet)", "64, which is not packed (32 is", "select.more_sizes"],
    ),
    "crop larger than the chosen size": (
        "  width: 4",
        "  size: 32\n  crop: 40",
        ["train.crop", "40, larger than train.size (32)"],
    ),
    "a weight below zero": (
        "select:\n",
        "downsample: {class_weights: {1: -1}}\nselect:\n",
        ["downsample.class_weights", "-1"],
    ),
    "a key twice": ("  size: 32", "  size: 32\n  size: 64", ["line 23", "duplicate key 'size'"]),
    "a bracket left open": ("B03, B04]", "B03, B04", ["line 2", "valid YAML"]),
    "a tab": ("  size: 32", "\tsize: 32", ["line 22", "valid YAML"]),
    "a list as a key": ("license: CC0-1.0", "? [a, b]\n: 1", ["line 3", "valid YAML"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_that_can_be_acted_on(case):
    """Otherwise someone would read a traceback to find a typing error, or train for a day first."""
    old, new, words = MISTAKES[case]
    assert SMALL_AREA.count(old) == 1
    line = mistake(SMALL_AREA.replace(old, new))
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("text", "found"), [("", "NoneType"), ("- a\n- b\n", "list"), ("forest\n", "str")]
)
def test_a_file_that_is_no_mapping_is_one_line(text, found):
    """Otherwise an empty or foreign file would end in a traceback."""
    assert found in mistake(text)


def test_a_file_that_is_not_utf8_is_one_line():
    """Otherwise an area file saved by an old editor would end in a traceback."""
    path = write_area("small", "")
    path.write_bytes("title: Fürth\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load_area(path)


def test_a_missing_file_lists_those_that_are_there():
    """Otherwise a misspelt area would leave the user to search for the right name."""
    path = write_area("small", SMALL_AREA)
    with pytest.raises(ConfigError, match=r"areas here: small$"):
        load_area(path.with_name("smal.yaml"))


@pytest.mark.parametrize("name", ["Small", "my_area", "área", "a b"])
def test_an_area_name_that_file_names_cannot_hold_is_refused(name):
    """Otherwise `a_b_c.tif` could be map `b_c` of area `a` or map `c` of area `a_b`."""
    assert "hyphens" in mistake(SMALL_AREA, name)


def test_several_mistakes_are_counted():
    """Otherwise the user would not know that more is to come."""
    text = SMALL_AREA.replace("width: 4", "width: four").replace("steps: 20", "steps: 0")
    assert "(1 more mistakes follow)" in mistake(text)


def strings(one):
    """What the workflow keeps of each stage: a set of texts without names."""
    return {
        stage: {f"{key}={json.dumps(value, sort_keys=True)}" for key, value in chosen.items()}
        for stage, name in STAGES.items()
        for chosen in [settings(one, stage, name)]
    }


def touched(one, other):
    """Stages whose settings differ."""
    ours, theirs = strings(one), strings(other)
    return {stage for stage in STAGES if ours[stage] != theirs[stage]}


ON_EXTENT = {"select", "calibrate", "predict", "mosaic", "vectorise", "assess"}
GRIDDED = {"compose", "downsample"} | ON_EXTENT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"train": {"loss": "dice"}}, {"train"}),
        ({"runs": {"unet": {"loss": "dice"}}}, {"train"}),
        ({"compose": {"bands": ["B02", "B04"]}}, {"compose"}),
        ({"compose": {"units": "reflectance"}}, {"compose", "pack", "train"}),
        ({"aoi": "outline.geojson"}, ON_EXTENT),
        ({"window": [400000, 4598400, 400640, 4600000]}, ON_EXTENT),
        ({"compose": {"bands": ["B03", "B02", "B04"]}}, {"compose"}),
        ({"downsample": {"method": "nearest"}}, {"downsample"}),
        ({"labels": {"codes": {"7": 1}}}, {"downsample"}),
        ({"labels": {"file": "data/other.tif"}}, {"download", "downsample"}),
        ({"search": {"periods": {"2018-04": {"files": "x/{band}.tif"}}}}, {"search"}),
        ({"select": {"min_valid": 0.9}}, {"select"}),
        ({"pack": {"shard": 8}}, {"pack"}),
        ({"predict": {"tile": 64}}, {"calibrate", "predict"}),
        ({"predict": {"temperature": 2.0}}, {"predict"}),
        ({"calibrate": {"bins": 5}}, {"calibrate"}),
        ({"vectorise": {"simplify": 0}}, {"vectorise"}),
        ({"providers": [{"name": "We", "roles": ["producer"]}]}, {"mosaic"}),
        ({"mosaic": {"compress": "LZW"}}, {"mosaic"}),
        ({"assess": {"draws": 200}}, {"assess"}),
        ({"tabulate": {"name": "town"}}, {"tabulate"}),
        ({"grid": {"block": 128}}, GRIDDED),
        ({"title": "Other"}, {"mosaic", "assess"}),
        ({"train": {"seeds": [1, 2]}}, {"calibrate", "predict"}),
    ],
)
def test_a_changed_setting_reaches_its_stage_and_no_other(changes, expected):
    """Otherwise a change would rerun hours of work for nothing, or leave a stale map."""
    assert touched(area(), area(**changes)) == expected


def test_a_renamed_class_does_not_bring_the_labels_to_the_grid_again():
    """Otherwise a corrected spelling would cost the longest computation on labels."""
    classes = copy.deepcopy(yaml.safe_load(SMALL_AREA)["classes"])
    classes[2]["name"] = "forest"
    later = {"pack", "train", "mosaic", "vectorise", "assess", "tabulate"}
    assert touched(area(), area(classes=classes)) == later


def test_a_corrected_colour_or_credit_trains_nothing():
    """Otherwise a new colour in the legend would cost a night of training."""
    classes = copy.deepcopy(yaml.safe_load(SMALL_AREA)["classes"])
    classes[2]["colour"] = "#123456"
    changed = area(classes=classes, attribution=["Someone else"])
    assert touched(area(), changed) == {"mosaic", "vectorise", "assess"}


def test_two_numbers_that_swap_places_change_the_settings():
    """Otherwise the workflow, which compares sets of values, would rerun nothing."""
    one, other = area(train={"width": 4, "depth": 2}), area(train={"width": 2, "depth": 4})
    values = [sorted(map(str, settings(each, "train", "unet-1").values())) for each in (one, other)]
    assert values[0] == values[1]
    assert touched(one, other) == {"train"}


def test_a_run_changes_train_by_name_and_nothing_else():
    """Otherwise a run would train with settings that its name does not say."""
    runs = {"unet": {}, "wide-2": {"width": 8, "seeds": [3, 11]}}
    one = area(runs=runs)
    models = ["unet-1", "wide-2-3", "wide-2-11"]
    assert [one.run_and_seed(model) for model in models] == [
        ("unet", 1),
        ("wide-2", 3),
        ("wide-2", 11),
    ]
    plain, wide = settings(one, "train", "unet-1"), settings(one, "train", "wide-2-11")
    assert {key for key in plain if plain[key] != wide[key]} == {"width", "seed"}
    assert (wide["width"], wide["seed"], plain["width"]) == (8, 11, 4)
    assert touched(area(), one) == set()


def test_a_raised_version_reaches_its_stage_alone(monkeypatch):
    """Otherwise changed code would leave old outputs, or rerun the downloads."""
    before = strings(area())
    monkeypatch.setitem(settings_module.VERSION, "compose", 99)
    after = strings(area())
    assert {stage for stage in STAGES if before[stage] != after[stage]} == {"compose"}


def test_equal_settings_have_equal_digests():
    """Otherwise the provenance in a file would not tell which settings made it."""
    shuffled = yaml.safe_dump(dict(reversed(yaml.safe_load(SMALL_AREA).items())), sort_keys=False)
    other = load_area(write_area("other", shuffled))
    assert all(digest(area(), s, n) == digest(other, s, n) for s, n in STAGES.items())
    assert digest(area(), "train", "unet-1") != digest(area(train={"depth": 3}), "train", "unet-1")


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("2018-04", "2018-04-01T00:00:00Z", "2018-04-30T23:59:59Z"),
        ("2017-02", "2017-02-01T00:00:00Z", "2017-02-28T23:59:59Z"),
        ("2016-02", "2016-02-01T00:00:00Z", "2016-02-29T23:59:59Z"),
        ("2018", "2018-01-01T00:00:00Z", "2018-12-31T23:59:59Z"),
        ("2018-12", "2018-12-01T00:00:00Z", "2018-12-31T23:59:59Z"),
        ("2018-04-07", "2018-04-07T00:00:00Z", "2018-04-07T23:59:59Z"),
    ],
)
@pytest.mark.parametrize("quote", ["'", ""])
def test_a_period_is_its_year_month_or_day(name, first, last, quote):
    """Otherwise scenes of another season would be searched, or `2018:` in a file be refused."""
    text = SMALL_AREA.replace("  2018-04:", f"  {quote}{name}{quote}:")
    assert load_area(write_area("small", text)).moments(name) == (first, last)
