"""LeViT-UNet: timm's own numbers at 224 × 224, and any other size."""

import pytest
import torch

from masksup_med.errors import SettingError
from masksup_med.networks import LeViTUNet
from masksup_med.networks._timm import import_timm


@pytest.fixture(scope="module", params=["levit_128s", "levit_192", "levit_384"])
def encoder(request):
    return request.param


@torch.no_grad()
def randomise(network):
    """Give every parameter and statistic a value of its own: biases begin at 0, and some branches switched off."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            if name.endswith(("bn.weight", "running_var")):
                value.uniform_(0.5, 1.5)
            elif value.ndim == 1 or "attention_biases" in name:
                value.normal_(std=0.1)
    return network.eval()


@pytest.mark.parametrize("linear", [False, True], ids=["convolutions", "linear layers"])
@torch.no_grad()
def test_stages_equal_timm_at_224(encoder, linear):
    torch.manual_seed(0)
    name = encoder if linear else encoder.replace("levit", "levit_conv")
    theirs = randomise(import_timm().create_model(name, num_classes=0))
    ours = LeViTUNet(3, 1, encoder).eval()
    state = theirs.state_dict()
    wanted = {key: value for key, value in ours.state_dict().items() if key.startswith(("stem.", "stages."))}
    assert list(state) == list(wanted)
    ours.load_state_dict({key: state[key].reshape(wanted[key].shape) for key in wanted}, strict=False)

    image = torch.rand(1, 3, 224, 224)
    _, stages = theirs.forward_intermediates(image)
    for stage, expected in zip(ours.features(image)[4:], stages, strict=True):
        torch.testing.assert_close(stage, expected, rtol=1e-5 if linear else 1e-6, atol=1e-5 if linear else 1e-6)


@pytest.mark.parametrize(
    ("size", "stage_sizes"),
    [
        ((224, 224), [(14, 14), (7, 7), (4, 4)]),
        ((256, 320), [(16, 20), (8, 10), (4, 5)]),
        ((97, 131), [(7, 9), (4, 5), (2, 3)]),
    ],
)
@torch.no_grad()
def test_sizes(size, stage_sizes):
    network = LeViTUNet(3, 2, "levit_128s").eval()
    image = torch.rand(1, 3, *size)
    assert network(image).shape == (1, 2, *size)
    padded = torch.rand(1, 3, *(16 * -(-length // 16) for length in size))
    assert [tuple(stage.shape[2:]) for stage in network.features(padded)[4:]] == stage_sizes


@torch.no_grad()
def test_biases_are_interpolated():
    attention = LeViTUNet(3, 1, "levit_128s").stages[0].blocks[0].attn
    rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    attention.attention_biases.copy_((rows + 100 * columns).flatten())  # linear in both distances
    bias = attention.bias(27, 14, 1).reshape(-1, 27, 14, 27, 14)  # 27 rows are 13 steps of half the size
    assert torch.allclose(bias[0, 0, 0, :, 0], torch.arange(27) / 2)
    assert torch.allclose(bias[0, 20, 3, 10, 13], torch.tensor(5.0 + 100 * 10))


def test_unknown_encoder():
    with pytest.raises(SettingError, match=r"encoder is 'levit_256'; choose one of levit_128s"):
        LeViTUNet(3, 1, "levit_256")
