"""Files that lost their end or pages in a power cut: the next stage says so, and by which file."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from chain_steps import command_of, contents, run

PAGE = 4096
READERS = {
    "search/2018-04.json": ["compose"],
    "compose/2018-04/r000c000.tif": ["select", "pack", "calibrate", "predict", "mosaic"],
    "compose/2018-04/quality/r000c000.tif": ["select"],
    "downsample/r000c000.tif": ["select", "pack", "calibrate", "assess"],
    "downsample/r000c000.csv": ["select"],
    "select/tiles.csv": ["pack", "calibrate", "assess"],
    "select/shift.json": ["assess"],
    "select/leak.json": ["assess"],
    "pack/patches.zarr/zarr.json": ["train", "assess", "compare"],
    "pack/patches.zarr/image/c/1/0/0/0": ["train"],
    "pack/patches.zarr/label/c/1/0/0": ["train"],
    "pack/patches.zarr/split/c/0": ["train"],
    "train/unet-1/model.safetensors": ["calibrate", "predict", "compare"],
    "predict/landcover/r000c000.tif": ["mosaic"],
    "_landcover.tif": ["vectorise", "assess", "tabulate"],
}
"""End of a file's name -> the stages that read it."""
DAMAGES = ["half", "empty", "page 1", "page 2", "end"]
QUICK = {
    ("compose/2018-04/r000c000.tif", "predict", "page 1"),
    ("compose/2018-04/r000c000.tif", "predict", "end"),
    ("downsample/r000c000.csv", "select", "empty"),
    ("select/tiles.csv", "assess", "half"),
    ("predict/landcover/r000c000.tif", "mosaic", "page 1"),
    ("_landcover.tif", "tabulate", "half"),
}
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.full)
    for file, readers in READERS.items()
    for reader in readers
    for damage in DAMAGES
    for case in [(file, reader, damage)]
]


@pytest.fixture(scope="module")
def tally():
    """What came of each file's damages; told at the end."""
    counted = Counter()
    yield counted
    print("\n| file | damages | one line | right all the same |")
    for file in READERS:
        numbers = [counted[file, name] for name in ("line", "same")]
        print(f"| `{file}` | {sum(numbers)} | {numbers[0]} | {numbers[1]} |")


def damaged(content, damage):
    """A file as a power cut may leave it: cut off, or with a page of zeros."""
    if damage in ("half", "empty"):
        return content[: len(content) // 2] if damage == "half" else b""
    pages = -(-len(content) // PAGE)
    which = pages - 1
    if damage != "end":
        which = np.random.default_rng(int(damage[-1])).integers(pages)
    zeros = bytes(min(PAGE, len(content) - which * PAGE))
    return content[: which * PAGE] + zeros + content[which * PAGE + len(zeros) :]


@pytest.mark.parametrize(("file", "reader", "damage"), CASES)
def test_a_torn_file_is_never_another_map(reference, folder, tally, file, reader, damage):
    """A file that is not what was written would become a map that nobody doubts.

    Where the damage is in what the reader has no use for, its output is the right one.
    """
    reference.lay(reader)
    before = contents()
    (name,) = [name for name in before if name.endswith(file)]
    Path(name).write_bytes(damaged(before[name], damage))
    status, said = run(command_of(reader))
    tally[file, "line" if status else "same"] += 1
    if status:
        lines = [line for line in said.splitlines() if line.startswith(f"mapmill {reader}: ")]
        assert len(lines) == 1 and "Traceback" not in said, said
        assert str(Path(name).parent) in lines[0] or "patches.zarr" in lines[0], lines
        assert any(word in lines[0] for word in ("rerun", "delete", "train it again")), lines
    found = {name: content for name, content in contents().items() if name not in before}
    assert found.items() <= reference.written[reader].items()
    assert status or found == reference.written[reader]
