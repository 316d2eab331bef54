"""Areas that name others: their models, patches and first weights exist and fit, or one line."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making import SMALL_AREA, write_area
from stages.stage_steps import refused_cleanly

from mapmill.areafile import init_of, load_area, models_of, pools_of
from mapmill.cli import main
from mapmill.derive import planned
from mapmill.errors import ConfigError
from mapmill.halo import halo_of, plan_of
from mapmill.infer import Predictor
from mapmill.mirror import read_reflected
from mapmill.nets.model import Card, build, with_reach

HERE = Path("config/areas/here.yaml")
BORROWED = {"labels": None, "select": None, "runs": None, "model": "there/unet"}
BORROWED |= {"maps": {"landcover": {}}}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder with one area, `there`, to be named by others."""
    monkeypatch.chdir(tmp_path)
    write("there")


def write(name, **sections):
    """The small area under a name, with keys of its sections changed; None takes one out."""
    content = yaml.safe_load(SMALL_AREA)
    for section, values in sections.items():
        old = content.get(section)
        both = (
            isinstance(values, dict) and isinstance(old, dict) and section not in ("runs", "maps")
        )
        content[section] = {**old, **values} if both else values
    kept = {section: values for section, values in content.items() if values is not None}
    return write_area(name, yaml.safe_dump(kept, sort_keys=False))


def area(name="here", **sections):
    return load_area(write(name, **sections))


def mistake(**sections):
    """The one line that loading the area `here` ends in."""
    with pytest.raises(ConfigError) as caught:
        area(**sections)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"{HERE}: ")
    return line


def classes(*names):
    return {
        number: {"name": name, "colour": f"#00000{number}"} for number, name in enumerate(names, 1)
    }


def learning(**changes):
    """Sections of an area without labels of its own, whose run has changes."""
    return {"labels": None, "select": None, "runs": {"unet": changes}}


def test_a_map_by_another_area_s_models():
    """A place without labels could not be mapped, or would be by one seed of three."""
    write("there", train={"seeds": [3, 11]})
    here = area(**BORROWED)
    assert models_of(HERE, here, "landcover") == {
        "there/unet-3": Path("results/there/train/unet-3/model.safetensors"),
        "there/unet-11": Path("results/there/train/unet-11/model.safetensors"),
    }
    own = area()
    expected = {"unet-1": Path("results/here/train/unet-1/model.safetensors")}
    assert models_of(HERE, own, "landcover") == expected


@pytest.mark.parametrize(
    ("train", "reaching"),
    [
        ({"depth": 2}, {"depth": 2}),
        ({"depth": 4}, {"depth": 4}),
        ({"encoder": "resnet18"}, {"encoder": "resnet18"}),
    ],
)
def test_the_halo_is_that_of_the_other_area_s_net(train, reaching):
    """Blocks would be mapped without the neighbours that the other area's nets look at."""
    write("there", select={"size": 64}, train=train)
    here = area(**BORROWED)
    card = Card(
        **(
            {"net": "unet", "width": 4, "depth": 2, "bands": ["a", "b", "c"], "classes": ["d", "e"]}
            | {"mean": [0, 0, 0], "sd": [1, 1, 1], "provenance": {}}
            | reaching
        )
    )
    net = build(card)
    assert halo_of(HERE, here, "landcover") >= with_reach(card).reach + net.stride
    assert halo_of(HERE, here, "landcover") == halo_of(
        Path("config/areas/there.yaml"), load_area(Path("config/areas/there.yaml")), "landcover"
    )


UNFIT = {
    "no such area": ({}, "nowhere/unet", "area nowhere; expected one of here, there; check"),
    "no such run": ({}, "there/unit", "run unit; expected a run of there (unet); correct it"),
    "other bands": (
        {"compose": {"bands": ["B02", "B04", "B03"]}},
        "there/unet",
        "there/unet with bands B02, B04, B03; expected bands B02, B03, B04; make them agree",
    ),
    "other units": (
        {"compose": {"units": "dB"}},
        "there/unet",
        "there/unet with compose.units dB; expected compose.units digital numbers",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.parametrize("key", ["model", "train.init (run unet)"])
def test_a_model_that_does_not_fit(case, key):
    """Another area would be trained for days before its model is refused, or give a wrong map."""
    changes, named, said = UNFIT[case]
    write("there", **changes)
    sections = (
        BORROWED | {"model": named} if key == "model" else {"runs": {"unet": {"init": named}}}
    )
    line = mistake(**sections)
    assert line.startswith(f"{HERE}: {key}: found {said}"), line


def test_a_model_of_other_classes():
    """The other area's wood would be drawn in the colour of this one's field."""
    write("there", classes=classes("wood", "field", "lake"))
    line = mistake(**BORROWED)
    assert f"{HERE}: model: found there/unet with classes wood, field, lake; expected" in line
    assert area(runs={"unet": {"init": "there/unet"}})  # a head can be learnt anew


def test_a_named_area_that_is_broken_names_its_own_file():
    """The mistake would be searched for in the wrong file."""
    write("there", train={"stepz": 3})
    with pytest.raises(ConfigError, match=r"^config/areas/there.yaml: train.stepz"):
        area(**BORROWED)


@pytest.mark.parametrize("named", ["there", "there/unet/1", "There/unet", "../there/unet", 3])
def test_a_name_that_is_no_run_of_an_area(named):
    """A half-typed name would end in a page of Python, or reach out of the folder."""
    assert "model" in mistake(**BORROWED | {"model": named})


def test_a_model_beside_runs():
    """Of two sources of a map one would be taken, and nobody know which."""
    line = mistake(**BORROWED | {"runs": {"unet": {}}})
    assert f"{HERE}: runs: found runs beside model, with which nothing is trained" in line
    line = mistake(**BORROWED | {"maps": {"landcover": {"run": "unet"}}})
    assert "maps.landcover.run: found unet, none of the runs (none, since model: is given)" in line


def test_a_run_without_labels():
    """Training would be planned for a place where there is nothing to learn from."""
    line = mistake(labels=None)
    assert f"{HERE}: labels: found nothing; run unet learns from this area" in line
    line = mistake(labels=None, runs={"own": {}, "pooled": {"train_on": ["there"]}})
    assert "run own learns from this area" in line
    assert area(**learning(train_on=["there"]))
    assert "select: found nothing, where there are labels" in mistake(select=None)
    assert "runs: found none, and no model: AREA/RUN" in mistake(runs=None)


def test_an_area_without_labels_has_a_map_and_no_scores(capsys):
    """Scores of nothing would be written, or the map of a new place be refused with them."""
    path = write("here", **BORROWED)
    line = refused_cleanly(capsys, "assess", path, "landcover", "out/m.json")
    assert f"{path}: found no labels; expected labels to score by" in line
    assert "labels" in refused_cleanly(capsys, "downsample", path, "r000c000", "out/b.tif")
    outputs = ["out/t.csv", "out/t.png", "out/s.png"]
    assert "select" in refused_cleanly(capsys, "select", path, *outputs)
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == "results/here_landcover.tif\n"


@pytest.mark.parametrize(
    ("seeds", "mine", "expected"),
    [([1, 2], 2, "unet-2"), ([5, 6], 1, "unet-5"), ([6, 5], 9, "unet-6"), ([11, 1], 1, "unet-1")],
)
def test_fine_tuning_starts_from_the_same_seed_else_the_first(seeds, mine, expected):
    """All seeds would start from one model, and their spread say nothing."""
    write("there", train={"seeds": seeds})
    here = area(runs={"unet": {"init": "there/unet", "seeds": [mine, 77]}})
    found = init_of(HERE, here, f"unet-{mine}")
    assert found == Path(f"results/there/train/{expected}/model.safetensors")
    assert init_of(HERE, here, "unet-77") == Path(
        f"results/there/train/unet-{seeds[0]}/model.safetensors"
    )
    assert init_of(HERE, area(), "unet-1") is None


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ({"width": 8}, {}, "there/unet with width 8; expected width 4"),
        ({"depth": 3}, {}, "there/unet with depth 3; expected depth 2"),
        ({"encoder": "resnet18"}, {}, "with encoder resnet18; expected encoder plain"),
        ({"encoder": "resnet18", "depth": 3}, {"encoder": "resnet18"}, None),
    ],
)
def test_fine_tuning_a_net_of_another_size(theirs, ours, said):
    """The weights would be refused after the patches were made; a ResNet has no depth to differ."""
    write("there", train=theirs)
    sections = {"runs": {"unet": {"init": "there/unet"} | ours}}
    if said:
        assert said in mistake(**sections)
    else:
        assert area(**sections)


def test_runs_that_start_from_one_another():
    """Snakemake would tell of a circle of files, not of the run that closes it."""
    line = mistake(runs={"unet": {"init": "here/unet"}})
    assert "train.init (run unet): found here/unet from here/unet; expected a run that" in line
    tuned = {"coarse": {}, "unet": {"init": "here/coarse"}}
    here = area(runs=tuned)
    assert init_of(HERE, here, "unet-1") == Path("results/here/train/coarse-1/model.safetensors")
    write("there", runs={"unet": {"init": "here/unet"}})
    line = mistake(runs={"unet": {"init": "there/unet"}})
    assert "found here/unet from there/unet from here/unet" in line
    write("there", runs={"unet": {"init": "there/unet"}})
    assert "from there/unet from there/unet" in mistake(runs={"unet": {"init": "there/unet"}})


def test_pooled_areas():
    """A run would learn from its own area where others are named, or from one of several."""
    write("third")
    for pools in (["there", "here"], {"there": {}, "here": {}}):
        here = area(runs={"unet": {"train_on": pools}, "own": {}})
        assert pools_of(HERE, here, "unet") == ["there", "here"]
        assert pools_of(HERE, here, "own") == ["here"]
    here = area(**learning(train_on=["third", "there"]))
    assert pools_of(HERE, here, "unet") == ["third", "there"]


def test_pooled_areas_pack_the_size_that_is_learnt_from():
    """A run would stop hours later, at a size of patches that another area never packed."""
    write("there", select={"size": 64})
    assert area(**learning(train_on=["there"]))
    assert area(**learning(train_on=["there"], size=64))
    line = mistake(**learning(train_on=["there"], size=32))
    assert "train.train_on.there (run unet): found patches of 64 px; expected 32 px" in line
    assert "more_sizes" in line


OTHERS = {
    "compose": {"bands": ["blue", "B03", "B04"], "units": "reflectance"},
    "classes": classes("field", "oak", "lake"),
}


def test_patches_that_differ_are_mapped():
    """Two countries' labels could not be learnt from together."""
    write("there", **OTHERS)
    told = {"bands": {"B02": "blue"}, "classes": {"oak": 2, "lake": 0}, "scale": 10_000.0}
    here = area(**learning(train_on={"there": told}))
    assert here.train_of("unet").train_on["there"].scale == 10_000
    told = {"bands": {"B02": "blue"}, "classes": {"oak": 2}, "offset": 0.0}
    assert area(**learning(train_on={"there": told}))


def pool(**told):
    return {"bands": {"B02": "blue"}, "classes": {"oak": 2}, "scale": 2.0} | told


POOLS = {
    "bands not mapped": (pool(bands={}), "found bands blue, B03, B04; expected B02; map it"),
    "bands mapped to none": (pool(bands={"B02": "bleu"}), "expected bleu; map it"),
    "a band that is not here": (
        pool(bands={"B02": "blue", "B08": "B03"}),
        "found bands with B08; expected one of B02, B03, B04; correct train.train_on.there.bands",
    ),
    "classes not mapped": (
        pool(classes={}),
        "found class oak; expected classes field, wood, lake; map it: train.train_on.there.classes",
    ),
    "a class that is not there": (
        pool(classes={"oak": 2, "elm": 2}),
        "found classes with elm; expected one of field, oak, lake",
    ),
    "a class that is not here": (
        pool(classes={"oak": 4}),
        "found classes with 4; expected one of 0, 1, 2, 3",
    ),
    "a class below zero": (pool(classes={"oak": -1}), "classes with -1"),
    "units not mapped": (
        {"bands": {"B02": "blue"}, "classes": {"oak": 2}},
        "found units reflectance; expected digital numbers; map them: train.train_on.there.scale",
    ),
}


@pytest.mark.parametrize("case", POOLS)
def test_patches_that_do_not_fit(case):
    """Hours of composing another area would end in a refusal, or its woods be learnt as lakes."""
    write("there", **OTHERS)
    told, said = POOLS[case]
    line = mistake(**learning(train_on={"there": told}))
    assert f"{HERE}: train.train_on.there (run unet): found" in line
    assert said in line, line


def test_pooled_areas_that_cannot_be():
    """Patches would be planned that no stage can make, or that no batch can hold."""
    line = mistake(**learning(train_on=["nowhere"]))
    assert "train.train_on.nowhere (run unet): found area nowhere; expected one of" in line
    write("bare", **BORROWED)
    line = mistake(**learning(train_on=["there", "bare"]))
    assert "train.train_on.bare (run unet): found an area without labels" in line
    line = mistake(**learning(train_on=["there", "here"]))
    assert "train.train_on.here (run unet): found an area without labels" in line
    write("there", select={"size": 48})
    line = mistake(runs={"unet": {"train_on": ["there", "here"]}})
    assert "train.train_on (run unet): found 48 px in there, 32 px in here" in line
    assert "train_on" in mistake(**learning(train_on=[]))
    assert "train_on" in mistake(**learning(train_on=["There"]))
    assert "train_on" in mistake(**learning(train_on={"there": {"scale": 0}}))
    assert "did you mean 'scale'?" in mistake(**learning(train_on={"there": {"scael": 2}}))


@pytest.mark.parametrize("mode", ["auto", "exact", "blend"])
@pytest.mark.parametrize(
    "train",
    [
        {"upsample": "bilinear"},
        {"depth": 3},
        {"padding": "valid", "depth": 1},
        {"attention": "self"},
        {"norm": "group", "crop": 16},
        {"features": [{"gaussian": "B02", "size": 7, "sigma": 1.0}]},
    ],
    ids=str,
)
def test_no_more_is_read_than_was_planned(train, mode):
    """Blocks would be mapped without the neighbours that the net looks at, or is shown."""
    write("there", train=train)
    here = area(**BORROWED, predict={"mode": mode, "tile": 64})
    chosen = load_area(Path("config/areas/there.yaml")).train_of("unet")
    if chosen.design.sees_all and mode == "exact":
        return
    halo, plan = halo_of(HERE, here, "landcover"), plan_of(HERE, here, "landcover")
    assert plan.window == (chosen.crop or 32)
    about = {"bands": ["B02", "B03", "B04"], "classes": ["d", "e"], "provenance": {}}
    about["features"] = [asdict(each) for each in planned(chosen, about["bands"], 10.0)]
    inputs = 3 + len(about["features"])
    card = Card(**about, mean=[0] * inputs, sd=[1] * inputs, **vars(chosen.design))
    predictor = Predictor.of(build(card), with_reach(card), torch.device("cpu"), plan)
    assert (predictor.lattice is None) == (mode == "exact") or mode == "auto"
    grid, far = here.the_grid(), 0
    for block in grid.blocks():
        near = block.window.grow(halo)

        def read(window, allowed=near):
            assert window.intersect(grid.window) == window == window.intersect(allowed)
            shape = (window.height, window.width)
            return np.zeros((3, *shape), np.uint16), np.ones(shape, bool)

        for unit in predictor.units(block.window):
            around = predictor.around(unit)
            read_reflected(around, grid.window, read)
            far = max(far, block.window.row - around.row, block.window.col - around.col)
    assert far > 0


def test_the_halo_of_nets_that_planning_cannot_know():
    """Blocks would be mapped without the neighbours that the net looks at, or is shown."""
    write("there", train={"net": "smp", "smp": {"arch": "Unet", "encoder": "resnet18"}})
    for context, mode, halo in ((77, "exact", 77 + 32), (200, "auto", 200 + 32)):
        here = area(**BORROWED, predict={"mode": mode, "context": context})
        assert halo_of(HERE, here, "landcover") == halo
    here = area(**BORROWED, predict={"mode": "blend", "window": 256})
    assert halo_of(HERE, here, "landcover") >= 255


def test_fine_tuning_a_net_of_another_design():
    """The weights would be refused after the patches were made; dropout changes none of them."""
    tuned = {"runs": {"unet": {"init": "there/unet"}}}
    for theirs in ({"attention": "gate"}, {"norm": "none"}, {"head": "mask+label"}):
        write("there", train=theirs)
        ((key, value),) = theirs.items()
        assert f"there/unet with {key} {value}; expected {key} " in mistake(**tuned)
    write("there", train={"dropout": 0.5, "label_weight": 3})
    assert area(**tuned)


def test_the_halo_grows_with_the_depth():
    """The test of the halo could pass with a number that never changes."""
    halos = []
    for depth in (1, 3, 5):
        write("there", train={"depth": depth})
        halos.append(halo_of(HERE, area(**BORROWED), "landcover"))
    assert np.all(np.diff(halos) > 0)


SEASONS = {
    name: {"files": f"data/{name}/{{scene}}_{{band}}.tif"} for name in ("2018-04", "2018-08")
}
JOINED = {"search": {"periods": SEASONS}, "runs": {"unet": {"periods": "channels"}}}


def chips(**sections):
    """The sections of an area of chips."""
    images = [{"files": "data/{chip}.tif", "bands": ["B02", "B03", "B04"]}]
    held = {"images": images, "masks": {"files": "data/mask-{chip}.tif"}}
    fixed = {"grid": None, "search": None, "labels": None, "chips": held}
    return fixed | {"select": {"size": 32, "split": {"method": "chip"}}} | sections


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"runs": {"unet": {"periods": "channels"}}}, "for several periods, and there is one"),
        (JOINED | {"runs": {"unet": {"periods": "channels", "train_on": ["there"]}}}, "train_on"),
        (JOINED | {"runs": {"unet": {"drop_period": 0.5}}}, "drop_period"),
        (chips(runs={"unet": {"periods": "channels"}}), "chips have no periods"),
        (chips(runs={"unet": {"fraction": "soft"}}), "masks of chips have no shares"),
        ({"runs": {"unet": {"fraction": "weight"}}}, "without downsample.fraction: true"),
        (
            {"runs": {"unet": {"fraction": "weight", "train_on": ["there"]}}},
            "set downsample.fraction: true in there",
        ),
    ],
)
def test_periods_and_shares_that_are_not_there_are_refused(sections, said):
    """Otherwise a run would fail after hours of downloads, or leave out in silence what it asks."""
    assert said in mistake(**sections)


def test_periods_and_shares_that_are_there_are_taken():
    """Otherwise what is refused elsewhere would be refused everywhere."""
    assert area(**JOINED).train_of("unet").periods == "channels"
    shared = {"downsample": {"fraction": True}, "runs": {"unet": {"fraction": "soft"}}}
    assert area(**shared).train_of("unet").fraction == "soft"
    write("there", downsample={"fraction": True})
    area(runs={"unet": {"fraction": "soft", "train_on": ["there"]}})


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (BORROWED, "maps.landcover: found period 2018-06"),
        (BORROWED | chips(labels=None), "a model for chips"),
        ({"runs": {"unet": {"init": "there/unet"}}}, "joined periods 2018-04, 2018-08"),
    ],
)
def test_a_model_that_joins_periods_is_shown_those(sections, said):
    """Otherwise a net would be shown one season in the place of another, or none at all."""
    write("there", **JOINED)
    other = {"periods": {"2018-06": {"files": "data/{scene}_{band}.tif"}}}
    assert said in mistake(**{"search": other} | sections)
    area(**BORROWED | {"search": {"periods": SEASONS}})
    area(**BORROWED | {"search": {"periods": {"2018-08": SEASONS["2018-08"]}}})
