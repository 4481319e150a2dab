"""Networks on encoders from timm, beyond those of the list."""

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

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


def test_a_part_that_the_encoder_has_not_is_refused():
    with pytest.raises(SettingError, match=r"no part 'blocks\.9' to freeze; name one of conv_stem, bn1, blocks, or of"):
        TimmUNet(3, 1, "tf_efficientnet_lite0", frozen=["conv_stem", "blocks.9"])


def learnt(**options):
    """Which tensors of the encoder a step changes, of an image whose statistics are far from the encoder's."""
    torch.manual_seed(0)
    network = TimmUNet(3, 1, "tf_efficientnet_lite0", **options).train()
    before = {key: value.clone() for key, value in network.encoder.state_dict().items()}
    network(torch.rand(2, 3, 64, 64) + 3).square().mean().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    return {key for key, value in network.encoder.state_dict().items() if not torch.equal(value, before[key])}


def test_frozen_parts_keep_their_weights_and_others_learn():
    parts = ("conv_stem", "bn1", "blocks.0", "blocks.1")
    changed = {key for key in learnt(frozen=parts) if "running" not in key and "num_batches" not in key}
    assert changed and not any(key.startswith(parts) for key in changed)
    assert any(key.startswith("blocks.2") for key in changed) and any(key.startswith("conv_stem") for key in learnt())


def test_fixed_statistics_stay_and_weights_of_norms_learn():
    changed = learnt(fixed_statistics=True)
    assert any("bn1.weight" in key for key in changed) and any("conv_pw.weight" in key for key in changed)
    assert not any("running" in key for key in changed) and any("running" in key for key in learnt())


def test_with_fixed_statistics_images_of_a_batch_do_not_change_each_other():
    torch.manual_seed(0)
    network = TimmUNet(3, 1, "tf_efficientnet_lite0", norm=["group", {"num_groups": 8}], fixed_statistics=True).train()
    assert not any(isinstance(module, _BatchNorm) for module in network.decoder.modules())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_fewer_of_the_features_make_a_smaller_network_of_the_same_output():
    every, coarser = (
        TimmUNet(3, 1, "tf_efficientnet_lite0", out_indices=indices).eval() for indices in (None, [1, 2, 3])
    )
    assert (len(every.decoder), len(coarser.decoder), coarser.multiple) == (4, 2, 16)
    assert coarser(torch.rand(1, 3, 65, 87)).shape == (1, 1, 65, 87)
