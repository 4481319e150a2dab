"""Make a trained bundle ready to be passed on: weights of half the size, and a note of which they are."""

from __future__ import annotations

import json

import torch

from masksup_med.bundle.bundle import Bundle
from masksup_med.handlers.noted import forget_noted
from masksup_med.handlers.provenance import read_passport, sha256_of
from masksup_med.networks.weights import read_state
from masksup_med.outputs.atomic import atomic_path

__all__ = ["release"]


def release(bundle: Bundle) -> Bundle:
    """Halve the precision of a bundle's kernels, and note the SHA-256 of its weights in its metadata.

    Networks compute in single precision as before: torch widens the numbers when it loads them. Biases, norms and their
    statistics stay as they are, since they are few and some exceed what half precision can hold. What was measured
    with the weights before, calibration included, is to be measured anew. A second time changes nothing.

    Args:
        bundle: one that has been trained.

    Returns:
        The bundle as it is now.

    Raises:
        CheckpointError: its weights cannot be read.
    """
    weights, state = bundle.weights, read_state(bundle.weights)
    halved = {name: value.half() if _is_kernel(value) else value for name, value in state.items()}
    if any(value.dtype != state[name].dtype for name, value in halved.items()):
        passport = read_passport(weights)
        forget_noted(weights)
        with atomic_path(weights) as temporary:
            torch.save(halved, temporary)
        if passport is not None:
            with atomic_path(weights.with_suffix(".json")) as temporary:
                passport |= {"weights_sha256": sha256_of(weights)}
                temporary.write_text(json.dumps(passport, indent=2) + "\n", encoding="utf-8")
    released = Bundle(bundle.folder)
    released.note(weights_sha256=released.weights_sha256)
    return released


def _is_kernel(value: torch.Tensor) -> bool:
    return value.is_floating_point() and value.ndim > 1
