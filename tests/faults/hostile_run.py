"""Damage files of every format and tell how each ended: JSON on standard output.

    python -m faults.hostile_run SHARE PART PARTS    (below tests/; one part of the formats)
    python -m faults.hostile_run bombs

In a process of its own, which starts no threads, so that it can be forked for each input.
"""

import contextlib
import importlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from faults.hostile_bombs import BOMBS, aim
from faults.hostile_child import CASE, as_json, judged
from faults.hostile_formats import FORMATS
from listener import Listener

LOADED = ["search", "download", "compose", "downsample", "predict"]


def main(share, part="0", parts="1"):
    """Print the verdicts of the formats of a part, tried by their share of the full number."""
    for stage in LOADED:  # once, before the forks
        importlib.import_module(f"mapmill.stages.{stage}")
    importlib.import_module("h5py")
    if share == "bombs":
        json.dump(bombed(), sys.stdout)
        return
    told = {}
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        for each in FORMATS[int(part) :: int(parts)]:
            told[each.name] = tried(each, Path(folder) / str(len(told)), float(share))
    json.dump(told, sys.stdout)


def bombed():
    """The verdict of each bomb, by name, and how often it was aimed at a port that listens."""
    formats, told, listener = {each.name: each for each in FORMATS}, {}, Listener()
    with tempfile.TemporaryDirectory(prefix="hostile-") as place:
        goods = {}
        for number, bomb in enumerate(BOMBS):
            each = formats[bomb.format]
            if each.name not in goods:
                good = Path(place) / f"good-{number}"
                goods[each.name] = (good, made(each, good), undamaged(each, good))
            good, victims, right = goods[each.name]
            case = put(good, Path(place))
            os.chdir(case / "project")
            bomb.spoil(Path(victims[0]))
            aimed = aim(Path(victims[0]), listener.port)
            os.chdir(place)
            verdict = as_json(judged(case, each.work, right))
            asked = listener.asked()
            if asked:
                verdict["kind"] = f"asked an address {asked} times: {verdict['kind']}"
            told[bomb.name] = verdict | {"ends": bomb.ends, "aimed": aimed}
            shutil.rmtree(case)
    return told


def put(good, place):
    """A copy of the good project where its case is watched, beside files that are not its own."""
    case = place / CASE
    shutil.copytree(good, case, symlinks=True)
    for folder in case.relative_to(place).parents[:-1]:
        (place / folder / "own.txt").write_text("# my own\n")
    return case


def undamaged(each, good):
    """The result of the good project's file, made in a copy."""
    case = put(good, good.parent)
    kept = good.with_name("right.json")

    def work():
        kept.write_text(json.dumps(each.work()))

    verdict = judged(case, work)
    shutil.rmtree(case)
    assert verdict.kind == "same", (each.name, verdict)
    right = json.loads(kept.read_text())
    kept.unlink()
    return right


def tried(each, folder, share):
    """The verdicts of one format, the undamaged file's first."""
    good = folder / "good"
    victims = made(each, good)
    right, verdicts = undamaged(each, good), []
    for seed in range(max(1, round(each.tried * share))):
        dice = random.Random(f"{each.name} {seed}")
        case = put(good, folder)
        victim = case / "project" / dice.choice(victims)
        damage, content = each.damage(victim.read_bytes(), dice)
        victim.write_bytes(content)
        verdict = as_json(judged(case, each.work, right))
        verdicts.append({"damage": damage, "seed": seed, "file": victim.name} | verdict)
        shutil.rmtree(case)
    return verdicts


def made(each, folder):
    """Write the good project, in a forked child: its threads are not to be in this process."""
    project = folder / "project"
    project.mkdir(parents=True)
    (folder / "outside.txt").write_text("not yours")
    names = folder.with_name("victims.json")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(project)
            with contextlib.redirect_stdout(io.StringIO()):  # the verdicts stand there
                names.write_text(json.dumps([str(path) for path in each.make()]))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, each.name
    found = json.loads(names.read_text())
    names.unlink()
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
