"""How far a net sees, by arithmetic: for planning, where no net is built. Pure Python."""

from mapmill.design import Design

RESNETS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "resnet18": (2, (2, 2, 2, 2)),
    "resnet34": (2, (3, 4, 6, 3)),
    "resnet50": (1, (3, 4, 6, 3)),
}
"""3 x 3 convolutions in a block, and blocks in each of the four layers."""


def reach_bound(design: Design) -> int | None:
    """Pixels beyond which no input pixel changes the output of a U-Net; never too few.

    A 3 x 3 convolution at stride s adds s pixels on each side. The decoder then gives one value
    of its coarsest level to a square of that level's stride: its far edge lies stride - 1 away.
    Bilinear up-sampling to stride s takes in a neighbour, which adds s. Gates, residual
    connections and heads look at single pixels; unpadded convolutions see what padded ones do.

    Returns
    -------
    None where there is no bound, or no arithmetic that knows it (segmentation-models-pytorch)
    """
    if design.net != "unet" or design.sees_all:
        return None
    if design.encoder == "plain":
        down, halvings = sum(2 << level for level in range(design.depth + 1)), design.depth
    else:
        down, halvings = _resnet(*RESNETS[design.encoder]), 5
    each = 3 if design.upsample == "bilinear" else 2
    up = sum(each << level for level in range(halvings))
    return down + up + (1 << halvings) - 1


def _resnet(convolutions: int, blocks: tuple[int, int, int, int]) -> int:
    """Pixels that a ResNet's deepest feature sees on each side of its own place."""
    pixels, stride = 3 + 2, 4  # 7 x 7 at stride 1, pooling of 3 x 3 at stride 2
    for layer, count in enumerate(blocks):
        halving = layer > 0  # its first convolution still sees the finer level
        pixels += stride if halving else 0
        stride *= 2 if halving else 1
        pixels += (convolutions * count - halving) * stride
    return pixels
