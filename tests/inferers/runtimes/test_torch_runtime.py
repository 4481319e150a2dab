"""Batch norms are folded where that changes nothing, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from masksup_med.bundle import Bundle, Predictor
from masksup_med.inferers.runtimes.torch_runtime import TorchRuntime, fold_batch_norms
from tests.bundle.bundles import TINY_UNET, write_bundle

CPU = torch.device("cpu")


class Backwards(nn.Sequential):
    """Runs its parts in another order than it lists them."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        for part in reversed(self):
            image = part(image)
        return image


class Parts(nn.Module):
    """A convolution and a norm of which only their own forward knows the order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(image))


class SharedAfter(nn.Module):
    """One norm and activation, after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        after = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
        self.first, self.second = (nn.Sequential(nn.Conv2d(3, 3, 3), after) for _ in range(2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(image))


def with_old_weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))


FOLDED: dict[str, Callable[[], nn.Module]] = {
    "sequence": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "without bias": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "groups, strides and padding": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3, padding_mode="reflect"), nn.BatchNorm2d(6)
    ),
    "norm without weights": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
    "sequence in a sequence": lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Sequential(nn.BatchNorm2d(4)), nn.Sigmoid()))
    ),
    "MONAI's convolution": lambda: Convolution(2, 3, 4, norm="batch", adn_ordering="NDA", dropout=0.5),
    "MONAI's residual unit": lambda: ResidualUnit(2, 3, 4, norm="batch"),
}
KEPT: dict[str, Callable[[], nn.Module]] = {
    "a forward of its own": lambda: Backwards(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)),
    "no sequence": Parts,
    "norm shared in a sequence": SharedAfter,
    "one convolution twice": lambda: nn.Sequential(
        shared := nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), shared, nn.BatchNorm2d(3)
    ),
    "one norm twice": lambda: nn.Sequential(
        nn.Conv2d(3, 3, 3), shared := nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3), shared
    ),
    "no running statistics": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    "norm first": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    "something between": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    "activation first": lambda: Convolution(2, 3, 4, norm="batch", adn_ordering="AN"),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)),
    "instance norm": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    ),
}


def made(make: Callable[[], nn.Module]) -> nn.Module:
    """A network in evaluation whose norms do much."""
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            for values in (module.weight, module.running_var):
                if values is not None:
                    values.data.uniform_(0.5, 1.5)
            for values in (module.bias, module.running_mean):
                if values is not None:
                    values.data.normal_()
    return network.eval()


def norms_of(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def check_same(network: nn.Module, folded: Callable[[torch.Tensor], torch.Tensor], *size: int) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), network(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FOLDED)
def test_folded(name: str) -> None:
    network = made(FOLDED[name])
    folded = fold_batch_norms(network)
    assert folded is not None and norms_of(network) > 0 == norms_of(folded)
    check_same(network, folded, 12, 14)


@pytest.mark.parametrize("name", KEPT)
def test_left_as_it_is(name: str) -> None:
    network = made(KEPT[name])
    folded = fold_batch_norms(network) or network
    assert norms_of(folded) == norms_of(network) and str(folded) == str(network)
    check_same(network, folded, 12, 14)


def test_three_dimensions() -> None:
    network = made(lambda: Convolution(3, 3, 4, norm="batch"))
    runtime = TorchRuntime(network, CPU, amp=False)
    check_same(network, runtime, 6, 7, 8)
    assert norms_of(network) > 0 == norms_of(runtime._network)  # from the first images on


@pytest.mark.filterwarnings("ignore")
def test_a_folded_network_that_says_something_else_is_not_used() -> None:
    """A hook puts the unfolded weights back."""
    network = made(with_old_weight_norm)
    check_same(network, TorchRuntime(network, CPU, amp=False), 12, 14)


def test_images_are_left_as_they_are_and_answers_have_no_gradient() -> None:
    network = made(FOLDED["sequence"])
    images = torch.rand(2, 3, 9, 10, generator=torch.Generator().manual_seed(0), requires_grad=True)
    before = images.detach().clone()
    answer = TorchRuntime(network, CPU, amp=False)(images)
    assert torch.equal(images.detach(), before)
    assert not answer.requires_grad and answer.dtype == torch.float32


def test_mixed_precision_is_told_and_answers_in_32_bits() -> None:
    network = made(FOLDED["sequence"])
    images = torch.rand(1, 3, 9, 10, generator=torch.Generator().manual_seed(0))
    mixed = TorchRuntime(network, CPU, amp=True)
    answer, plain = mixed(images), TorchRuntime(network, CPU, amp=False)(images)
    assert mixed.precision == "mixed" and answer.dtype == torch.float32
    assert 0 < (answer - plain).abs().max() < 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("device", [None, "auto"])
def test_a_bundle_can_be_given_to_two_predictors(tmp_path: Path, device: str | None) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "norms", {**TINY_UNET, "norm": "batch"}))
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    first, second = (Predictor(bundle, device)(picture) for _ in range(2))
    np.testing.assert_array_equal(first.probability, second.probability)
