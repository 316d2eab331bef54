"""Keys of `train` that say how a net is built: presets, what goes together, what a run changes."""

from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.cli import main
from mapmill.design import CHOICES, Design
from mapmill.errors import ConfigError
from mapmill.nets.model import Card, build
from mapmill.nets.table import told
from mapmill.sections import PRESETS, Train
from mapmill.settings import settings

TWO = {1: {"name": "dry", "colour": "#000000"}, 2: {"name": "wet", "colour": "#0000ff"}}


def area(**sections):
    content = yaml.safe_load(SMALL_AREA)
    for section, values in sections.items():
        mixed = isinstance(values, dict) and section in ("train", "predict", "select")
        content[section] = {**content.get(section, {}), **values} if mixed else values
    return load_area(write_area("small", yaml.safe_dump(content, sort_keys=False)))


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parameters(bands=10, classes=2, **keys):
    """Number of parameters, without making any."""
    names = {"bands": ["b"] * bands, "classes": ["c"] * classes}
    card = Card(**names, mean=[], sd=[], provenance={}, **vars(Train(**keys).design))
    with torch.device("meta"):
        return sum(p.numel() for p in build(card).parameters())


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [
        ("unet", 30_500_000, 31_500_000),
        ("rau-net", 24_000_000, 26_000_000),
        ("rau-net-small", 1_500_000, 2_600_000),
        ("unet-small", 1_500_000, 2_600_000),
    ],
)
def test_presets_have_the_size_that_they_are_known_for(preset, least, most):
    """Otherwise a comparison of presets would be one of other nets than their names say."""
    assert set(PRESETS) == {"unet", "rau-net", "rau-net-small", "unet-small"}
    for bands, classes in ((2, 2), (14, 2), (10, 13)):
        assert least <= parameters(bands, classes, preset=preset) <= most


def test_rau_nets_are_residual_with_attention_and_several_resolutions():
    """Otherwise their name would promise what they are not."""
    for name in ("rau-net", "rau-net-small"):
        design = Train(preset=name).design
        assert (design.block, design.head) == ("residual", "multi-resolution")
        assert design.attention != "none"


def test_a_preset_fills_only_what_is_left_out():
    """Otherwise what the user wrote would be ignored, or the preset only half be there."""
    chosen = Train(preset="rau-net", width=8, attention="none", loss="dice")
    assert (chosen.width, chosen.attention, chosen.loss) == (8, "none", "dice")
    assert (chosen.block, chosen.head, chosen.depth) == ("residual", "multi-resolution", 4)
    explicit = Train(width=56, block="residual", attention="gate", head="multi-resolution")
    assert Train(preset="rau-net").design == explicit.design
    assert Train(preset="rau-net", width=32).width == 32  # the default, but written down


def test_a_run_takes_another_preset_and_keeps_what_train_says():
    """Otherwise all runs of a comparison would be one net, or one preset leak into another."""
    runs = {"whole": {}, "small": {"preset": "unet-small"}, "rau": {"preset": "rau-net"}}
    runs["wide"] = {"preset": "rau-net", "width": 24}
    content = yaml.safe_load(SMALL_AREA)
    del content["train"]["width"], content["train"]["depth"]
    content["train"] |= {"preset": "unet", "dropout": 0.25}
    content |= {"runs": runs, "maps": {"landcover": {"run": "whole"}}}
    one = load_area(write_area("small", yaml.safe_dump(content, sort_keys=False)))
    found = {name: one.train_of(name) for name in runs}
    assert {name: chosen.width for name, chosen in found.items()} == {
        "whole": 64,
        "small": 16,
        "rau": 56,
        "wide": 24,
    }
    assert {name: chosen.block for name, chosen in found.items()} == {
        "whole": "plain",
        "small": "plain",
        "rau": "residual",
        "wide": "residual",
    }
    assert all(chosen.dropout == 0.25 and chosen.steps == 20 for chosen in found.values())


def test_what_a_preset_fills_is_in_the_settings():
    """Otherwise a changed preset would leave the models of the old one in place."""
    filled = settings(area(train={"preset": "rau-net"}), "train", "unet-1")
    assert (filled["block"], filled["width"]) == ("residual", 4)  # the area says width: 4


def test_a_choice_is_the_same_word_everywhere():
    """Otherwise the area file would allow a net that cannot be built, or the other way round."""
    for key, known in CHOICES.items():
        assert get_args(Train.model_fields[key].annotation) == known
    assert Train().design == Design()
    assert vars(Train().design).keys() == vars(Design()).keys()


def mistake(**sections):
    with pytest.raises(ConfigError) as caught:
        area(**sections)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_logit_is_for_two_classes():
    """Otherwise a map of three classes would be made of one probability."""
    line = mistake(train={"activation": "sigmoid"})
    assert "train.activation (run unet): sigmoid, for areas of two classes, and there are 3" in line
    assert area(train={"activation": "sigmoid"}, classes=TWO)
    line = mistake(predict={"threshold": 0.3})
    assert "predict.threshold: found 0.3, for areas of two classes, and there are 3" in line
    assert area(predict={"threshold": 0.3}, classes=TWO)


def test_patches_are_larger_than_what_unpadded_convolutions_take():
    """Otherwise hours of composing would end in a refusal."""
    line = mistake(train={"padding": "valid"})
    assert "valid, which takes 20 px from each side of patches of 32 px" in line
    assert area(train={"padding": "valid", "depth": 1})
    assert "patches of 16 px" in mistake(train={"padding": "valid", "depth": 1, "crop": 16})


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"net": "smp"}, "one of net: smp and smp without the other"),
        ({"smp": {"arch": "Unet", "encoder": "resnet18"}}, "one of net: smp and smp without"),
        (
            {"net": "smp", "smp": {"arch": "Unet", "encoder": "resnet18"}, "attention": "gate"},
            "train.attention: found gate, beside net: smp",
        ),
        (
            {"net": "smp", "smp": {"arch": "U", "encoder": "r", "options": {"classes": 3}}},
            "options with classes, which mapmill sets itself",
        ),
        (
            {"padding": "valid", "encoder": "resnet18"},
            "train.padding: found valid with encoder resnet18",
        ),
        ({"preset": "unets"}, "train.preset: found 'unets'"),
        ({"atention": "gate"}, "did you mean 'attention'?"),
        ({"dropout": 1.0}, "train.dropout"),
    ],
)
def test_choices_that_do_not_go_together(train, said):
    """Otherwise one of two choices would be ignored, and nobody know which."""
    assert said in mistake(train=train)


def test_a_net_of_smp_beside_a_width():
    """Otherwise a comparison with it would need every run to repeat the size of the others."""
    smp = {"arch": "DeepLabV3Plus", "encoder": "tu-mobilenetv3_small_100"}
    runs = {"unet": {}, "deeplab": {"net": "smp", "smp": smp}}
    chosen = area(runs=runs).train_of("deeplab")
    assert chosen.design.smp == {**smp, "options": {}}
    assert chosen.design.first_difference(Design(net="smp", smp={**smp, "options": {}})) is None


def test_the_command_lists_presets_and_runs(capsys):
    """Otherwise the sizes in the documentation could not be had for a net of one's own."""
    assert main(["nets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
    assert rows["unet"] == ["10", f"{parameters(preset='unet'):,}", "16", "107", "px"]
    assert set(rows) == set(PRESETS)
    runs = {"unet": {}, "global": {"attention": "se"}}
    area(runs=runs)
    assert main(["nets", "config/areas/small.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["unet", "global"]
    assert lines[2].split()[1:] == [
        "3",
        f"{parameters(3, 3, width=4, depth=2, attention='se'):,}",
        "4",
        "global",
    ]


def test_the_documented_table_is_the_command_s():
    """Otherwise the documentation would tell of other nets than there are."""
    text = (Path(__file__).parents[2] / "docs/nets.md").read_text(encoding="utf-8")
    assert told(None) in text


def test_channels_of_all_joined_periods_are_counted(tmp_path, monkeypatch):
    """Parameters of a net that sees two periods would be those of one that sees one."""
    monkeypatch.chdir(tmp_path)
    periods = {
        name: {"files": f"data/{name}/{{scene}}_{{band}}.tif"} for name in ("2018-04", "2018-08")
    }
    both = {"periods": "channels", "features": ["gray"]}
    area(search={"source": "files", "periods": periods}, runs={"unet": both})
    line = told(Path("config/areas/small.yaml")).splitlines()[1]
    assert int(line.split()[1]) == 2 * (3 + 1 + 1)


def test_features_are_counted_among_the_channels(tmp_path, monkeypatch):
    """Parameters of a net with features would be those of one without."""
    monkeypatch.chdir(tmp_path)
    area(train={"width": 8}, runs={"unet": {}, "more": {"features": ["gray"]}})
    plain, more = told(Path("config/areas/small.yaml")).splitlines()[1:3]
    assert [int(line.split()[1]) for line in (plain, more)] == [3, 4]
    counted = [int(line.split()[2].replace(",", "")) for line in (plain, more)]
    assert counted[1] - counted[0] == 8 * 9
