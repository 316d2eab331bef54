"""Prediction of a window by one net. Needs torch and numpy alone; fed with arrays.

exact: a tile's origin lies on a multiple of the net's stride, counted from the grid's origin,
and its halo is at least the net's reach. blend: overlapping windows of a lattice that starts at
the grid's origin, averaged with weights. In both a pixel's result does not depend on tile or
block. Beyond the area's edge the image is its own mirror.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapmill import blend, pixels
from mapmill.channels import reach_of, without_end
from mapmill.errors import ContractError
from mapmill.freed import keep_freed_memory
from mapmill.grid import Window
from mapmill.inputs import inputs_of, tensor_of
from mapmill.mirror import Reader, Seen, read_reflected
from mapmill.nets.fold import folded
from mapmill.nets.heads import vote
from mapmill.nets.model import Card, Net
from mapmill.nets.probe import reach
from mapmill.plan import Lattice, Plan, is_exact, lattice_of, tiles_of, work
from mapmill.turns import mean_of_turns

Array = NDArray[Any]
SMALL = 20_480
"""Values of one image up to which PyTorch does not use oneDNN (ConvParams::use_mkldnn)."""
BATCH_PX = 2**20
"""Pixels of the windows that go through a net at once, unless one alone has more."""
Kept = dict[Window, Array]
"""Weighted probabilities of windows that reach below what was mapped."""


class Shot(NamedTuple):
    """One passage through the net."""

    inner: Window
    """The pixels that it gives probabilities to."""
    frame: Window
    """What the net is given."""


@dataclass
class Predictor:
    """A net on a device, and how it is shown the ground."""

    net: Net
    card: Card
    device: torch.device
    plan: Plan
    halo: int
    """Pixels around a tile that are read: the reach of the net and of the channels that it is
    shown; of blended windows that of the channels alone."""
    lattice: Lattice | None = None
    """Of blended windows; None where tiles are exact."""
    batch_px: int = BATCH_PX
    """Halved when memory runs out."""
    name: str = "net"
    """For messages."""

    @classmethod
    def of(
        cls, net: Net, card: Card, device: torch.device, plan: Plan | None = None, name: str = "net"
    ) -> "Predictor":
        """Measure the reach where nobody did, choose the mode and move the net to its device.

        Raises
        ------
        ContractError
            naming the model, if `plan.mode` is exact and the net sees without end, or windows are
            to be blended and nobody says how large.
        """
        plan = plan or Plan()
        if plan.vote and card.head != "multi-resolution":
            remedy = "set predict.vote: false"
            raise ContractError(name, f"head {card.head}", "head multi-resolution", remedy)
        far = card.reach
        if far is None:
            far = reach(net, len(card.inputs), net.stride)
        around = reach_of(card.channels)
        ends = isinstance(far, int) and not without_end(card.channels)
        ends = ends and (card.net != "smp" or int(far) <= plan.context)
        halo = int(far) + around if ends else None
        if device.type == "cpu":
            keep_freed_memory()
        ready = net if card.net == "smp" else folded(net)
        ready.all_heads = plan.vote
        moved = ready.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if is_exact(plan, halo, name):
            assert halo is not None
            return cls(moved, card, device, plan, halo, name=name)
        side = plan.window or card.size
        if side is None:
            remedy = "set predict.window to the side of the patches that it learnt from"
            raise ContractError(name, "no side of its patches", "one in its card", remedy)
        shown = net.fits(side) - 2 * net.margin
        lattice = lattice_of(shown, net.stride, plan.overlap)
        return cls(moved, card, device, plan, around, lattice, name=name)

    @property
    def told(self) -> str:
        """The mode and its numbers, on one line."""
        if self.lattice is None:
            extra = work(self.plan.tile, self.halo)
            return f"exact, halo {self.halo} px, {extra:.2f} times the work of tiles without one"
        times = (self.lattice.side / self.lattice.step) ** 2
        return (
            f"blend, windows of {self.lattice.side} px every {self.lattice.step} px, "
            f"{self.plan.weights} weights, {times:.2f} times the work of windows without overlap"
        )

    def units(self, window: Window) -> Iterator[Window]:
        """A window in parts that are worked on at once; they do not change the result.

        Exact tiles go in squares; blended windows in strips, whose lower neighbours go on from
        the windows that they share.
        """
        if self.lattice is None:
            step = -(-self.plan.tile // self.net.stride) * self.net.stride
            yield from tiles_of(window, step * max(1, 1024 // step), self.net.stride)
            return
        step = self.lattice.step
        rows = max(step, self.plan.tile**2 // window.width // step * step)
        for top in range(window.row // step * step, window.row_end, rows):
            part = Window(top, window.col, rows, window.width).intersect(window)
            assert part is not None
            yield part

    def around(self, unit: Window) -> Window:
        """What has to be seen for a unit."""
        frames = [shot.frame for shot in self._shots(unit)]
        top, left = min(f.row for f in frames), min(f.col for f in frames)
        bottom, right = max(f.row_end for f in frames), max(f.col_end for f in frames)
        return Window(top, left, bottom - top, right - left)

    def probabilities(self, window: Window, grid: Window, read: Reader) -> Array:
        """Probabilities (class, y, x) float32 of a window of the grid."""
        return self.shown(window, read_reflected(self.around(window), grid, read))

    def shown(self, unit: Window, seen: Seen, kept: Kept | None = None) -> Array:
        """Probabilities (class, y, x) float32 of a unit; 0 for tiles without a valid pixel.

        Parameters
        ----------
        kept : of the unit above, from the same image; it is brought up to date

        Raises
        ------
        ContractError
            if the image has other bands than the model was shown, or logits are no numbers.
        """
        card, bands = self.card, len(seen.image_BYX)
        if not card.periods and bands != len(card.bands):
            expected = f"{len(card.bands)}: {', '.join(card.bands)}"
            raise ContractError(self.name, f"imagery of {bands} bands", expected, "rerun compose")
        shots = [shot for shot in self._shots(unit) if _has_valid(shot.inner, unit, seen)]
        if self.lattice is None:
            return self._side_by_side(unit, shots, seen)
        return self._blended(unit, shots, seen, {} if kept is None else kept)

    def _shots(self, unit: Window) -> list[Shot]:
        net = self.net
        if self.lattice is None:
            return [
                Shot(tile, _aligned(tile.grow(self.halo), net))
                for tile in tiles_of(unit, self.plan.tile, net.stride)
            ]
        side, around = self.lattice.side, net.margin + self.halo
        inner = [
            Window(row, col, side, side)
            for row in self.lattice.touching(unit.row, unit.row_end)
            for col in self.lattice.touching(unit.col, unit.col_end)
        ]
        return [Shot(window, window.grow(around)) for window in inner]

    def _side_by_side(self, unit: Window, shots: list[Shot], seen: Seen) -> Array:
        if [shot.inner for shot in shots] == [unit]:
            return next(self._softmaxes(shots, seen))
        result_KYX = np.zeros((len(self.card.classes), unit.height, unit.width), np.float32)
        for shot, p_KYX in zip(shots, self._softmaxes(shots, seen), strict=True):
            result_KYX[:, *shot.inner.slices(unit)] = p_KYX
        return result_KYX

    def _blended(self, unit: Window, shots: list[Shot], seen: Seen, kept: Kept) -> Array:
        """The weighted mean over windows, summed row by row of the lattice."""
        assert self.lattice is not None
        weight = blend.weights(self.plan.weights, self.lattice.side)
        total_KYX = np.zeros((len(self.card.classes), unit.height, unit.width), np.float32)
        fresh = self._softmaxes([s for s in shots if s.inner not in kept], seen)
        for inner, _ in shots:
            part_KYX = kept.get(inner)
            if part_KYX is None:
                part_KYX = next(fresh) * (weight[:, None] * weight)
            if inner.row_end > unit.row_end:
                kept[inner] = part_KYX
            both = inner.intersect(unit)
            assert both is not None
            total_KYX[:, *both.slices(unit)] += part_KYX[:, *both.slices(inner)]
        below = Window(unit.row_end, unit.col, 1, unit.width)
        for inner in [window for window in kept if not window.intersect(below)]:
            del kept[inner]
        rows = blend.sums(weight, self.lattice, unit.row, unit.row_end)
        cols = blend.sums(weight, self.lattice, unit.col, unit.col_end)
        return np.asarray(total_KYX / (rows[:, None] * cols))

    def _softmaxes(self, shots: Sequence[Shot], seen: Seen) -> Iterator[Array]:
        """Probabilities (class, y, x) of each shot, in order; equal sizes go in batches."""
        if self.lattice is not None and self.device.type == "cpu":
            yield from self._in_threads(shots, seen)
            return
        for size, group in groupby(shots, lambda shot: (shot.frame.height, shot.frame.width)):
            alike = list(group)
            while alike:
                count = max(1, self.batch_px // (size[0] * size[1]))
                try:
                    found = self._batch(alike[:count], seen)
                except torch.OutOfMemoryError:
                    self._halve(min(count, len(alike)), size)
                    continue
                yield from found
                alike = alike[count:]

    def _in_threads(self, shots: Sequence[Shot], seen: Seen) -> Iterator[Array]:
        """The same of windows that are blended on the CPU: one by one, each in a thread.

        What is summed over a whole image is rounded otherwise in a batch, so that blocks would
        leave traces; and a small window in one thread is quicker than shared by several.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # of this thread, and of those that begin from now on
        try:
            with ThreadPoolExecutor(threads, "window") as pool:
                waiting: deque[Future[list[Array]]] = deque()
                for shot in shots:
                    waiting.append(pool.submit(self._batch, [shot], seen))
                    if len(waiting) > threads:  # one more than is worked on
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
        finally:
            torch.set_num_threads(threads)

    def _halve(self, count: int, size: tuple[int, int]) -> None:
        """Let half as many windows through the net at once from now on."""
        if count == 1:
            found = f"no room for one image of {size[0]} x {size[1]} px"
            remedy = "lower predict.tile, or set predict.device: cpu"
            raise ContractError(f"memory of {self.device}", found, "enough", remedy) from None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.batch_px = count // 2 * size[0] * size[1]

    @torch.inference_mode()
    def _batch(self, shots: Sequence[Shot], seen: Seen) -> list[Array]:
        """The net on windows of one size."""
        turns = self.plan.turns
        if turns == 1:
            # the images are let go before the net begins
            found_NKHW = self._logits(self._shown(shots, seen))
        else:
            found_NKHW = mean_of_turns(self._probable, *self._images(shots, seen), turns)
        result = []
        for shot, found_KHW in zip(shots, found_NKHW, strict=True):
            rows, cols = shot.inner.slices(self._given(shot.frame).grow(-self.net.margin))
            inner_KYX = found_KHW[None, :, rows, cols]
            p_KYX = self._softmax(inner_KYX)[0] if turns == 1 else inner_KYX[0].contiguous()
            result.append(p_KYX.cpu().numpy())
        return result

    def _shown(self, shots: Sequence[Shot], seen: Seen) -> Tensor:
        """What the net takes of windows of one size."""
        card, kind = self.card, seen.image_BYX.dtype.name
        is_made = card.periods or card.channels or card.without
        if is_made or self.device.type != "cpu" or kind not in pixels.VALUES:
            return inputs_of(*self._images(shots, seen), card)
        shift_B = np.array(card.shift or card.mean, np.float32)
        scale_B = np.array(card.scale or card.sd, np.float32)
        scale_B = np.where(scale_B > 0, scale_B, np.float32(1))
        frame = shots[0].frame
        shown_NHWC = np.empty((len(shots), frame.height, frame.width, len(shift_B)), np.float32)
        for shot, shown_HWC in zip(shots, shown_NHWC, strict=True):
            rows, cols = shot.frame.slices(seen.window)
            image_BYX, valid_YX = seen.image_BYX[:, rows, cols], seen.valid_YX[rows, cols]
            pixels.normalised(image_BYX, valid_YX, shift_B, scale_B, shown_HWC)
        return torch.from_numpy(shown_NHWC).permute(0, 3, 1, 2)

    def _softmax(self, logits_NKYX: Tensor) -> Tensor:
        """Probabilities (N, K, y, x) float32.

        Raises
        ------
        ContractError
            if logits are infinite or no numbers.
        """
        logits_NKYX = logits_NKYX.float()
        if self.device.type == "cpu":
            each = [pixels.probabilities(logits_KYX.numpy()) for logits_KYX in logits_NKYX]
            parts = [torch.from_numpy(p_KYX) for p_KYX, _ in each]
            p_NKYX = torch.stack(parts) if len(parts) > 1 else parts[0][None]  # not copied
            wrong = sum(count for _, count in each)
        else:
            p_NKYX = logits_NKYX.softmax(1)
            wrong = int(p_NKYX.isnan().any(dim=1).sum())
        if wrong:
            found = f"{wrong} pixels whose logits are infinite or no numbers"
            remedy = "set predict.precision: float32, or train it again"
            raise ContractError(self.name, found, "numbers", remedy)
        return p_NKYX

    def _images(self, shots: Sequence[Shot], seen: Seen) -> tuple[Tensor, Tensor]:
        """Bands as they are in the imagery, and validity, of windows of one size."""
        places = [shot.frame.slices(seen.window) for shot in shots]
        images = np.stack([seen.image_BYX[:, rows, cols] for rows, cols in places])
        valid_NHW = torch.from_numpy(np.stack([seen.valid_YX[place] for place in places]))
        return tensor_of(images, self.device), valid_NHW.to(self.device)

    def _probable(self, image_NCHW: Tensor, valid_NHW: Tensor) -> Tensor:
        """Probabilities of bands as they are in the imagery."""
        return self._softmax(self._logits(inputs_of(image_NCHW, valid_NHW, self.card)))

    def _given(self, frame: Window) -> Window:
        """What of a frame the net is given: not what the channels of blended windows look at."""
        return frame if self.lattice is None else frame.grow(-self.halo)

    def _logits(self, x_NCHW: Tensor) -> Tensor:
        if self.lattice is not None and self.halo:
            x_NCHW = x_NCHW[..., self.halo : -self.halo, self.halo : -self.halo]
        margin, (count, _, height, width) = self.net.margin, x_NCHW.shape
        # PyTorch convolves one small image by other code than a large one; two are never small.
        smallest = min(len(self.card.inputs), self.card.width / 2 ** (self.card.depth + 1))
        is_small = smallest * (height - 2 * margin) * (width - 2 * margin) <= SMALL
        if is_small and count == 1:
            x_NCHW = x_NCHW.expand(2, -1, -1, -1)
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        half = self.plan.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            found = self.net(x_NCHW)
        logits_NKHW: Tensor = vote(found) if self.plan.vote else found
        return logits_NKHW[:count]


def _aligned(window: Window, net: Net) -> Window:
    """The window, larger where the net's stride asks for it."""
    start = [edge // net.stride * net.stride for edge in (window.row, window.col)]
    ends = (window.row_end, window.col_end)
    return Window(*start, *(net.fits(end - s) for end, s in zip(ends, start, strict=True)))


def _has_valid(inner: Window, unit: Window, seen: Seen) -> bool:
    part = inner.intersect(unit)
    return part is not None and bool(seen.valid(part).any())
