"""The shape of the package: who imports whom, what it costs, and lists that must agree."""

import ast
import json
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mapmill
from mapmill.chain import VERSION

ROOT = Path(__file__).parents[2]
PACKAGE = Path(mapmill.__file__).parent
LEVELS = [
    {"mapmill", "errors", "chain", "atomic", "grid", "layout", "progress", "reach", "design"}
    | {"formulas", "channels", "plan", "regular", "locks", "freed"},
    {"sections", "consistency", "config", "codes", "parse", "areafile", "settings", "provenance"}
    | {"tiles", "splits", "buffers", "leak", "dealing", "parts", "chips", "extent", "indices"}
    | {"derive", "relatives", "comparisons", "halo", "mapping_unit"},
    {"raster", "vector", "store", "catalogue", "kernels", "nets", "losses", "metrics", "scores"}
    | {"feature_files", "balance", "borders", "checkpoint", "rates", "optimise", "feed"}
    | {"ranks", "resident", "compiling"}
    | {"features", "inputs", "normal", "sampling", "augment"}
    | {"forest", "figures", "fit", "infer", "shift", "blend"}
    | {"ensemble", "flow", "mirror", "outliers", "predict_image"}
    | {"world", "spectra", "simulate", "arrays", "pieces", "pool", "joined", "recode"}
    | {"combine", "observe", "pansharpen", "scene_reading"}
    | {"census", "survey", "split_layer", "tiling", "tile_figures"}
    | {"cells", "moments"}
    | {"morphology", "sieve", "filters", "style", "legend", "item"}
    | {"turns", "temperature", "quantities", "assembly"}
    | {"native", "pixel_kernels", "pixels", "majority", "areas", "class_areas", "routes"}
    | {"allocation", "draw", "estimators", "interpreted", "pixel_area", "sample", "sample_files"}
    | {"boundary", "calibration", "few_cells", "score_figures", "scored", "tile_scores", "explain"}
    | {"calibration_figures", "pages", "score_pages", "provenance_page"}
    | {"area_estimates", "unit_estimates", "unit_pixels", "tables", "sample_table"}
    | {"folds", "apart", "cards", "comparing", "compare_figure"}
    | {"mapsheet", "vrt", "footprints", "fetched", "estimate", "machine", "doctor"},
    {"stages"},
    {"cli", "__main__"},
]
NETWORK = {"requests", "urllib", "urllib3", "httpx", "http", "socket", "ftplib", "aiohttp"}
NETWORK |= {"subprocess", "pystac_client", "boto3", "fsspec", "s3fs", "ssl"}


def name_of(path):
    """Dotted name below the package; that of the package itself is `mapmill`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "mapmill"


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def level_of(module):
    """Number of the level, by the module's first part."""
    (level,) = [n for n, names in enumerate(LEVELS) if module.split(".")[0] in names]
    return level


def imported(module):
    """Every name that a module imports, anywhere in it: `numpy.typing`, `mapmill.grid` ..."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the level"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                own = inner.removeprefix("mapmill.") in MODULES
                yield inner if own and inner.startswith("mapmill.") else node.module


def own_imports(module):
    """Modules of the package that a module imports."""
    return {
        name.removeprefix("mapmill.")
        for name in imported(module)
        if name.split(".")[0] == "mapmill"
    }


def test_every_module_has_one_level():
    """Otherwise a new module would be outside the order, and free to import anything."""
    assert len(MODULES) > 30
    assert {module: level_of(module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_to_lower_levels(module):
    """Otherwise a small change would reach the whole package, and stages could not run alone."""
    for other in own_imports(module):
        assert other in MODULES
        assert level_of(other) <= level_of(module), f"{module} imports {other}"
        if module.startswith("stages."):
            assert not other.startswith("stages"), "stages meet only through files"


def test_no_imports_go_in_circles():
    """Otherwise importing one module first would work and another fail."""
    waiting = {module: own_imports(module) - {module} for module in MODULES}
    while waiting:
        free = {module for module, needs in waiting.items() if not needs & waiting.keys()}
        assert free, f"a circle among {sorted(waiting)}"
        waiting = {module: needs for module, needs in waiting.items() if module not in free}


@pytest.mark.parametrize(
    ("library", "module"), [("rasterio", "raster"), ("zarr", "store"), ("pyogrio", "vector")]
)
def test_one_module_or_package_opens_each_format(library, module):
    """Otherwise files would be written without the checks that their one writer makes."""
    users = {m for m in MODULES if any(n.split(".")[0] == library for n in imported(m))}
    assert users and all(user.split(".")[0] == module for user in users)


def test_only_the_catalogue_opens_the_network():
    """Otherwise a stage could fetch something that no digest pins, or need a network to plan."""
    users = {m for m in MODULES if NETWORK & {name.split(".")[0] for name in imported(m)}}
    assert users and all(m.startswith("catalogue.") for m in users)


ALONE = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"refused: {{name}}")

sys.meta_path.insert(0, Refuse())
for name in {names}:
    importlib.import_module("mapmill." + name)
loaded = {{name.split(".")[0] for name in sys.modules}}
assert not loaded & {blocked}, loaded & {blocked}
"""
HEAVY = {"rasterio", "zarr", "pydantic", "yaml", "snakemake", "pyogrio", "shapely", "pystac"}
HEAVY |= {"matplotlib", "numba", "sklearn", "pyproj", "safetensors", "tqdm"}


def run(*command):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_training_and_prediction_need_torch_and_numpy_alone():
    """Otherwise the model code could not be taken to a machine without the geographic libraries."""
    names = [
        "fit",
        "infer",
        "ensemble",
        "flow",
        "losses",
        "metrics",
        "nets.model",
        "nets.heads",
        "nets.smp",
    ]
    names += ["nets.weights", "features.settle", "inputs", "augment", "sampling"]
    names += ["ranks", "resident", "compiling"]
    done = run("-c", ALONE.format(blocked=HEAVY, names=names))
    assert done.returncode == 0, done.stderr
    refused = run("-c", ALONE.format(blocked={"torch"}, names=names))
    assert "refused: torch" in refused.stderr  # the refusal works


def test_planning_the_workflow_needs_no_heavy_library():
    """Otherwise every job, and every dry run, would first wait for torch or GDAL."""
    names = ["areafile", "layout", "catalogue.items", "errors", "cli"]
    blocked = (HEAVY | {"torch", "numpy"}) - {"pydantic", "yaml", "pyproj"}
    done = run("-c", ALONE.format(blocked=blocked, names=names))
    assert done.returncode == 0, done.stderr


HELP = "from mapmill.cli import main; main(['--help'])"


def cpu_seconds(code):
    """User and system time of the quickest of five calls."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("-c", code).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_help_answers_at_once():
    """Otherwise each of thousands of jobs would spend longer on starting than on its work."""
    assert "usage: mapmill" in run("-c", HELP).stdout
    assert cpu_seconds(HELP) - cpu_seconds("") < 0.5


def test_help_names_every_stage():
    """Otherwise a stage of the workflow could not be called by hand."""
    lines = [line.split() for line in run("-c", HELP).stdout.splitlines()]
    stages = {module.removeprefix("stages.") for module in MODULES if "stages." in module}
    assert stages == set(VERSION) and len(stages) == 14
    assert stages <= {words[0] for words in lines if words}


def test_the_schema_is_that_of_the_models():
    """Otherwise editors would complete keys that mapmill refuses."""
    done = run("-c", "from mapmill.cli import main; main(['schema'])")
    kept = (ROOT / "config/area.schema.json").read_text(encoding="utf-8")
    assert json.loads(kept)["title"] == "Area"
    assert kept == done.stdout, "run `make schema`"


def dependencies():
    """Name -> bounds, of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    return {canonicalize_name(r.name): r.specifier for r in wanted}, project["requires-python"]


def test_the_conda_environment_asks_for_the_same():
    """Otherwise people who use conda would run other versions than those that are tested."""
    wanted, python = dependencies()
    conda = {"torch": "pytorch", "snakemake": "snakemake-minimal"}
    expected = {conda.get(name, name): bounds for name, bounds in wanted.items()}
    listed = yaml.safe_load((ROOT / "envs/mapmill.yaml").read_text(encoding="utf-8"))
    found = {(r := Requirement(text)).name: r.specifier for text in listed["dependencies"]}
    assert str(found.pop("python")) == str(Requirement(f"python{python}").specifier)
    assert found == expected


def test_the_lock_pins_every_dependency_within_its_bounds():
    """Otherwise a fresh environment would get versions that nobody has tried."""
    pinned = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "-", " ")):
            requirement = Requirement(line.split("#")[0].split(" --hash")[0].rstrip(" \\"))
            (pin,) = requirement.specifier
            assert pin.operator == "==" and "*" not in pin.version
            pinned[canonicalize_name(requirement.name)] = pin.version
    for name, bounds in dependencies()[0].items():
        assert name in pinned, f"{name} is not in requirements.lock"
        assert bounds.contains(pinned[name]), f"{name} {pinned[name]} is not {bounds}"
