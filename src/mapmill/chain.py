"""The stages, in the order of the chain, and the version of each one's output.

Raise a number when the stage would write something else from equal inputs and settings:
that, and nothing else in the code, makes the workflow run the stage again. The numbers stand
here and not in the modules so that planning need not import torch, numba or GDAL.
"""

VERSION = {
    "search": 1,
    "download": 1,
    "compose": 4,
    "downsample": 3,
    "select": 4,
    "pack": 4,
    "train": 7,
    "calibrate": 4,
    "predict": 6,
    "mosaic": 5,
    "vectorise": 1,
    "assess": 7,
    "tabulate": 2,
    "compare": 4,
}
