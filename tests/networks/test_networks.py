"""What every network keeps to. A new one is tested by its line in PARAMETERS."""

import inspect

import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.utils import convert_to_onnx, convert_to_torchscript
from torch.nn.modules.batchnorm import _BatchNorm

from masksup_med.bundle import overlays
from masksup_med.errors import SettingError
from masksup_med.networks import NETWORKS, create_network

# Millions of parameters for 3 channels in, and how many classes. Published sizes, less those parameters of medt (1.560)
# and kiunet (0.291) that nothing uses, as their docstrings say; hrnet18 is the published backbone (3.861) and our head.
PARAMETERS = {
    "unet": (3.136, 1),
    "residual_unet": (1.626, 1),
    "unet_large": (31.113, 1),
    "unet_plus_plus": (9.119, 1),
    "attention_unet": (31.740, 1),
    "res_unet": (13.043, 1),
    "res_unet_plus_plus": (4.063, 1),
    "fcn": (32.947, 1),
    "hrnet18": (3.861 + 0.074, 1),
    "axial_unet": (1.327, 2),
    "medt": (1.560 - 0.0355, 2),
    "kiunet": (0.2912 - 0.0741, 2),
    "levit_unet_128s": (15.895, 1),
    "levit_unet_192": (19.894, 1),
    "levit_unet_384": (52.154, 1),
    "timm_unet": (24.430, 1),
}
UNSCRIPTABLE = ["hrnet18"]  # timm's; traced instead
TOLERANCE = 1e-4  # of exports, relative to the largest logit


@pytest.fixture(scope="module", params=PARAMETERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    """A network in evaluation whose normalisation is not trivial: some begin with branches that are switched off."""
    torch.manual_seed(0)
    network = create_network(name, 3, 1).eval()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            module.running_mean.normal_(std=0.1)
    return network


@pytest.fixture(scope="module")
def image(name):
    """Of odd sizes, and of more than one pixel each way also where a network has fewest."""
    torch.manual_seed(1)
    return torch.rand(1, 3, 65, 87) if name != "kiunet" else torch.rand(1, 3, 17, 23)  # inside, 64 times as many


@pytest.fixture(scope="module")
@torch.no_grad()
def logits(network, image):
    return network(image)


def assert_close(output, expected):
    torch.testing.assert_close(output, expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


def test_list_and_tests_agree():
    assert list(NETWORKS) == list(PARAMETERS)


def test_size(name):
    millions, classes = PARAMETERS[name]
    with torch.device("meta"):  # without values
        network = create_network(name, 3, classes)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=6e-4)


@pytest.mark.parametrize("shape", [(97, 131), (17, 5)])
@torch.no_grad()
def test_any_image_size(name, network, shape):
    shape = shape if name != "kiunet" else tuple(length // 2 for length in shape)
    assert network(torch.rand(1, 3, *shape)).shape == (1, 1, *shape)


@torch.no_grad()
def test_channels_and_logits(name):
    logits = create_network(name, 1, 8).eval()(torch.rand(1, 1, 64, 64))
    assert logits.shape == (1, 8, 64, 64)
    assert logits.min() < 0 and logits.sum(1).std() > 0  # neither ReLU, sigmoid nor softmax at the end


@torch.no_grad()
def test_images_of_a_batch_do_not_mix(network, image, logits):
    batch = torch.cat([image.flip(2), image])
    assert_close(network(batch)[1:], logits)


@torch.no_grad()
def test_channels_last(network, image, logits):
    assert_close(network(image.contiguous(memory_format=torch.channels_last)), logits)


def test_gradients_reach_every_parameter(network, image):
    network(image).square().sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    network.zero_grad()
    assert not without


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_torchscript(name, network, image, logits):
    options = {"use_trace": True, "check_trace": False} if name in UNSCRIPTABLE else {}  # we check it here
    script = convert_to_torchscript(network, inputs=[image], **options)
    assert_close(script(image), logits)
    if name not in UNSCRIPTABLE:
        other = torch.rand(2, 3, 40, 32)
        assert_close(script(other), network(other))


# PyTorch's newer exporter, its default, takes two minutes for all of them, the older one a third of that
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_onnx(network, image, logits, dynamo):
    model = convert_to_onnx(network, [image], dynamo=dynamo)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    assert_close(torch.from_numpy(output), logits)


@torch.no_grad()
def test_3d(name):
    if "spatial_dims" not in inspect.signature(NETWORKS[name].network).parameters:
        pytest.skip("two dimensions only")
    network = create_network(name, 1, 2, spatial_dims=3).eval()
    shape = (5, 8, 7) if name != "kiunet" else (3, 4, 5)
    assert network(torch.rand(1, 1, *shape)).shape == (1, 2, *shape)


def test_overlay_makes_the_network(name):
    overlay = ConfigParser.load_config_file(overlays() / "network" / f"{name}.yaml")
    with torch.device("meta"):
        network = ConfigParser(overlay).get_parsed_content("network_def")
    assert type(network) is NETWORKS[name].network
    assert overlay["network_def"].items() >= NETWORKS[name].options.items()
    assert {"in_channels": 3, "out_channels": 1}.items() <= overlay["network_def"].items()


def test_unknown_network():
    with pytest.raises(SettingError, match=r"no network 'unett'; choose one of unet, .*timm_unet"):
        create_network("unett", 3, 1)
