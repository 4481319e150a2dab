"""Networks on encoders from timm, beyond those of the list."""

import pytest
import torch

from masksup_med.errors import SettingError
from masksup_med.networks import HRNet, TimmUNet


@pytest.mark.parametrize(("encoder", "millions"), [("hrnet_w18_small_v2", 3.861), ("hrnet_w18", 9.562)])
def test_size_of_hrnets_backbone(encoder, millions):
    parameters = HRNet(3, 1, encoder).encoder.parameters()
    assert sum(parameter.numel() for parameter in parameters) / 1e6 == pytest.approx(millions, abs=6e-4)


@pytest.mark.parametrize("encoder", ["convnext_tiny", "pvt_v2_b2", "mobilenetv3_small_050"])
@torch.no_grad()
def test_any_encoder_whose_features_halve(encoder):
    network = TimmUNet(3, 2, encoder).eval()
    assert network(torch.rand(1, 3, 97, 131)).shape == (1, 2, 97, 131)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("swin_tiny_patch4_window7_224", "'swin_tiny_patch4_window7_224' takes images of one size only"),
        ("convmixer_768_32", r"'convmixer_768_32' have strides \[7, 7, 7\]"),
    ],
)
def test_encoders_that_do_not_suit_are_refused(encoder, message):
    with pytest.raises(SettingError, match=message):
        TimmUNet(3, 1, encoder)
