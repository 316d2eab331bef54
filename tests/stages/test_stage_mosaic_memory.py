"""mosaic in memory that does not grow with the map."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from making import LEFT, STEP, TOP
from stages.stage_steps import PERIOD, area_with, write_blocks

PEAK = """
import re, sys
from pathlib import Path
from mapmill.cli import main
assert main(sys.argv[1:]) == 0
print(int(re.search("VmHWM:.* ([0-9]+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
"""
"""A process that runs a command and prints the most memory that it held, in MiB; what is told of
its resources would count the process that started it as well."""


@pytest.mark.full
@pytest.mark.parametrize("mosaic", [{}, {"minimum_px": 50, "opening": {2: 1}}], ids=["", "filters"])
def test_memory_does_not_grow_with_the_map(small_area, mosaic):
    """Otherwise a map of a country would need a machine that nobody has."""
    peaks = []
    for side in (2000, 8000):
        name = f"side{side}"
        bounds = [LEFT, TOP - side * STEP, LEFT + side * STEP, TOP]
        area = area_with(name, grid={"bounds": bounds, "block": 1000}, mosaic=mosaic)
        random = np.random.default_rng(5)
        class_YX = np.kron(random.integers(1, 4, (side // 20,) * 2), np.ones((20, 20), int))
        class_YX[random.random(class_YX.shape) < 0.02] = 1
        share_YX = random.integers(34, 101, class_YX.shape)
        result_BYX = np.stack([class_YX, share_YX]).astype(np.uint8)
        write_blocks(area, "predict/landcover", result_BYX, ["class", "confidence"])
        image_BYX = np.repeat(20 * share_YX[None], 3, axis=0).astype(np.uint16)
        write_blocks(area, f"compose/{PERIOD}", image_BYX, ["B02", "B03", "B04"])
        outputs = [Path(name, each) for each in ("map.tif", "map.json", "extra.tif", "map.png")]
        command = [sys.executable, "-c", PEAK, "mosaic", area, "landcover", *outputs]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks.append(float(done.stdout))
    print(f"peak of mosaic, MiB: {peaks}")
    assert peaks[1] < 1.15 * peaks[0]
