"""``masksup networks``: the networks that there are, their size and their speed here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from masksup_med.networks import NetworkEntry

__all__ = ["add"]

_SIDE = 128
_INTRODUCTION = """\
# Networks

Chosen by the overlay `network/NAME.yaml`. This is what `masksup networks` prints: run it for the speed of your machine.

Parameters: for 3 channels in and 1 class. Forward: one image of {side} x {side} pixels, with torch {torch} on {threads}
threads of a CPU. The licence is that of the code; the weights that `weights: imagenet` downloads have their own.
"""
_HEADER = ["name", "parameters", "forward", "dimensions", "source", "licence", "ImageNet weights"]
_RULE = ["---", "---:", "---:", "---", "---", "---", "---"]


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "networks",
        help="list the networks, with their size and their speed on this machine",
        description="List the networks as a table in Markdown, after timing each on this machine, which takes half a "
        "minute. One that is called NAME there is chosen by the overlay network/NAME.yaml.",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from masksup_med.networks import NETWORKS

    rows = [_row(name, entry) for name, entry in tqdm(NETWORKS.items(), desc="measure", leave=False)]
    print(_INTRODUCTION.format(side=_SIDE, torch=torch.__version__, threads=torch.get_num_threads()))
    print("\n".join(_markdown([_HEADER, _RULE, *rows])))


def _row(name: str, entry: NetworkEntry) -> list[str]:
    from inspect import signature

    from masksup_med.networks import create_network

    network = create_network(name, 3, 1).eval()
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    dimensions = "2D, 3D" if "spatial_dims" in signature(entry.network).parameters else "2D"
    forward = f"{_milliseconds(network):.0f} ms"
    return [f"`{name}`", f"{millions:.3f} M", forward, dimensions, entry.source, entry.licence, _pretrained(entry)]


def _milliseconds(network: torch.nn.Module) -> float:
    import torch
    from torch.utils.benchmark import Timer

    names = {"network": network, "image": torch.rand(1, 3, _SIDE, _SIDE), "inference": torch.inference_mode}
    timer = Timer("with inference(): network(image)", globals=names, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=0.5).median * 1e3


def _pretrained(entry: NetworkEntry) -> str:
    from masksup_med.networks._timm import import_timm

    if entry.encoder is None:
        return "none"
    config = import_timm().get_pretrained_cfg(entry.encoder)
    return f"`{config.hf_hub_id}`, {config.license}"


def _markdown(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]
