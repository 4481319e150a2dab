"""Networks for segmentation: made from channels in and out, any image size in, logits of that size out.

To add one: a file here, a line in ``NETWORKS``, and an overlay of the same name in ``configs/network/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from masksup_med.errors import SettingError
from masksup_med.networks.attention_unet import AttentionUNet
from masksup_med.networks.autoencoder import masked_autoencoder
from masksup_med.networks.axial_unet import AxialUNet
from masksup_med.networks.fcn import FCN
from masksup_med.networks.hrnet import HRNet
from masksup_med.networks.kiunet import KiUNet
from masksup_med.networks.levit_unet import LeViTUNet
from masksup_med.networks.medt import MedT
from masksup_med.networks.res_unet import ResUNet
from masksup_med.networks.res_unet_plus_plus import ResUNetPlusPlus
from masksup_med.networks.residual_unet import ResidualUNet
from masksup_med.networks.timm_unet import TimmUNet
from masksup_med.networks.unet import UNet
from masksup_med.networks.unet_large import UNetLarge
from masksup_med.networks.unet_plus_plus import UNetPlusPlus

__all__ = [
    "FCN",
    "NETWORKS",
    "AttentionUNet",
    "AxialUNet",
    "HRNet",
    "KiUNet",
    "LeViTUNet",
    "MedT",
    "NetworkEntry",
    "ResUNet",
    "ResUNetPlusPlus",
    "ResidualUNet",
    "TimmUNet",
    "UNet",
    "UNetLarge",
    "UNetPlusPlus",
    "create_network",
    "masked_autoencoder",
]


@dataclass(frozen=True)
class NetworkEntry:
    """A line of the list of networks.

    Attributes:
        network: the class.
        source: whose code it is.
        licence: of that code.
        options: for the class, beside channels.
        encoder: timm's name of the encoder that ImageNet weights are known for.
    """

    network: type[nn.Module]
    source: str = "masksup-med"
    licence: str = "Apache-2.0"
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: str | None = None


def _levit(size: str) -> NetworkEntry:
    options = {"encoder": f"levit_{size}"}
    return NetworkEntry(LeViTUNet, "timm and masksup-med", options=options, encoder=f"levit_conv_{size}")


NETWORKS: dict[str, NetworkEntry] = {
    "unet": NetworkEntry(UNet),
    "residual_unet": NetworkEntry(ResidualUNet, "MONAI UNet"),
    "unet_large": NetworkEntry(UNetLarge, "MONAI BasicUNet"),
    "unet_plus_plus": NetworkEntry(UNetPlusPlus, "MONAI BasicUNetPlusPlus"),
    "attention_unet": NetworkEntry(AttentionUNet, "MONAI AttentionUnet"),
    "res_unet": NetworkEntry(ResUNet),
    "res_unet_plus_plus": NetworkEntry(ResUNetPlusPlus),
    "fcn": NetworkEntry(FCN, "torchvision fcn_resnet50", "BSD-3-Clause", encoder="resnet50.tv_in1k"),
    "hrnet18": NetworkEntry(HRNet, "timm and masksup-med", encoder="hrnet_w18_small_v2"),
    "axial_unet": NetworkEntry(AxialUNet),
    "medt": NetworkEntry(MedT),
    "kiunet": NetworkEntry(KiUNet),
    "levit_unet_128s": _levit("128s"),
    "levit_unet_192": _levit("192"),
    "levit_unet_384": _levit("384"),
    "timm_unet": NetworkEntry(TimmUNet, "timm and MONAI", encoder="resnet34"),
}


def create_network(name: str, in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    """Make a network of the list.

    Args:
        name: a key of ``NETWORKS``.
        in_channels: channels of the image.
        out_channels: channels of the logits.
        options: for the network's class, in place of those of the list.

    Raises:
        SettingError: when there is no such network.
    """
    if name not in NETWORKS:
        raise SettingError(f"There is no network {name!r}; choose one of {', '.join(NETWORKS)}.")
    entry = NETWORKS[name]
    return entry.network(in_channels, out_channels, **{**entry.options, **options})
