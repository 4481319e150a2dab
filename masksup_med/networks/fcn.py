"""FCN, from torchvision."""

from __future__ import annotations

import torch
from torch import nn

from masksup_med.networks._timm import import_timm
from masksup_med.networks.weights import pretrained_state

__all__ = ["FCN"]


class FCN(nn.Module):
    """Fully convolutional network (Long, Shelhamer and Darrell, CVPR 2015) on ResNet-50, from torchvision.

    Its ``fcn_resnet50``, not the original FCN-8s on VGG-16: dilation keeps the features at an eighth of the image's
    size. Any input size: the logits are interpolated from there.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        weights: of the ResNet-50: a file in torchvision's or timm's naming, which are the same; ``"imagenet"`` for
            torchvision's first ones, through timm, downloaded if need be; None for random ones. ImageNet weights expect
            intensities with ImageNet's mean and standard deviation.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.

    Raises:
        MissingDataError: when there are no such weights.
        CheckpointError: when the weights do not fit.
    """

    def __init__(self, in_channels: int, out_channels: int, weights: str | None = None) -> None:
        super().__init__()
        import_timm()  # lets torchvision be imported beside a CPU build of torch
        from torchvision.models.segmentation import fcn_resnet50

        self.network = fcn_resnet50(weights=None, weights_backbone=None, num_classes=out_channels)
        if in_channels != 3:
            self.network.backbone.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        if weights is not None:
            self.network.backbone.load_state_dict(pretrained_state("resnet50.tv_in1k", in_channels, weights))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.network(x)["out"]
