"""A mistake in the area file is one line that names the file, the key and what is allowed."""

import re
from pathlib import Path

import pytest
from making import SMALL_AREA, write_area
from stages.stage_steps import refused_cleanly


def edited(old, new):
    """The small area file with one of its lines written otherwise."""
    assert old in SMALL_AREA
    return write_area("edited", SMALL_AREA.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  bands: [B02", "  band: [B02", "compose.band: found unknown key.*did you mean 'bands'"),
        ("compose:", "compsoe:", "unknown key 'compsoe'.*did you mean 'compose'"),
        ("title: Simulated test area\n", "", "title: found nothing"),
        ("  2: {name: wood", "  1: {name: wood", r"line 11: found duplicate key 1\b"),
        ("  3: {name: lake", "  4: {name: lake", "without gaps"),
        ("size: 32", "size: 161", "larger than the area"),
        ("train: 0.6, val: 0.2", "train: 0.0, val: 0.8", "select.split.train: found no share"),
        ("train: 0.6, val", "train: 0.7, val", "do not sum to 1"),
        ("401920, 4600000]", "401925, 4600000]", "not a whole number"),
        ("bounds: [400000,", "bounds: [402000,", "pixels apart"),
        ("resolution: 10", "resolution: ten", "grid.resolution: found 'ten'"),
        ("crs: EPSG:32631", "crs: EPSG:99999", "EPSG:99999"),
        ("[B02, B03, B04]", "[B02, B03, B02]", "named twice"),
        ("{run: unet}", "{run: unit}", "maps.landcover.run: found unit, none of the runs"),
        ("unet: {}", "unet: {step: 3}", "runs.unet.step: .*did you mean 'steps'"),
        ("2018-04:", "spring:", "no start and end"),
        ("2018-04:", "2018-02-30:", "2018-02-30"),
        ("{files: ", "{start: '2018-04-31T00:00:00Z', files: ", "2018-04-31"),
        ('"#1b6b2f"', '"green"', "classes.2.colour: found 'green'"),
        ("classes:", "classes: [", "line"),
        ("classes:", "? [1, 2]\n: 3\nclasses:", "line"),
        ("  file: data/labels.tif", "  file: data/labels.tif\n  codes: {5: 9}", "no class"),
    ],
)
def test_area_file(small_area, capsys, old, new, said):
    """A typing mistake in the area file would end in a page of Python, or be obeyed."""
    line = refused_cleanly(capsys, "check", edited(old, new))
    assert "edited.yaml" in line and re.search(said, line), line


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"title: \xff\xfe", None])
def test_no_area_file(small_area, capsys, content):
    """A missing or empty area file, or one from another editor, would end in a page of Python."""
    path = Path("config/areas/other.yaml")
    if content is not None:
        path.write_bytes(content)
    assert "other.yaml" in refused_cleanly(capsys, "check", path)
    refused_cleanly(capsys, "check", "config/areas/Bad_Name.yaml")
