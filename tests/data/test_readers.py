from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged, SaveImaged
from PIL import Image

from masksup_med.data import ClassFileReader, ImageFileReader, LabelFileReader
from masksup_med.errors import DataError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (10, 12, 3), np.uint8)  # 12 wide, 10 high
LABEL = RNG.integers(0, 300, (10, 12), np.uint16)

WAYS_TO_NAME_A_READER: list[Any] = ["masksup_med.data.ImageFileReader", ImageFileReader, ImageFileReader()]


@pytest.fixture
def item(tmp_path: Path) -> dict[str, str]:
    tifffile.imwrite(tmp_path / "image.tif", RGB, photometric="minisblack", planarconfig="contig")
    Image.fromarray(LABEL).save(tmp_path / "label.png")
    return {"image": str(tmp_path / "image.tif"), "label": str(tmp_path / "label.png")}


def loading(image_reader: Any = ImageFileReader) -> Compose:
    return Compose(
        [
            LoadImaged("image", reader=image_reader),
            LoadImaged("label", reader=LabelFileReader),
            EnsureChannelFirstd(["image", "label"]),
        ]
    )


def causes(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *causes(error.__cause__)]


@pytest.mark.parametrize("reader", WAYS_TO_NAME_A_READER, ids=["name", "class", "instance"])
def test_loads_as_monai_expects(item: dict[str, str], reader: Any) -> None:
    loaded = loading(reader)(item)
    np.testing.assert_array_equal(loaded["image"], RGB.transpose(2, 1, 0))
    np.testing.assert_array_equal(loaded["label"], LABEL.T[None])
    assert loaded["image"].meta["filename_or_obj"] == item["image"]


@pytest.mark.parametrize("reader", WAYS_TO_NAME_A_READER, ids=["name", "class", "instance"])
@pytest.mark.parametrize("kind", ["pages", "empty", "missing"])
def test_no_other_reader_of_monai_steps_in(item: dict[str, str], tmp_path: Path, reader: Any, kind: str) -> None:
    """MONAI's own readers would load the two pages, and bury our message under theirs for the others."""
    path = tmp_path / "bad.tif"
    if kind != "missing":
        path.write_bytes(b"")
    if kind == "pages":
        tifffile.imwrite(path, np.stack([LABEL, LABEL]), photometric="minisblack")
    with pytest.raises(RuntimeError) as caught:
        loading(reader)({**item, "image": str(path)})
    assert any(
        isinstance(error, DataError | FileNotFoundError) and "bad.tif" in str(error) for error in causes(caught.value)
    )


def test_the_error_is_not_wrapped_outside_of_compose(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"Cannot read label .*bad\.png"):
        LoadImaged("label", reader=LabelFileReader)({"label": tmp_path / "bad.png"})


def test_metadata_collates(item: dict[str, str]) -> None:
    batch = next(iter(DataLoader(Dataset([item, item], loading()), batch_size=2)))
    assert batch["image"].shape == (2, 3, 12, 10)
    assert batch["label"].dtype == torch.float32


def test_save_imaged_restores_the_grid(item: dict[str, str], tmp_path: Path) -> None:
    Image.fromarray(LABEL.astype(np.uint8)).save(item["label"])
    saving = SaveImaged(
        "label", output_dir=tmp_path / "out", output_ext=".png", output_dtype=np.uint8, separate_folder=False,
        output_postfix="", print_log=False,
    )  # fmt: skip
    saving(loading()(item))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "label.png")), LABEL.astype(np.uint8))


def test_reverse_indexing_can_be_turned_off(item: dict[str, str]) -> None:
    image = LoadImage(reader="masksup_med.data.ImageFileReader", reverse_indexing=False)(item["image"])
    np.testing.assert_array_equal(image, RGB)


def test_several_files_become_channels(item: dict[str, str]) -> None:
    image = LoadImage(reader=ImageFileReader)([item["image"], item["image"]])
    assert image.shape == (12, 10, 6)


def test_classes_come_as_their_numbers(tmp_path: Path) -> None:
    classes = RNG.integers(0, 3, (10, 12))
    Image.fromarray(np.array([0, 100, 200], np.uint8)[classes]).save(tmp_path / "numbers.png")
    Image.fromarray(np.array([[0, 0, 0], [255, 0, 0], [0, 0, 9]], np.uint8)[classes]).save(tmp_path / "colours.png")
    for name, values in (("numbers.png", [0, 100, 200]), ("colours.png", ["000000", "ff0000", "000009"])):
        label = LoadImaged("label", reader=ClassFileReader(values))({"label": tmp_path / name})["label"]
        np.testing.assert_array_equal(label, classes.T)


def test_a_value_that_stands_for_no_class_is_refused(item: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"label\.png has the value \d+ at \d+ pixels"):
        LoadImaged("label", reader=ClassFileReader([0, 1]))(item)
