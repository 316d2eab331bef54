"""What the profiles ask for, planned without running: SLURM itself is not needed."""

import inspect
import re
import shutil

import pytest
import yaml
from running import ROOT, planned, snakemake
from snakemake_executor_plugin_slurm import Executor

LOCAL = {"search", "download"}
ON_GPU = {"train", "calibrate", "predict", "compare"}
TARGET = "results/catalonia_landcover.tif"


def content(profile):
    return yaml.safe_load((ROOT / f"profiles/{profile}/config.yaml").read_text())


def by_rule(lines):
    """`rule:name=value` lines: rule -> name -> value."""
    found = {}
    for rule, name, value in (re.fullmatch(r"(\w+):(\w+)=(.+)", line).groups() for line in lines):
        found.setdefault(rule, {})[name] = value
    return found


def rules():
    """Names of all rules but `all`."""
    texts = [path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")]
    return {
        name for text in texts for name in re.findall(r"^(?:rule|checkpoint) (\w+):", text, re.M)
    }


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """What Snakemake says of Catalonia's map on SLURM."""
    folder = tmp_path_factory.mktemp("plan")
    shutil.copytree(ROOT / "config", folder / "config")
    done = snakemake(folder, "-n", "--workflow-profile", ROOT / "profiles/slurm", TARGET)
    assert done.returncode == 0, done.stdout
    return done.stdout


def resources_in(plan):
    """Rule -> the resources of its jobs, as they are said."""
    found = {}
    pattern = r"^ *(?:local)?(?:rule|checkpoint) (\w+):$.*?^ *resources: (.*?)$"
    for rule, text in re.findall(pattern, plan, re.M | re.S):
        found.setdefault(rule, set()).add(
            re.sub(r"(tmpdir|disk|mem|mem_mib|disk_mi?b)=[^,]*(, )?", "", text)
        )
    return found


def test_every_rule_has_its_memory_and_time():
    """A new rule would run into the default's half hour."""
    given = by_rule(content("slurm")["set-resources"])
    assert set(given) == rules() - LOCAL
    assert len(given) == 13
    for rule, named in given.items():
        assert {"mem_mb", "runtime"} <= set(named), rule
        assert (named.get("gpu") == "1") == (rule in ON_GPU), rule
        assert (named.get("slurm_partition") == "gpu") == (rule in ON_GPU), rule


def test_training_asks_for_the_same_again():
    """A training that meets its time limit twice would ask for memory that no node has."""
    given = by_rule(content("slurm")["set-resources"])["train"]
    assert "attempt" not in given["mem_mb"] + given["runtime"]


def test_no_job_is_forgotten():
    """Snakemake would wait for ever: for jobs that SLURM forgets before they are asked about, or
    after SLURM did not answer for some minutes. The plugin's own numbers are looked up in it."""
    slurm, source = content("slurm"), inspect.getsource(Executor.check_active_jobs)
    (longest,) = map(int, re.findall(r"max_sleep_time = (\d+)", source))
    (times,) = map(int, re.findall(r"dynamic_check_threshold = (\d+) \* initial_interval", source))
    init = slurm["slurm-init-seconds-before-status-checks"]
    assert slurm["slurm-status-command"] == "squeue"
    assert times * init >= longest + 30, "a look itself may take a while"
    waits = slurm["slurm-status-attempts"] / slurm["max-status-checks-per-second"]
    assert waits > 2 * 60 * 60


def test_profiles_agree():
    """Going from one machine to a cluster would compute everything again, or ask too often."""
    default, slurm, gpu = (content(name) for name in ("default", "slurm", "local-gpu"))
    same = ["rerun-triggers", "max-checksum-file-size", "rerun-incomplete", "scheduler"]
    assert [default[key] for key in same] == [slurm[key] for key in same]
    assert default["set-threads"] == slurm["set-threads"]
    assert set(default["resources"]) < set(slurm["resources"])
    one = {f"{rule}:gpu=1" for rule in ON_GPU}
    assert set(gpu.pop("set-resources")) == {*default.pop("set-resources"), *one}
    assert set(gpu.pop("resources")) == {*default.pop("resources"), "gpu=1"}
    assert gpu == default


def test_groups_of_catalonia(plan, capsys):
    """Hundreds of jobs of a few seconds each would wait in the queue, and load its scheduler."""
    names = re.findall(r"Group job (\w+) ", plan)
    counts = {name: names.count(name) for name in sorted(set(names))}
    with capsys.disabled():
        print(f"\ngroups: {counts}")
        for rule, said in sorted(resources_in(plan).items()):
            print(f"{rule:10} {'; '.join(sorted(said))}")
    assert counts == {"blocks": 4, "labels": 2, "maps": 7}


def test_a_group_that_depends_on_itself_is_refused(tmp_path):
    """Snakemake would wait for a job that waits for itself: its check looks at each group once."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    groups = ["--groups", "downsample=one", "mosaic=one", "--group-components", "one=100", "--"]
    done = snakemake(tmp_path, "-n", *groups, TARGET)
    assert done.returncode != 0
    assert "Group one depends on itself" in done.stdout and "Traceback" not in done.stdout


def test_resources_of_catalonia(plan):
    """A job would be killed for its memory or time, or hold a GPU that it does not use."""
    found = resources_in(plan)
    assert set(found) == {"download", "compose", "downsample", "select", "pack", "train",
                          "predict", "mosaic"}  # fmt: skip
    (predict,) = found["predict"]
    for part in ("mem_mb=8000", "slurm_partition=gpu", "runtime=5", "gpu=1", "turn=1"):
        assert part in predict.split(", ")
    (compose,) = found["compose"]
    assert "gpu" not in compose and "turn=1" in compose
    (download,) = found["download"]
    assert "sentinelhub=1" in download


def test_one_gpu_serves_one_job_at_a_time(tmp_path):
    """Two trainings would share the memory of one GPU, and both fail."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    done = snakemake(tmp_path, "-n", "--workflow-profile", ROOT / "profiles/local-gpu", TARGET)
    assert done.returncode == 0, done.stdout
    found = resources_in(done.stdout)
    assert {rule for rule, said in found.items() if "gpu=1" in " ".join(said)} == {
        "train",
        "predict",
    }


def test_downloads_alone(tmp_path):
    """On a login or transfer node everything else would be computed too."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    assert planned(tmp_path, "--until", "download", "--", TARGET) == {"download": 152}
