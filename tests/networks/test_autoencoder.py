"""Masked autoencoders: what is hidden from the network, what comes back, and what it has learnt."""

import pytest
import torch
from monai.networks.nets import UNETR, UNet

from masksup_med.losses import ReconstructionLoss
from masksup_med.networks import masked_autoencoder
from masksup_med.transforms import RandPatchMaskd


def hiding():
    return RandPatchMaskd("image", 0.6, patch_size=16).set_random_state(0)


def transformer():
    return UNETR(3, 3, (64, 96), feature_size=4, hidden_size=24, mlp_dim=32, num_heads=4, spatial_dims=2)


NETWORKS = {
    "convolutions": lambda: UNet(2, 3, 3, (8, 16, 32, 32), (2, 2, 2), norm="instance"),
    "transformer": transformer,
}


@pytest.mark.parametrize(("name", "ratio"), [("convolutions", 0.6), ("transformer", 0.75)])
def test_the_picture_comes_back_with_what_was_hidden(name, ratio):
    torch.manual_seed(0)
    image = torch.randn(2, 3, 64, 96)
    reconstruction, hidden = masked_autoencoder(NETWORKS[name](), hiding())(image)
    assert reconstruction.shape == image.shape and hidden.shape == (2, 1, 64, 96)
    whole = hidden.float().unflatten(3, (6, 16)).unflatten(2, (4, 16)).mean((3, 5))
    assert set(whole.unique().tolist()) == {0, 1}  # patches, hidden or not
    assert hidden.float().mean() == pytest.approx(ratio, abs=0.03)
    assert not torch.equal(hidden[0], hidden[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_hidden_is_not_seen(name):
    network = masked_autoencoder(NETWORKS[name](), hiding()).eval()
    image = torch.randn(1, 3, 64, 96)

    def seen(image):
        torch.manual_seed(1)
        if name == "convolutions":
            network._hiding.set_random_state(1)
        with torch.no_grad():
            return network(image)

    reconstruction, hidden = seen(image)
    other = torch.where(hidden > 0, torch.randn_like(image), image)
    torch.testing.assert_close(seen(other)[0], reconstruction)
    assert not torch.allclose(seen(other + 1)[0], reconstruction)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_itself_learns(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    autoencoder = masked_autoencoder(network, hiding())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(autoencoder.parameters(), 0.01)
    ramp = torch.linspace(-1, 1, 96).expand(4, 3, 64, 96) * torch.tensor([1.0, -1, 0.5, -0.5])[:, None, None, None]
    losses = []
    for _ in range(40):
        loss = ReconstructionLoss()(autoencoder(ramp), ramp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5]), losses
    learnt = autoencoder.learnt()
    state = network.state_dict()
    assert learnt and all(torch.equal(state[key], value) for key, value in learnt.items())
    changed = {key for key in state if not torch.equal(state[key], before[key])}
    unused = {key for key in learnt if "cross_attn" in key}  # MONAI's blocks have it for other uses
    assert changed <= learnt.keys() and len(changed) > 0.9 * len(learnt.keys() - unused)


def test_pixels_of_a_patch_come_back_in_their_places():
    network = masked_autoencoder(transformer(), hiding())
    numbers = torch.arange(64 * 96 * 3.0).reshape(1, 3, 64, 96)
    patches = torch.nn.functional.unfold(numbers, 16, stride=16).mT  # (1, 24, 3 · 16 · 16), patches row by row
    network.autoencoder.forward = lambda image: (patches, torch.zeros(1, 24, dtype=torch.int))
    assert torch.equal(network(numbers)[0], numbers)


def test_its_transformer_is_counted_once():
    network = masked_autoencoder(transformer(), hiding())
    names = list(network.state_dict())
    assert len({id(each) for each in network.parameters()}) == len(list(network.parameters()))
    assert all(name.startswith("autoencoder.") for name in names)
