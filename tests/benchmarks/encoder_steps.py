"""What a training step of U-Nets on EfficientNet-Lite costs on a CPU, as more and more of it is left out.

    python -m tests.benchmarks.encoder_steps

prints the table of docs/reports/released-models.md in three minutes: forward and backward of 16 views of 256 × 256, the
least of three steps after the first.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from masksup_med.networks import TimmUNet

VIEWS, SIDE, STEPS = 16, 256, 3
GROUP = ("group", {"num_groups": 8})
FROZEN: dict[str, Any] = {"frozen": ["conv_stem", "bn1", "blocks.0", "blocks.1"], "fixed_statistics": True}
COARSE: dict[str, Any] = {"out_indices": [1, 2, 3, 4], "norm": GROUP, "decoder_channels": 128}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "Lite0, all features, decoder of 128 channels, batch norm": ("lite0", {"decoder_channels": 128}),
    "its stem and first two stages frozen, its statistics fixed": ("lite0", {"decoder_channels": 128, **FROZEN}),
    "without the finest features, too; group norm in the decoder": ("lite0", {**COARSE, **FROZEN}),
    "the same, nothing frozen": ("lite0", {**COARSE, "fixed_statistics": True}),
    "the same, frozen, Lite2 in place of Lite0": ("lite2", {**COARSE, **FROZEN}),
    "and a decoder of 96 channels: as released": ("lite2", {**COARSE, **FROZEN, "decoder_channels": 96}),
}


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"| U-Net on EfficientNet, {torch.get_num_threads()} threads | ms a view |\n|---|---:|")
    for name, (encoder, options) in NETWORKS.items():
        print(f"| {name} | {step(encoder, options) / VIEWS * 1e3:.0f} |", flush=True)


def step(encoder: str, options: dict[str, Any]) -> float:
    """Seconds of a step."""
    network = TimmUNet(3, 1, f"tf_efficientnet_{encoder}", **options).to(memory_format=torch.channels_last).train()
    views = torch.rand(VIEWS, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    spent = []
    for _ in range(STEPS + 1):
        begun = time.perf_counter()
        network(views).mean().backward()
        spent.append(time.perf_counter() - begun)
    return min(spent[1:])


if __name__ == "__main__":
    main()
