"""The hiding transforms: what they write, what they leave alone, how they are seeded and filled."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from monai.data import MetaTensor
from monai.transforms import Compose
from PIL import Image

from masksup_med import transforms
from masksup_med.errors import DataError, MissingDataError, SettingError
from masksup_med.transforms import (
    RandBlockMask,
    RandBlockMaskd,
    RandFileMask,
    RandFileMaskd,
    RandPatchMask,
    RandPatchMaskd,
    RandScribbleMask,
    RandScribbleMaskd,
    fill_hidden,
)

ARRAY = [
    lambda **kw: RandPatchMask(patch_size=4, **kw),
    lambda **kw: RandBlockMask(patch_size=4, **kw),
    RandScribbleMask,
]
DICTIONARY = [RandPatchMaskd, RandBlockMaskd, RandScribbleMaskd]
CONTAINERS = [np.asarray, torch.as_tensor, lambda a: MetaTensor(torch.as_tensor(a), meta={"filename_or_obj": "a.png"})]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("make", ARRAY)
@settings(max_examples=15, deadline=None)
@given(
    shape=array_shapes(min_dims=3, max_dims=4, min_side=8, max_side=20),
    dtype=st.sampled_from(["float32", "float64", "uint8", "int16"]),
    fill=st.sampled_from([0, 7, "mean", "noise", "blur"]),
    seed=st.integers(0, 1000),
)
def test_only_the_hidden_part_changes_and_only_in_the_copy(make, container, shape, dtype, fill, seed):
    values = (np.random.RandomState(seed).rand(*shape) * 100).astype(dtype)
    image = container(values.copy())
    masked, hidden = make(ratio=0.3, fill=fill).set_random_state(seed)(image)
    np.testing.assert_array_equal(np.asarray(image), values)
    assert type(masked) is type(image) and type(hidden) is type(image)
    assert masked.dtype == image.dtype and str(hidden.dtype).endswith("bool")
    assert tuple(masked.shape) == shape and tuple(hidden.shape) == (1, *shape[1:])
    seen = np.broadcast_to(~np.asarray(hidden), shape)
    np.testing.assert_array_equal(np.asarray(masked)[seen], values[seen])
    if isinstance(image, MetaTensor):
        assert masked.meta["filename_or_obj"] == "a.png"


@pytest.mark.parametrize("make", ARRAY)
def test_same_seed_same_result(make):
    image = torch.rand(3, 32, 24)
    first, second = (make(ratio=(0.2, 0.6), fill="noise").set_random_state(5)(image) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_ratio_is_drawn_from_its_range_for_every_image():
    hide = RandPatchMask(ratio="medium", patch_size=1).set_random_state(0)
    shares = [hide(torch.rand(1, 40, 40))[1].float().mean().item() for _ in range(50)]
    assert 0.249 <= min(shares) < 0.27
    assert 0.33 < max(shares) <= 0.351


@pytest.mark.parametrize("cls", DICTIONARY)
def test_dictionary_writes_masked_and_hidden_and_leaves_the_rest(cls):
    image, label = torch.rand(3, 32, 32), torch.ones(1, 32, 32)
    data = {"image": image, "label": label}
    result = cls(keys="image", ratio=0.3).set_random_state(0)(data)
    assert set(data) == {"image", "label"}
    assert set(result) == {"image", "label", "image_masked", "hidden"}
    assert result["image"] is image and result["label"] is label
    np.testing.assert_array_equal(result["image_masked"], np.where(result["hidden"], 0, image))


@pytest.mark.parametrize("cls", DICTIONARY)
def test_dictionary_hides_the_same_part_of_all_keys(cls):
    data = {"image": torch.ones(3, 32, 32), "depth": torch.ones(1, 32, 32)}
    result = cls(keys=["image", "depth"], ratio=0.3).set_random_state(0)(data)
    assert torch.equal(result["image_masked"][:1], result["depth_masked"])


def test_dictionary_is_seeded_through_compose():
    def run():
        return Compose([RandScribbleMaskd(keys="image", ratio=0.3)]).set_random_state(3)(
            {"image": torch.ones(1, 32, 32)}
        )

    assert torch.equal(run()["hidden"], run()["hidden"])


def test_dictionary_refuses_keys_of_different_sizes():
    with pytest.raises(SettingError, match="different sizes"):
        RandPatchMaskd(keys=["a", "b"], ratio=0.3)({"a": torch.ones(1, 32, 32), "b": torch.ones(1, 16, 32)})


def test_missing_key_is_an_error_unless_allowed():
    with pytest.raises(KeyError):
        RandPatchMaskd(keys="image", ratio=0.3)({})
    assert RandPatchMaskd(keys="image", ratio=0.3, allow_missing_keys=True)({}) == {}


def test_dictionary_names_have_monai_aliases():
    for kind in ("Patch", "Block", "Scribble", "File"):
        name = f"Rand{kind}Mask"
        assert getattr(transforms, name + "d") is getattr(transforms, name + "D") is getattr(transforms, name + "Dict")


def test_fill_by_constant_mean_noise_and_blur():
    image = torch.zeros(2, 8, 8)
    image[0], image[1, :, :4], image[1, :, 4:] = 5, 1, 3
    hidden = torch.zeros(1, 8, 8, dtype=torch.bool)
    hidden[:, :, 2:6] = True
    state = np.random.RandomState(0)
    assert (fill_hidden(image, hidden, -1, state)[:, hidden[0]] == -1).all()
    mean = fill_hidden(image, hidden, "mean", state)
    assert (mean[0] == 5).all()
    assert torch.allclose(mean[1][hidden[0]], torch.tensor(2.0))  # of the visible 1s and 3s, in equal number
    noise = fill_hidden(image, hidden, "noise", state)
    assert (noise[0] == 5).all()  # no spread in the visible part, no noise
    assert noise[1][hidden[0]].std() == pytest.approx(1, abs=0.4)
    blur = fill_hidden(image, hidden, "blur", state)[1]
    assert torch.allclose(blur[:, 3] + blur[:, 4], torch.tensor(4.0), atol=1e-4)  # an edge between 1 and 3, smoothed
    assert (blur[:, 3] > 1).all()


def test_unknown_fill_is_refused():
    with pytest.raises(SettingError, match="fill is 'black'"):
        RandPatchMask(ratio=0.3, fill="black")


@pytest.fixture
def mask_dir(tmp_path):
    """Three masks whose white upper part is 10, 30 and 55 % of them."""
    for share in (10, 30, 55):
        mask = np.zeros((100, 100), dtype=np.uint8)
        mask[:share] = 250  # not quite white: files are binarised
        Image.fromarray(mask).save(tmp_path / f"{share}.png")
    (tmp_path / "readme.txt").write_text("not a mask")
    return tmp_path


@pytest.mark.parametrize(("level", "share"), [("low", 0.10), ("medium", 0.30), ("high", 0.55)])
def test_file_mask_takes_files_of_the_wanted_ratio_to_any_size(mask_dir, level, share):
    masked, hidden = RandFileMask(mask_dir, ratio=level).set_random_state(0)(torch.ones(3, 60, 84))
    assert hidden.shape == (1, 60, 84)
    assert hidden.float().mean().item() == pytest.approx(share, abs=0.02)
    assert torch.equal(masked == 0, hidden.expand(3, -1, -1))


def test_file_mask_reads_either_polarity(mask_dir):
    black = RandFileMask(mask_dir, ratio=(0.85, 0.95), hole="black").set_random_state(0)
    assert black(torch.ones(1, 50, 50))[1].float().mean().item() == pytest.approx(0.9, abs=0.01)


def test_file_mask_turns_and_flips_files(mask_dir):
    hide = RandFileMask(mask_dir, ratio="medium").set_random_state(0)
    drawn = {tuple(hide(torch.ones(1, 20, 20))[1].flatten().tolist()) for _ in range(40)}
    assert len(drawn) == 4  # a stripe along each of the four sides


def test_file_mask_dictionary(mask_dir):
    result = RandFileMaskd(keys="image", mask_dir=mask_dir, ratio="high").set_random_state(0)(
        {"image": torch.ones(1, 64, 64)}
    )
    assert result["hidden"].float().mean().item() == pytest.approx(0.55, abs=0.02)


def test_file_mask_refuses_what_it_cannot_use(tmp_path, mask_dir):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match=r"No mask image in .*empty"):
        RandFileMask(tmp_path / "empty", ratio=0.3)
    with pytest.raises(MissingDataError, match=r"its 3 files hide 0\.10 to 0\.55"):
        RandFileMask(mask_dir, ratio=(0.7, 0.8))
    with pytest.raises(SettingError, match="hole is 'grey'"):
        RandFileMask(mask_dir, ratio=0.3, hole="grey")
    (mask_dir / "broken.png").write_bytes(b"no png")
    with pytest.raises(DataError, match=r"broken\.png"):
        RandFileMask(mask_dir, ratio=0.3)


@pytest.mark.parametrize("fill", [0, 7, "mean", "noise", "blur"])
@pytest.mark.parametrize("shape", [(4, 3, 20, 17), (2, 1, 9, 12, 10)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("make", ARRAY)
def test_a_batch_is_hidden_as_one_image_after_the_other(make, shape, fill, dtype):
    images = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
    before = images.clone()
    single, whole = (make(ratio=(0.2, 0.6), fill=fill).set_random_state(3) for _ in range(2))
    expected = [single(image) for image in images]
    masked, hidden = whole.hide_batch(images)
    assert torch.equal(masked, torch.stack([each[0] for each in expected])) and masked.dtype == dtype
    assert torch.equal(hidden, torch.stack([each[1] for each in expected])) and hidden.dtype == torch.bool
    assert torch.equal(images, before)
    assert not torch.equal(hidden[0], hidden[1])
    assert single.R.rand() == whole.R.rand()  # as many numbers are drawn


@pytest.mark.parametrize("fill", [0, "noise"])
def test_a_batch_is_hidden_under_files_as_one_image_after_the_other(mask_dir, fill):
    images = torch.rand(5, 3, 24, 24)
    single, whole = (RandFileMask(mask_dir, ratio=(0.05, 0.6), fill=fill).set_random_state(3) for _ in range(2))
    masked, hidden = whole.hide_batch(images)
    for image, *found in zip(images, masked, hidden, strict=True):
        assert all(map(torch.equal, single(image), found))
