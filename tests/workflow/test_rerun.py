"""What runs again after a change, and what does not."""

import os
import shutil
import sys

import pytest
import rasterio
from making import SMALL_AREA, simulated_scene, write_tif
from running import ROOT, digests, fake_wheel, planned, snakemake

LEARN = {"train", "predict", "mosaic", "assess"}
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": os.devnull, "PIP_CONFIG_FILE": os.devnull}
WHEEL = "mapmilltest-1.0-py3-none-any.whl"
TARGETS = ["results/small_landcover.tif", "results/small/assess/landcover/metrics.json"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The small simulated area, in an archive that pip fetches from a folder, mapped once."""
    folder = tmp_path_factory.mktemp("project")
    label_YX, image_BYX = simulated_scene()
    names = {}
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        names[f"data/S1_{band}.tif"] = write_tif(folder / f"made/{band}.tif", values)
    names["data/labels.tif"] = write_tif(folder / "made/labels.tif", label_YX)
    digest = fake_wheel(folder / "index" / WHEEL, names)
    text = SMALL_AREA.replace("source: files", "source: sample").replace("block: 64", "block: 96")
    text += (
        f"download:\n  sample: {{requirement: mapmilltest==1.0, file: {WHEEL}, sha256: {digest}}}\n"
    )
    (folder / "config/areas").mkdir(parents=True)
    (folder / "config/areas/small.yaml").write_text(text)
    done = snakemake(folder, *TARGETS, **NO_INDEX | {"PIP_FIND_LINKS": str(folder / "index")})
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def area_file(project):
    """The area file of the project; its text is restored after the test."""
    path = project / "config/areas/small.yaml"
    text = path.read_text()
    yield path
    path.write_text(text)


def test_second_run_does_nothing(project):
    """A user who types the command again would wait for work already done."""
    assert planned(project, *TARGETS) == {}


def test_changed_loss_reruns_training_and_what_follows(project, area_file):
    """A change of loss would download and compose again, or leave an old model in the map."""
    area_file.write_text(area_file.read_text().replace("width: 4", "width: 4\n  loss: dice"))
    assert set(planned(project, *TARGETS)) == LEARN


def test_changed_bands_rerun_from_compose_on(project, area_file):
    """A change of bands would redo the labels, or leave old bands in the image."""
    area_file.write_text(area_file.read_text().replace("[B02, B03, B04]", "[B04, B03]"))
    assert set(planned(project, *TARGETS)) == {"compose", "select", "pack"} | LEARN


def test_changed_mask_reruns_from_compose_on(project, area_file):
    """Clouds would stay in the image after a mask was given, or another combination asked for."""
    text, bands = area_file.read_text(), "bands: [B02, B03, B04]"
    for added in ("mask: {preset: scl}", "combine: median"):
        area_file.write_text(text.replace(bands, f"{bands}\n  {added}"))
        assert set(planned(project, *TARGETS)) == {"compose", "select", "pack"} | LEARN


def test_a_lost_quality_layer_is_made_again(project):
    """Tiles would be chosen without knowing their clouds."""
    layer = "results/small/compose/2018-04/quality/r001c000.tif"
    before = (project / layer).read_bytes()
    (project / layer).unlink()
    assert planned(project, layer) == {"compose": 1}
    assert snakemake(project, layer).returncode == 0
    assert (project / layer).read_bytes() == before
    assert snakemake(project, *TARGETS).returncode == 0


def test_all_blocks_of_a_period_as_one_picture(project):
    """The picture would be asked for in vain, or made before its blocks."""
    picture = "results/small/compose/2018-04.vrt"
    assert snakemake(project, picture).returncode == 0
    assert planned(project, picture) == {}
    with rasterio.open(project / picture) as source:
        assert source.read(1).all()
    assert planned(project, picture, "--forcerun", "compose") == {"compose": 4, "vrt": 1}


def test_changed_label_method_reruns_from_downsample_on(project, area_file):
    """A change of the label map would leave patches with the old labels."""
    area_file.write_text(area_file.read_text() + "downsample: {method: nearest}\n")
    assert set(planned(project, *TARGETS)) == {"downsample", "select", "pack"} | LEARN


def test_swapped_numbers_are_a_change(project, area_file):
    """Two settings that swap their values would go unnoticed, since params are kept as a set."""
    text = area_file.read_text().replace("steps: 20", "steps: 10")
    area_file.write_text(text.replace("validate_every: 10", "validate_every: 20"))
    assert set(planned(project, *TARGETS)) == LEARN


def test_reordered_file_and_comments_change_nothing(project, area_file):
    """Tidying the area file would train for hours again."""
    lines = area_file.read_text().splitlines()
    area_file.write_text("# a remark\n" + "\n".join([*lines[3:], *lines[:3]]) + "\n")
    assert planned(project, *TARGETS) == {}


def test_comment_and_space_in_the_workflow_rerun_nothing(project, tmp_path):
    """A comment or a space in a rule would retrain every model of every user."""
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    rules = tmp_path / "workflow/rules/learn.smk"
    text = rules.read_text().replace("mapmill train ", "mapmill  train ")
    rules.write_text(text + "\n# a remark\n")
    assert planned(project, *TARGETS, snakefile=tmp_path / "Snakefile") == {}


def test_named_block_is_rebuilt_and_the_map_follows(project):
    """A lost block could not be rebuilt alone, or the map would keep its old pixels."""
    block = "results/small/predict/landcover/r001c000.tif"
    before = (project / block).read_bytes()
    (project / block).unlink()
    assert planned(project, block) == {"predict": 1}
    assert snakemake(project, block).returncode == 0
    assert (project / block).read_bytes() == before
    assert planned(project, *TARGETS) == {"mosaic": 1, "assess": 1}
    assert snakemake(project, *TARGETS).returncode == 0
    assert planned(project, *TARGETS) == {}


def test_forceall_gives_the_same_bytes_and_downloads_nothing(project):
    """Results could not be reproduced, or a rerun would pay for the same scenes twice."""
    before = digests(project / "results")
    assert "small/train/unet-1/model.safetensors" in before
    done = snakemake(project, "--forceall", *TARGETS, **NO_INDEX)
    assert done.returncode == 0, done.stdout
    assert digests(project / "results") == before


def test_a_training_that_is_forced_starts_at_its_first_step(project):
    """Otherwise --forcerun would go on from what a stopped run had left, and show nothing."""
    model = "results/small/train/unet-1/model.safetensors"
    before = (project / model).read_bytes()
    left = (project / model).with_name("checkpoint.safetensors")
    log = project / "logs/small/train/unet-1.log"
    for forced in (True, False):
        left.write_bytes(b"what a stopped run had left")
        if not forced:
            (project / model).unlink()
        snakemake(project, model, *(["--forcerun", "train"] if forced else []))
        assert ("starts anew" in log.read_text()) is not forced
        assert not left.exists() and (project / model).read_bytes() == before
    assert snakemake(project, *TARGETS).returncode == 0


def test_the_retry_of_a_training_that_is_forced_goes_on(project):
    """Otherwise a forced training that is killed now and then would never come to its end."""
    model = "results/small/train/unet-1/model.safetensors"
    before = (project / model).read_bytes()
    launch = f"{sys.executable} {ROOT / 'tests/slurm/stands_still.py'} 0"
    options = [model, "--forcerun", "train", "--retries", "1"]
    done = snakemake(project, *options, MAPMILL_LAUNCH=launch)
    assert done.returncode == 0, done.stdout
    assert "goes on from step 10" in (project / "logs/small/train/unet-1.log").read_text()
    assert (project / model).read_bytes() == before
    assert snakemake(project, *TARGETS).returncode == 0


def test_asking_for_the_patches_stops_there(project, tmp_path):
    """Someone who wants the patch store alone would have to wait for the training."""
    shutil.copytree(project / "config", tmp_path / "config")
    shutil.copytree(project / "index", tmp_path / "index")
    target = "results/small/pack/patches.zarr/zarr.json"
    done = snakemake(tmp_path, target, **NO_INDEX | {"PIP_FIND_LINKS": str(tmp_path / "index")})
    assert done.returncode == 0, done.stdout
    assert (tmp_path / target).exists()
    assert not (tmp_path / "results/small/train").exists()
    assert digests(tmp_path / "results/small/pack") == digests(project / "results/small/pack")


def test_mistake_in_an_area_is_one_line(project, area_file):
    """A typing error would bury the user under a traceback."""
    area_file.write_text(area_file.read_text().replace("steps: 20", "stepz: 20"))
    done = snakemake(project, "-n", *TARGETS)
    assert done.returncode != 0
    (line,) = [line for line in done.stdout.splitlines() if "small.yaml" in line]
    assert "train.stepz" in line and "did you mean 'steps'?" in line
    assert "Traceback" not in done.stdout


def test_broken_area_does_not_break_the_others(project):
    """One colleague's unfinished area would stop everyone's work."""
    broken = project / "config/areas/broken.yaml"
    broken.write_text("grid: [")
    try:
        assert planned(project, *TARGETS) == {}
    finally:
        broken.unlink()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("results/small_nothing.tif", "expected one of landcover; check"),
        ("results/missing_landcover.tif", "areas here: small"),
        ("results/small/train/other-1/model.safetensors", "expected one of unet; check"),
    ],
)
def test_unknown_names_are_one_line(project, target, says):
    """A wrong target would give a traceback rather than the names that exist."""
    done = snakemake(project, "-n", target)
    assert done.returncode != 0
    assert says in done.stdout and "Traceback" not in done.stdout


def test_the_table_of_areas_is_a_target(project):
    """The rule of the table could not be run, or would run again each time."""
    target = "results/small/tabulate/areas.csv"
    assert planned(project, target) == {"tabulate": 1}
    assert snakemake(project, target).returncode == 0
    assert planned(project, target) == {}


def test_polygons_and_calibration_are_made_where_they_are_asked_for(project, area_file):
    """Otherwise every map would take longer, or a calibrated one miss its temperature."""
    polygons = "results/small_landcover.gpkg"
    assert planned(project, polygons) == {"vectorise": 1}
    area_file.write_text(area_file.read_text() + "predict: {temperature: validation}\n")
    jobs = planned(project, *TARGETS, polygons)
    assert jobs.pop("predict") > 1
    assert jobs == {"calibrate": 1, "mosaic": 1, "vectorise": 1, "assess": 1}
    done = snakemake(project, *TARGETS, polygons)
    assert done.returncode == 0, done.stdout
    assert planned(project, *TARGETS, polygons) == {}
    assert (project / "results/small/calibrate/landcover.json").exists()
