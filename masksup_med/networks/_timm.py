"""The door to timm, the source of ImageNet encoders."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from masksup_med.errors import SettingError

__all__ = ["create_encoder", "import_timm"]


def create_encoder(name: str, in_channels: int, weights: str | None = None, **options: Any) -> Any:
    """Make one of timm's networks, without its classifier.

    Args:
        name: as in ``timm.list_models()``.
        in_channels: channels of the image.
        weights: see :func:`masksup_med.networks.weights.pretrained_state`; None for random ones.
        options: for ``timm.create_model``, such as ``features_only=True``.

    Raises:
        SettingError: when timm does not know the name.
        CheckpointError: when the weights do not fit.
        MissingDataError: when the weights cannot be found.
    """
    from masksup_med.networks.weights import pretrained_state

    timm = import_timm()
    _check_name(timm, name)
    overlay = {} if weights is None else {"state_dict": pretrained_state(name, in_channels, weights)}
    encoder = timm.create_model(
        name, pretrained=bool(overlay), pretrained_cfg_overlay=overlay, in_chans=in_channels, num_classes=0, **options
    )
    encoder.pretrained_cfg.pop("state_dict", None)  # timm would keep these weights beside its own
    return encoder


def _check_name(timm: ModuleType, name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        alike = timm.list_models(f"*{architecture.split('_')[0]}*")[:5]
        hint = f"choose one such as {', '.join(alike)}" if alike else "see timm.list_models()"
        raise SettingError(f"timm knows no encoder {name!r}; {hint}.")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise SettingError(f"timm has no weights {tag!r} of {architecture}; choose one of {', '.join(tags) or 'none'}.")


@cache
def import_timm() -> ModuleType:
    """Import timm, and torchvision with it, also where torch is a CPU build.

    PyPI's torchvision for Linux is built for CUDA. Beside a CPU build of torch its compiled operators do not load, and
    its import fails for want of two of them. Declaring those two is all that it needs; nothing here calls them.
    """
    _library()
    import timm

    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)  # it warns about what is checked here before
    return timm


@cache
def _library() -> torch.library.Library | None:
    """Declare torchvision's operators where its own do not load; the cache keeps the declaration alive."""
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
