"""What a batch becomes before the network sees it."""

import pytest
import torch
from monai.data import MetaTensor
from monai.losses import DiceCELoss
from monai.transforms import ScaleIntensityRanged

from masksup_med.engines import MaskSupTrainer, PrepareViews
from masksup_med.losses import MaskSupLoss
from masksup_med.transforms import RandBatchAffined, RandPatchMaskd

SCALE = ScaleIntensityRanged("image", 0, 255, -1, 1)


def batch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return {"image": MetaTensor(image), "label": (image[:, :1] > 128).to(torch.uint8)}


def test_transforms_come_first_then_a_part_is_hidden():
    prepare = PrepareViews([SCALE], RandPatchMaskd("image", 0.5, patch_size=8)).set_random_state(0)
    image, label, (masked,), settings = prepare(batch(), "cpu")
    assert settings == {} and not isinstance(image, MetaTensor)
    torch.testing.assert_close(image, batch()["image"].as_tensor().float() / 127.5 - 1)
    assert torch.equal(label, batch()["label"])
    hidden = (masked != image).any(1)
    assert (masked.permute(0, 2, 3, 1)[hidden] == 0).all()
    assert 0.45 < hidden.float().mean() <= 0.5
    assert not torch.equal(hidden[0], hidden[1])


def test_nothing_is_hidden_where_nothing_is_to_be():
    image, _, more, _ = PrepareViews([SCALE])(batch(), "cpu")
    assert more == () and image.min() >= -1


def test_the_seed_decides():
    prepare = PrepareViews([SCALE, RandBatchAffined("image", rotate_range=3)], RandPatchMaskd("image", "medium", 8))
    first, again, later = (prepare.set_random_state(seed)(batch(), "cpu") for seed in (5, 5, 6))
    assert torch.equal(first[0], again[0]) and torch.equal(first[2][0], again[2][0])
    assert not torch.equal(first[0], later[0])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_trainer_takes_what_it_gives(weight):
    loss = MaskSupLoss(DiceCELoss(sigmoid=True), context_weight=weight, similarity_weight=weight)
    network = torch.nn.Conv2d(3, 1, 3, padding=1)
    hiding = RandPatchMaskd("image", 0.5, patch_size=8) if loss.uses_masked_view else None
    trainer = MaskSupTrainer(
        "cpu", 2, [batch()], network, torch.optim.SGD(network.parameters(), 0.1), loss,
        prepare_batch=PrepareViews([SCALE], hiding),
    )  # fmt: skip
    trainer.run()
    assert trainer.state.metrics["train_loss"] > 0
    assert (trainer.state.metrics["train_loss_context"] > 0) == (weight > 0)


def test_plain_tensors_come_out_whatever_comes_in():
    data = {**batch(), "name": ["a", "b", "c"]}
    data["label"] = MetaTensor(data["label"])
    image, label, (masked,), _ = PrepareViews(
        [SCALE, RandBatchAffined(["image", "label"], ["bilinear", "nearest"])],
        RandPatchMaskd("image", 0.5, patch_size=8),
    )(data, "cpu")
    assert {type(each) for each in (image, label, masked)} == {torch.Tensor}
    assert isinstance(data["image"], MetaTensor) and data["image"].dtype == torch.uint8  # the batch stays as it was
    assert set(label.unique().tolist()) == {0.0, 1.0}


def test_it_goes_where_the_trainer_is():
    image, label, (masked,), _ = PrepareViews([], RandPatchMaskd("image", 0.5, patch_size=8))(
        batch(), torch.device("cpu")
    )
    assert image.device == label.device == masked.device == torch.device("cpu")
    assert image.dtype == masked.dtype == torch.uint8


def test_the_masked_view_is_of_the_augmented_image():
    prepare = PrepareViews(
        [SCALE, RandBatchAffined(["image", "label"], ["bilinear", "nearest"], rotate_range=3)],
        RandPatchMaskd("image", "medium", patch_size=8, fill=-1),
    ).set_random_state(0)
    image, _, (masked,), _ = prepare(batch(), "cpu")
    assert ((masked == image) | (masked == -1)).all()
    assert not torch.allclose(image, SCALE(batch())["image"].as_tensor())


def test_two_trainings_of_one_seed_are_the_same():
    def weights(seed):
        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 1, 3, padding=1)
        transforms = [SCALE, RandBatchAffined(["image", "label"], ["bilinear", "nearest"], rotate_range=3)]
        MaskSupTrainer(
            "cpu", 2, [batch()], network, torch.optim.SGD(network.parameters(), 0.1),
            MaskSupLoss(DiceCELoss(sigmoid=True)), joint_forward=True,
            prepare_batch=PrepareViews(transforms, RandPatchMaskd("image", 0.5, 8)).set_random_state(seed),
        ).run()  # fmt: skip
        return network.weight.detach()

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_labels_of_bytes_suit_every_loss():
    """BCEWithLogitsLoss, that of protocol/paper.yaml, takes no integers."""
    network = torch.nn.Conv2d(3, 1, 3, padding=1)
    MaskSupTrainer(
        "cpu", 1, [batch()], network, torch.optim.SGD(network.parameters(), 0.1),
        MaskSupLoss(torch.nn.BCEWithLogitsLoss()), prepare_batch=PrepareViews([SCALE], RandPatchMaskd("image", 0.5, 8)),
    ).run()  # fmt: skip
