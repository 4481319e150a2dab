import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from masksup_med.handlers.overlays import write_overlays
from masksup_med.outputs.overlay import CLASS_COLOURS, LABEL_COLOUR


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "frame.png"
    Image.new("RGB", (24, 16)).save(path)
    return MetaTensor(torch.zeros(3, 24, 16), meta={"filename_or_obj": str(path)})


def overlay(tmp_path, sample):
    folder = tmp_path / "overlays"
    folder.mkdir()
    write_overlays([sample], folder)
    with Image.open(folder / "01_frame.png") as file:
        return np.asarray(file)


def mask(channels=1, width=24, height=16):
    return torch.zeros(channels, width, height)


def test_width_first_becomes_height_first(tmp_path, image):
    pred, label = mask(), mask()
    pred[0, 20, 3] = 1
    label[0, 5, 12] = 1
    picture = overlay(tmp_path, {"image": image, "pred": pred, "label": label})
    assert picture.shape == (16, 24, 3)
    assert tuple(picture[3, 20]) == CLASS_COLOURS[0]
    assert tuple(picture[12, 5]) == LABEL_COLOUR


def test_one_hot_becomes_class_numbers(tmp_path, image):
    pred = mask(channels=3)
    pred[0] = 1
    pred[:, 20, 3] = torch.tensor([0.0, 0.0, 1.0])
    picture = overlay(tmp_path, {"image": image, "pred": pred})
    assert tuple(picture[3, 20]) == CLASS_COLOURS[1]
    assert picture.any(axis=-1).sum() == 1


def test_picture_follows_the_size_of_the_prediction(tmp_path, image):
    assert overlay(tmp_path, {"image": image, "pred": mask(width=8, height=8)}).shape == (8, 8, 3)
