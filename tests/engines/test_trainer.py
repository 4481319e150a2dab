"""The trainer: both views, their gradients, joint forward, accumulation, mixed precision, logged terms."""

import pytest
import torch
from ignite.engine import Events
from monai.losses import DeepSupervisionLoss, DiceCELoss, DiceLoss
from monai.networks.nets import BasicUNetPlusPlus, UNet
from monai.utils import set_determinism
from torch import nn

from masksup_med.engines import MaskSupTrainer
from masksup_med.errors import SettingError
from masksup_med.losses import MaskSupLoss


class Counting(nn.Module):
    """A tiny network that counts its calls."""

    def __init__(self, norm=None):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm or nn.Identity(), nn.Conv2d(4, 1, 1))
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return self.layers(x)


def batches(count=2, size=4, spatial=(16, 16), seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        image = torch.rand(size, 3, *spatial, generator=generator)
        hidden = torch.rand(size, 1, *spatial, generator=generator) < 0.3
        label = (image[:, :1] > 0.5).float()
        yield {"image": image, "label": label, "image_masked": torch.where(hidden, 0, image), "hidden": hidden}


def trainer(network, loss=None, data=None, lr=0.1, epochs=1, **kwargs):
    return MaskSupTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=list(batches()) if data is None else data,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        loss_function=loss or MaskSupLoss(DiceCELoss(sigmoid=True)),
        **kwargs,
    )


def tiny(seed=0, norm=None):
    set_determinism(seed)
    return Counting(norm)


def parameters(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("joint_forward", [False, True])
def test_step_equals_one_written_out_by_hand(joint_forward):
    network, reference = tiny(), tiny()
    loss, data = MaskSupLoss(DiceCELoss(sigmoid=True), 1.0, 0.5, 2.0), list(batches(count=3))
    trainer(network, loss, data, joint_forward=joint_forward).run()
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    for batch in data:
        optimizer.zero_grad()
        loss(reference(batch["image"]), batch["label"], reference(batch["image_masked"])).total.backward()
        optimizer.step()
    torch.testing.assert_close(parameters(network), parameters(reference))


def test_views_go_one_after_the_other_or_as_one_batch():
    apart, joint = tiny(), tiny()
    trainer(apart).run()
    trainer(joint, joint_forward=True).run()
    assert apart.batches == [4, 4, 4, 4]
    assert joint.batches == [8, 8]


def test_batch_norm_sees_both_views_at_once_only_in_a_joint_forward():
    apart, joint = tiny(norm=nn.BatchNorm2d(4)), tiny(norm=nn.BatchNorm2d(4))
    trainer(apart).run()
    trainer(joint, joint_forward=True).run()
    assert apart.layers[1].num_batches_tracked.item() == 4
    assert joint.layers[1].num_batches_tracked.item() == 2


def test_batch_norm_may_keep_statistics_of_whole_images_only():
    network, reference = tiny(norm=nn.BatchNorm2d(4)), tiny(norm=nn.BatchNorm2d(4))
    trainer(network, lr=0.0, whole_statistics=True).run()
    for batch in batches():
        reference(batch["image"])
    norms = network.layers[1], reference.layers[1]
    torch.testing.assert_close(norms[0].running_mean, norms[1].running_mean)
    torch.testing.assert_close(norms[0].running_var, norms[1].running_var)
    assert norms[0].momentum == norms[1].momentum == 0.1
    both = tiny(norm=nn.BatchNorm2d(4))
    trainer(both, lr=0.0).run()
    assert not torch.allclose(both.layers[1].running_mean, norms[1].running_mean)


def test_whole_statistics_need_views_apart():
    with pytest.raises(SettingError, match="set joint_forward false"):
        trainer(tiny(), joint_forward=True, whole_statistics=True)


def test_baseline_runs_the_network_once_and_needs_no_masked_view():
    network = tiny()
    data = [{k: v for k, v in batch.items() if k in ("image", "label")} for batch in batches()]
    trainer(network, MaskSupLoss(DiceLoss(sigmoid=True), 1, 0, 0), data).run()
    assert network.batches == [4, 4]


def test_accumulated_steps_equal_one_large_batch():
    network, reference = tiny(), tiny()
    whole = next(batches(count=1, size=8))
    halves = [{k: v[i : i + 4] for k, v in whole.items()} for i in (0, 4)]
    loss = MaskSupLoss(nn.BCEWithLogitsLoss())
    trainer(network, loss, halves, accumulation_steps=2).run()
    trainer(reference, loss, [whole]).run()
    torch.testing.assert_close(parameters(network), parameters(reference))


@pytest.mark.filterwarnings("ignore")
def test_mixed_precision_goes_through_the_scaler():
    # Without CUDA, torch disables autocast and scaler; what is left is the same path of calls.
    network, reference = tiny(), tiny()
    engine = trainer(network, amp=True)
    engine.run()
    assert engine.scaler is not None
    trainer(reference).run()
    torch.testing.assert_close(parameters(network), parameters(reference))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_mixed_precision_on_cuda():
    network = tiny().cuda()
    engine = MaskSupTrainer(
        "cuda", 20, list(batches()), network, torch.optim.Adam(network.parameters(), 0.01),
        MaskSupLoss(DiceCELoss(sigmoid=True)), amp=True,
    )  # fmt: skip
    losses = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: losses.append(e.state.metrics["train_loss"]))
    engine.run()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("decollate", [True, False])
def test_each_term_is_a_metric_and_they_add_up(decollate):
    loss = MaskSupLoss(DiceCELoss(sigmoid=True), 1.0, 0.5, 2.0)
    seen = []

    class Handler:
        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: seen.append(dict(e.state.metrics)))

    engine = trainer(tiny(), loss, epochs=3, decollate=decollate, train_handlers=[Handler()])
    engine.run()
    assert len(seen) == 3  # handlers see the metrics of the epoch that has just ended
    for metrics in seen:
        total = metrics["train_loss_segmentation"] + 0.5 * metrics["train_loss_context"]
        total += 2 * metrics["train_loss_similarity"]
        assert metrics["train_loss"] == pytest.approx(total)
        assert metrics["train_loss_similarity"] > 0
    output = engine.state.output[0] if decollate else engine.state.output
    assert {"image", "label", "pred", "pred_masked", "loss", "loss_context"} <= set(output)


@pytest.mark.parametrize("joint_forward", [False, True])
def test_network_with_several_outputs(joint_forward):
    network = BasicUNetPlusPlus(2, 3, 1, features=(4, 4, 4, 4, 4, 4), deep_supervision=True)
    loss = MaskSupLoss(DeepSupervisionLoss(DiceLoss(sigmoid=True)))
    engine = trainer(network, loss, list(batches(spatial=(32, 32))), joint_forward=joint_forward)
    before = parameters(network)
    engine.run()
    assert engine.state.metrics["train_loss_similarity"] > 0
    assert not torch.equal(before, parameters(network))


def test_learns_in_three_dimensions_and_several_classes():
    set_determinism(0)
    network = UNet(3, 3, 3, (4, 8), (2,), norm="instance")
    data = []
    for batch in batches(spatial=(8, 8, 8)):
        data.append({**batch, "label": (batch["image"][:, :1] * 3).floor()})
    losses = []
    engine = trainer(network, MaskSupLoss(DiceCELoss(softmax=True, to_onehot_y=True)), data, epochs=60, lr=0.5)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: losses.append(e.state.metrics["train_loss"]))
    engine.run()
    assert losses[-1] < 0.85 * losses[0]
