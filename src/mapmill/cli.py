"""The command line: one subcommand a stage, each usable without the workflow.

Only the standard library is imported here, so that `--help` answers at once.
"""

import argparse
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from errno import EEXIST, EISDIR, ENAMETOOLONG, ENOTDIR
from pathlib import Path
from typing import Any

from mapmill import __version__
from mapmill.chain import VERSION
from mapmill.errors import REFUSALS, ContractError, MapmillError, one_line
from mapmill.regular import regular

ARGUMENTS: dict[str, list[str]] = {
    "search": ["period", "output?", "figure?"],
    "download": ["file", "output"],
    "compose": ["period", "block", "output"],
    "downsample": ["block", "output", "fraction?"],
    "select": ["output", "figure", "shift"],
    "pack": ["output"],
    "train": ["model", "output", "history", "figure"],
    "calibrate": ["map", "output", "figure?"],
    "predict": ["map?", "block?", "output?"],
    "mosaic": ["map", "output", "item", "confidence", "figure"],
    "vectorise": ["map", "output"],
    "assess": ["map", "output"],
    "tabulate": ["output", "changes"],
    "compare": ["comparison", "output", "models", "figure"],
}
"""Positional arguments; one with a ? may be left out: then it is not written."""
NAMES = {"period", "block", "file", "model", "map", "comparison"}
"""Arguments that are names; all others are paths."""
THREADED = {"compose", "downsample", "select", "pack"}
"""Stages with an option --threads; its number changes no byte of what they write."""
HELP = {
    "search": "pin the scenes of a period",
    "download": "fetch and verify one file",
    "compose": "put the bands of a period and block on the grid",
    "downsample": "bring the label map to the grid",
    "select": "choose the tiles to learn from",
    "pack": "store the chosen tiles as patches",
    "train": "train one model",
    "calibrate": "fit a map's confidence to the validation part",
    "predict": "map one block",
    "mosaic": "join the blocks to one georeferenced file",
    "vectorise": "turn a map into polygons",
    "assess": "score a map",
    "tabulate": "count the areas of maps, by class and unit",
    "compare": "score runs side by side",
}


def parser() -> argparse.ArgumentParser:
    """The command-line parser."""
    root = argparse.ArgumentParser(
        prog="mapmill", description="Satellite scenes in, maps out: the stages of the workflow."
    )
    root.add_argument("--version", action="version", version=f"mapmill {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for stage, arguments in ARGUMENTS.items():
        command = commands.add_parser(stage, help=HELP[stage], description=HELP[stage])
        command.add_argument("area", type=Path, help="area file, such as config/areas/demo.yaml")
        for name in arguments:
            many, bare = ("?" if name.endswith("?") else None), name.removesuffix("?")
            command.add_argument(bare, type=str if bare in NAMES else Path, nargs=many)
        if stage in THREADED:
            about = "threads to work in; no byte of what is written depends on them"
            command.add_argument("--threads", type=_count, help=about)
        if stage == "predict":
            _add_image(command)
    for name, about in (
        ("check", "check an area file and list the targets it makes"),
        ("show", "print the scores of an area's maps and where everything is"),
        ("losses", "print how balanced the classes are, and the loss that fits"),
        ("estimate", "say what a map will ask for and write, before anything is downloaded"),
        ("doctor", "look whether all is there that an area needs: account, files, disk, programs"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("area", type=Path, help="area file, such as config/areas/demo.yaml")
    grid = commands.add_parser("grid", help="print the grid section for the extent of a raster")
    grid.add_argument("raster", type=Path)
    vrt = commands.add_parser("vrt", help="write one virtual raster over a period's blocks")
    vrt.add_argument("area", type=Path, help="area file, such as config/areas/demo.yaml")
    vrt.add_argument("period")
    vrt.add_argument("output", type=Path, help="in the folder that holds the blocks' folder")
    nets = commands.add_parser("nets", help="print how large nets are and how far they see")
    nets.add_argument("area", type=Path, nargs="?", help="of its runs; by default of the presets")
    commands.add_parser("schema", help="print the JSON schema of area files")
    _add_simulate(commands)
    _add_sample(commands)
    return root


def _add_simulate(commands: Any) -> None:
    about = "make a simulated area of any size, whose true classes are known"
    command = commands.add_parser("simulate", help=about, description=about)
    command.add_argument("out", type=Path, help="folder; its name is the area's, such as data/sim")
    for name, default, text in (
        ("size", 512, "pixels of 10 m along one side"),
        ("seed", 1, "another number is another place"),
        ("block", 2500, "side of a block in the area file, in pixels"),
    ):
        shown = f"{text} (default {default})"
        command.add_argument(f"--{name}", type=int, default=default, help=shown)
    command.add_argument("--separate", action="store_true", help="one imagery file a band")
    command.add_argument("--crs", help="another CRS for the imagery, such as EPSG:3035")
    command.add_argument(
        "--offset", type=float, default=0.0, dest="offset_m", help="shift of its pixels, in metres"
    )


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser("sample", help="draw points at which people check a map")
    areas = commands.add_parser("areas", help="accuracy and areas of a map from such points")
    for command in (sample, areas):
        command.add_argument("area", type=Path, help="area file, such as config/areas/demo.yaml")
        command.add_argument("map", help="name of a map that is made")
    areas.add_argument("sample", type=Path, help="the table with the column `reference` filled in")
    areas.add_argument("--units", type=Path, help="polygons, such as municipalities: areas in each")
    areas.add_argument("--layer", help="their layer, in a file with several")
    areas.add_argument("--name", default="name", help="their attribute (default name)")


IMAGE = {
    "model": "model file: map an image without an area; the only argument is then the map to write",
    "image": "raster to map by --model",
    "bands": "names of the image's bands, in its order, such as B02,B03; by default their own",
    "mode": "auto, exact or blend",
    "tile": "side of the squares that are mapped at once",
    "window": "side of blended windows",
    "device": "auto, cpu, cuda or mps",
    "precision": "float32 or bfloat16",
    "threads": "CPU threads",
}
"""Options of `predict` without an area."""


def _add_image(command: argparse.ArgumentParser) -> None:
    """Let `predict` be used with a model and an image instead of an area."""
    command.usage = (
        "mapmill predict AREA MAP BLOCK OUTPUT\n"
        "       mapmill predict --model MODEL --image IMAGE [options] OUTPUT"
    )
    kinds: dict[str, Callable[[str], Any]] = {"model": Path, "image": Path, "threads": _count}
    kinds |= {"tile": int, "window": int}
    for name, about in IMAGE.items():
        command.add_argument(f"--{name}", type=kinds.get(name, str), help=about)


def _of_image(chosen: dict[str, Any]) -> dict[str, Any] | None:
    """The options of `predict` without an area, taken out of `chosen`; None if there is an area."""
    given = {name: chosen.pop(name) for name in IMAGE}
    places = [chosen[name] for name in ("map", "block", "output")]
    if (given["model"] is None) != (given["image"] is None):
        parser().error("predict: --model and --image go together")
    if given["model"] and any(places):
        parser().error("predict: with --model the only argument is the map to write")
    if not given["model"] and not all(places):
        parser().error("predict: AREA, MAP, BLOCK and OUTPUT, or --model, --image and OUTPUT")
    return {"output": chosen.pop("area")} | given if given["model"] else None


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text}, not 1 to 256")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it worked, 1 after a mistake that the user can mend."""
    chosen = vars(parser().parse_args(arguments))
    command = chosen.pop("command")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # What GDAL has to say comes with our own line; its raw messages would stand before it.
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    sys.unraisablehook = _without_gdal
    try:
        image = _of_image(chosen) if command == "predict" else None
        if image:
            _predict_image(**image)
        elif command in VERSION:
            threads = chosen.pop("threads", None)
            options = {"threads": threads} if threads else {}
            values = [value for value in chosen.values() if value is not None]
            _run_stage(command, values, options)
        else:
            return TOOLS[command](**chosen) or 0
    except MapmillError as error:
        print(f"mapmill {command}: {_with_area(error, chosen.get('area'))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"mapmill {command}: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except MemoryError as error:
        print(f"mapmill {command}: not enough memory ({error}): lower sizes", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in OUTSIDE:
            raise
        where = error.filename2 or error.filename or "the disk"
        remedy = "choose another path" if error.errno in NAMES_OF_FILES else "make room or rights"
        print(f"mapmill {command}: {where}: {error.strerror}: {remedy}", file=sys.stderr)
        return 1
    return 0


def _without_gdal(unraisable: Any) -> None:
    """Say nothing of messages of GDAL that are no text: they quote the bytes of a damaged file."""
    of_gdal = "rasterio" in str(unraisable.object)
    if not (of_gdal and isinstance(unraisable.exc_value, UnicodeDecodeError)):
        sys.__unraisablehook__(unraisable)


NAMES_OF_FILES = (EEXIST, EISDIR, ENAMETOOLONG, ENOTDIR)
"""Errors of the system: folders that are files, files that are folders, names too long."""
OUTSIDE = (*REFUSALS, *NAMES_OF_FILES)
"""Errors of the system that a user can mend: room, rights, names."""


def _with_area(error: MapmillError, area: Path | None) -> str:
    """The message, after the area file where it is a mistake in one and does not say so."""
    is_config = type(error).__name__ == "ConfigError"
    where = one_line(str(area))
    return f"{where}: {error}" if is_config and area and where not in str(error) else str(error)


def _run_stage(stage: str, values: list[str | Path], options: dict[str, int]) -> None:
    # Threads that spin while they wait make a busy machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    log = logging.getLogger("mapmill")
    if "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0":
        log.setLevel(logging.ERROR)  # of several processes the first one speaks
    start = time.monotonic()
    log.info("mapmill %s %s: %s", __version__, stage, " ".join(str(value) for value in values))
    importlib.import_module(f"mapmill.stages.{stage}").run(*values, **options)
    log.info("%s took %.1f s", stage, time.monotonic() - start)


def _predict_image(output: Path, model: Path, image: Path, bands: str | None, **given: Any) -> None:
    from mapmill.predict_image import run, settings_from

    names = [name.strip() for name in bands.split(",")] if bands else None
    run(output, model, image, names, settings_from(given))


def _check(area: Path) -> None:
    from mapmill.areafile import load_area
    from mapmill.chips import find_chips
    from mapmill.extent import blocks_of, skipped_blocks
    from mapmill.layout import Layout

    loaded, layout = load_area(area), Layout(area.stem)
    _check_files(area, loaded)
    if loaded.chips:
        chips = find_chips(loaded.chips)
        said = f"{len(chips)} chips, {sum(chip.mask is not None for chip in chips)} with masks"
    else:
        grid, skipped = loaded.the_grid(), skipped_blocks(loaded)
        said = f"{grid.width} x {grid.height} px, {len(blocks_of(loaded))} blocks"
        if skipped:
            names = " ".join(block.name for block in skipped)
            said += f"; {len(skipped)} outside {loaded.aoi} are skipped: {names}"
    print(f"{area}: {loaded.title}: {said}. What it makes:", file=sys.stderr)
    if loaded.tabulate.units and not loaded.chips:
        print(layout.tabulate)
    for name in loaded.maps:
        if loaded.has_labels:
            # the page too: Snakemake sees no raised version where a rule has got a new output
            print(
                layout.assess(name) / "metrics.json", layout.assess(name) / "scores.html", sep="\n"
            )
        if not loaded.chips:
            print(layout.map(name))
        else:  # chips that are scored are mapped on the way
            for chip in chips:
                if not chip.mask:
                    print(layout.predict(name, chip.name))
    if loaded.compare:  # each trains several models, so a report does not ask for them
        asked = " ".join(str(layout.compare(name)) for name in loaded.compare)
        print(f"Made only when asked for: {asked}", file=sys.stderr)


def _check_files(path: Path, area: Any) -> None:
    """Files on disk that the area names are there."""
    named = [("train.weights", area.train_of(run).weights) for run in area.runs]
    polygons = area.select.split.polygons if area.select else None
    if polygons and not Path(polygons).exists():
        raise ContractError(
            f"{path}: select.split.polygons", f"no {polygons}", "the file", "correct it"
        )
    if area.source != "sample":  # the sample's labels are in its archive
        named.append(("labels", area.labels))
    for key, remote in named:
        if remote and remote.file:
            try:
                regular(Path(remote.file))
            except (OSError, ValueError) as error:
                absent = isinstance(error, FileNotFoundError)
                told = f"no {remote.file}" if absent else f"{remote.file}, {error}"
                where = f"{path}: {key}.file"
                raise ContractError(where, told, "the file", "correct it") from None


def _show(area: Path) -> None:
    from mapmill.areafile import load_area
    from mapmill.layout import Layout

    layout, loaded = Layout(area.stem), load_area(area)
    for name in loaded.maps:
        summary = layout.assess(name) / "summary.txt"
        if not loaded.has_labels:
            made = layout.predict(name, "").parent if loaded.chips else layout.map(name)
            print(f"{area}: {name}: no labels, so no scores\nmap      {made}")
            continue
        if not summary.exists():
            remedy = f"run: snakemake --cores all {layout.assess(name) / 'metrics.json'}"
            raise ContractError(summary, "no scores yet", "an assessed map", remedy)
        print(summary.read_text(encoding="utf-8"))
        if loaded.chips:
            print(f"chips    {layout.predict(name, '').parent}")
        else:
            print(f"map      {layout.map(name)}")
            print(f"picture  {layout.root / 'mosaic' / name / 'map.png'}")
        print(f"scores   {layout.assess(name) / 'metrics.json'}")
        print(f"page     {layout.assess(name) / 'scores.html'}")
    report = layout.root / "report.html"
    print(f"report   {report}" if report.exists() else f"report   make report AREA={area.stem}")


def _losses(area: Path) -> None:
    from mapmill.balance import told

    print(told(area))


def _nets(area: Path | None) -> None:
    from mapmill.nets.table import told

    print(told(area))


def _estimate(area: Path) -> None:
    from mapmill.areafile import load_area
    from mapmill.estimate import estimate, told
    from mapmill.layout import Layout

    loaded = load_area(area)
    print(told(loaded, estimate(loaded, Layout(area.stem))))


def _doctor(area: Path) -> int:
    from mapmill.doctor import examine, is_ready, told

    rows = examine(area)
    print(told(rows, area))
    return 0 if is_ready(rows) else 1


def _grid(raster: Path) -> None:
    from mapmill.raster import inspect

    info = inspect(raster)
    left, top, step = info.transform[2], info.transform[5], info.transform[0]
    right, bottom = left + info.width * step, top - info.height * step
    print("grid:")
    print(f"  crs: {json.dumps(info.crs)}")
    print(f"  resolution: {step!r}")
    print(f"  bounds: [{left!r}, {bottom!r}, {right!r}, {top!r}]")


def _vrt(area: Path, period: str, output: Path) -> None:
    from mapmill.vrt import run

    run(area, period, output)


def _schema() -> None:
    from mapmill.config import Area

    print(json.dumps(Area.model_json_schema(), indent=1, sort_keys=True))


def _simulate(out: Path, size: int, seed: int, **options: Any) -> None:
    from mapmill.simulate import run

    run(out, size, seed, **options)


def _sample(area: Path, **options: Any) -> None:
    from mapmill.sample import run

    run(area, options["map"])


def _areas(area: Path, sample: Path, units: Path | None, **options: Any) -> None:
    from mapmill.area_estimates import run

    print(run(area, options["map"], sample, units, options["layer"], options["name"]))


TOOLS: dict[str, Callable[..., int | None]] = {
    "check": _check,
    "show": _show,
    "losses": _losses,
    "nets": _nets,
    "estimate": _estimate,
    "doctor": _doctor,
    "grid": _grid,
    "vrt": _vrt,
    "schema": _schema,
    "simulate": _simulate,
    "sample": _sample,
    "areas": _areas,
}
