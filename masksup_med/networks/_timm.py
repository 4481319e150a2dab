"""The door to timm, the source of ImageNet encoders."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch

__all__ = ["import_timm", "prepare_torchvision"]


@cache
def import_timm() -> ModuleType:
    """Import timm, and torchvision with it, also where torch is a CPU build.

    See :func:`prepare_torchvision`.
    """
    prepare_torchvision()
    import timm

    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)  # it warns about what is checked here before
    return timm


@cache
def prepare_torchvision() -> torch.library.Library | None:
    """Have torchvision be imported also where torch is a CPU build.

    PyPI's torchvision for Linux is built for CUDA. Beside a CPU build of torch its compiled operators do not load, and
    its import fails for want of two of them. Declaring those two is all that it needs; nothing here calls them.

    Returns:
        What the cache keeps alive; None if there was nothing to do.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    for compiled in Path(spec.origin).parent.glob("_C.*"):
        with suppress(OSError):
            torch.ops.load_library(str(compiled))
    if hasattr(torch.ops.torchvision, "nms"):
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
