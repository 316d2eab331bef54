"""Training on a CUDA GPU: it learns, as the CPU does, and both map alike. `pytest -m gpu`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.test_fit import CARD, fit, patches
from unit.test_golden_loss import DESIGNS, GOLDEN, losses
from unit.test_overfit_nets import fitted

from mapmill.feed import ahead, batches
from mapmill.nets.model import build
from mapmill.resident import Held

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("compile", [False, True])
def test_eight_patches_are_learnt_by_heart(precision, compile):
    """Otherwise a GPU would train something else, or nothing."""
    done = fitted(device="cuda", precision=precision, compile=compile)
    assert isinstance(done.train.image, Held)  # they fit into any GPU
    assert max(look.val_mean_iou for look in done) > 0.99


@pytest.mark.parametrize("name", DESIGNS)
def test_the_first_losses_are_those_of_the_cpu(name):
    """Otherwise a model would depend on where it was trained by more than rounding."""
    assert losses(**DESIGNS[name], device="cuda") == pytest.approx(GOLDEN[name], rel=5e-3)  # TF32


def test_batches_are_those_of_the_cpu_wherever_they_come_from():
    """Otherwise copies would overtake the net, or augmentation differ between machines."""
    settings = {"jitter": 0.1, "noise": 0.1, "cutmix": 0.5, "crop": 24, "batch": 3}
    expected = fit(**settings)
    for resident in (False, True):
        done = fit(**settings, device="cuda", resident=resident)
        there = ahead(batches(done.train, done.chosen, 1, CUDA), CUDA)
        here = batches(expected.train, expected.chosen, 1)
        for _ in range(10):
            for found, wanted in zip(next(there)[:2], next(here)[:2], strict=True):
                assert found.device.type == "cuda"
                torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-5)
        there.close()


def test_one_net_maps_alike_on_both():
    """Otherwise a map would show which machine made it."""
    torch.manual_seed(2)
    net = build(replace(CARD, width=16)).eval()
    image = patches(4, 64).batch(np.arange(4))[0]
    with torch.inference_mode():
        on_cpu = net(image)
        on_gpu = net.to(CUDA, memory_format=torch.channels_last)(image.to(CUDA)).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-2, atol=1e-2)
    assert (on_gpu.argmax(1) == on_cpu.argmax(1)).float().mean() > 0.999
