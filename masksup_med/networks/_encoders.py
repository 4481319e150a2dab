"""Encoders from timm, with random or ImageNet weights."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from masksup_med.errors import SettingError
from masksup_med.networks._timm import import_timm
from masksup_med.networks.weights import pretrained_state

__all__ = ["create_encoder"]


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
