"""The MaskSup loss against formulas written out by hand."""

import numpy as np
import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss, DiceFocalLoss, DiceLoss, FocalLoss, TverskyLoss
from torch import nn

from masksup_med.errors import SettingError
from masksup_med.losses import MaskSupLoss, ViewSimilarityLoss


def logits(channels=1, spatial=(6, 5), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, *spatial, generator=generator, dtype=torch.float64).requires_grad_()


def binary_label(seed=0, spatial=(6, 5), batch=2):
    return torch.from_numpy(np.random.RandomState(seed).rand(batch, 1, *spatial) > 0.5).double()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def bce(p, y):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


def test_binary_paper_formula():
    full, masked, label = logits(seed=1), logits(seed=2), binary_label()
    terms = MaskSupLoss(nn.BCEWithLogitsLoss(), 1.0, 0.5, 2.0)(full, label, masked)
    p, pm, y = sigmoid(full.detach().numpy()), sigmoid(masked.detach().numpy()), label.numpy()
    assert terms.segmentation.item() == pytest.approx(bce(p, y))
    assert terms.context.item() == pytest.approx(bce(pm, y))
    assert terms.similarity.item() == pytest.approx(((p - pm) ** 2).mean())
    assert terms.total.item() == pytest.approx(bce(p, y) + 0.5 * bce(pm, y) + 2 * ((p - pm) ** 2).mean())


@pytest.mark.parametrize("spatial", [(6, 5), (4, 3, 5)])
@pytest.mark.parametrize(("channels", "activation"), [(1, None), (2, "sigmoid"), (3, None), (3, "softmax")])
def test_similarities_against_numpy(channels, activation, spatial):
    full, masked = logits(channels, spatial, seed=1), logits(channels, spatial, seed=2)
    multi = channels > 1 and activation != "sigmoid"
    a, b = ((softmax if multi else sigmoid)(x.detach().numpy()) for x in (full, masked))
    if multi:
        kl = (a * np.log(a / b)).sum(1).mean()
        cosine = 1 - ((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))).mean()
    else:
        kl = (a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))).mean()
        lengths = np.sqrt((a**2 + (1 - a) ** 2) * (b**2 + (1 - b) ** 2))
        cosine = 1 - ((a * b + (1 - a) * (1 - b)) / lengths).mean()
    for kind, expected in (("mse", ((a - b) ** 2).mean()), ("kl", kl), ("cosine", cosine)):
        assert ViewSimilarityLoss(kind, activation)(full, masked).item() == pytest.approx(expected, rel=1e-5), kind
        assert ViewSimilarityLoss(kind, activation)(full, full).item() == pytest.approx(0, abs=1e-6), kind


@pytest.mark.parametrize("kind", ["mse", "kl", "cosine"])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("stop_gradient", [False, True])
def test_gradients_flow_through_the_similarity(kind, channels, stop_gradient):
    full, masked = logits(channels, seed=1), logits(channels, seed=2)
    loss = MaskSupLoss(DiceLoss(), 0, 0, 1, similarity=kind, stop_gradient=stop_gradient)
    loss(full, binary_label(), masked).total.backward()
    assert masked.grad.abs().min() > 0
    assert (full.grad is None or not full.grad.any()) if stop_gradient else full.grad.abs().min() > 0


def test_extreme_logits_stay_finite():
    full, masked = torch.tensor([[[200.0, -200.0]]]), torch.tensor([[[-200.0, 200.0]]], requires_grad=True)
    for kind in ("mse", "kl", "cosine"):
        loss = ViewSimilarityLoss(kind)(full, masked)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(masked.grad).all()


@pytest.mark.parametrize(
    ("segmentation", "channels"),
    [
        (nn.BCEWithLogitsLoss(), 1),
        (DiceLoss(sigmoid=True), 1),
        (DiceCELoss(sigmoid=True), 1),
        (TverskyLoss(sigmoid=True), 1),
        (FocalLoss(), 1),
        (FocalLoss(reduction="none"), 1),
        (DiceCELoss(softmax=True, to_onehot_y=True), 3),
        (DiceFocalLoss(softmax=True, to_onehot_y=True), 3),
    ],
)
def test_any_segmentation_loss_of_monai(segmentation, channels):
    full, masked = logits(channels, seed=1).float(), logits(channels, seed=2).float()
    label = binary_label().float()
    terms = MaskSupLoss(segmentation)(full, label, masked)
    assert terms.segmentation.item() == pytest.approx(segmentation(full, label).mean().item())
    assert terms.context.item() == pytest.approx(segmentation(masked, label).mean().item())


def test_weight_zero_leaves_a_term_out():
    full, label = logits(), binary_label()
    loss = MaskSupLoss(nn.BCEWithLogitsLoss(), context_weight=0, similarity_weight=0)
    assert not loss.uses_masked_view
    terms = loss(full, label)
    assert terms.total.item() == terms.segmentation.item() > 0
    assert terms.context.item() == terms.similarity.item() == 0


def test_deep_supervision_takes_lists():
    full, masked, label = [logits(seed=1), logits(seed=2)], [logits(seed=3), logits(seed=4)], binary_label()
    terms = MaskSupLoss(DeepSupervisionLoss(DiceLoss(sigmoid=True)))(full, label, masked)
    expected = np.mean([ViewSimilarityLoss()(a, b).item() for a, b in zip(full, masked, strict=True)])
    assert terms.similarity.item() == pytest.approx(expected)
    assert terms.segmentation.item() == pytest.approx(DeepSupervisionLoss(DiceLoss(sigmoid=True))(full, label).item())


@pytest.mark.parametrize("segmentation", [nn.BCEWithLogitsLoss(), DiceCELoss(sigmoid=True), FocalLoss()])
def test_ignored_pixels_take_no_part_in_any_term(segmentation):
    full, masked, label = logits(seed=1), logits(seed=2), binary_label()
    label[0, :, :2], label[1, :, :, 3:] = 255, 255
    loss = MaskSupLoss(segmentation, ignore_index=255)
    before = loss(full, label, masked)
    before.total.backward()
    assert not full.grad[label == 255].any() and not masked.grad[label == 255].any()
    assert full.grad[label != 255].abs().min() > 0
    with torch.no_grad():
        full[label == 255], masked[label == 255] = 9.0, -9.0
    assert torch.stack(loss(full, label, masked)).tolist() == pytest.approx(torch.stack(before).tolist())


def test_ignore_index_equals_cropping_the_ignored_part_away():
    full, masked, label = logits(3, seed=1), logits(3, seed=2), binary_label()
    label[:, :, 4:] = 255
    segmentation = DiceCELoss(softmax=True, to_onehot_y=True)
    ignoring = MaskSupLoss(segmentation, ignore_index=255)(full, label, masked)
    cropped = MaskSupLoss(segmentation)(full[:, :, :4], label[:, :, :4], masked[:, :, :4])
    assert torch.stack(ignoring).tolist() == pytest.approx(torch.stack(cropped).tolist())


def test_cross_entropy_with_ignore_index_equals_torchs():
    full, label = logits(3, batch=1, seed=1), binary_label(batch=1)
    label[0, :, :3] = 255
    ours = MaskSupLoss(DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=0), 1, 0, 0, ignore_index=255)
    theirs = nn.functional.cross_entropy(full, label[:, 0].long(), ignore_index=255)
    assert ours(full, label).total.item() == pytest.approx(theirs.item())


def test_all_pixels_ignored_is_zero_with_a_gradient():
    full, masked = logits(seed=1), logits(seed=2)
    total = MaskSupLoss(DiceLoss(sigmoid=True), ignore_index=255)(full, torch.full_like(full, 255), masked).total
    total.backward()
    assert total.item() == 0
    assert not full.grad.any()


@pytest.mark.parametrize("weights", [(-1, 1, 1), (0, 0, 0)])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(SettingError, match="Loss weights are"):
        MaskSupLoss(DiceLoss(), *weights)


def test_unknown_names_and_missing_view_are_refused():
    with pytest.raises(SettingError, match="similarity is 'l2'"):
        MaskSupLoss(DiceLoss(), similarity="l2")
    with pytest.raises(SettingError, match="activation is 'relu'"):
        MaskSupLoss(DiceLoss(), activation="relu")
    with pytest.raises(SettingError, match="masked view's prediction is missing"):
        MaskSupLoss(DiceLoss(sigmoid=True))(logits(), binary_label())
