"""Folders of images for inference, and the writer of their masks."""

import os

import numpy as np
import pytest
from PIL import Image

from masksup_med.data import AtomicPILWriter, list_images, load_datalist, save_datalist, training_images
from masksup_med.errors import DataError, MissingDataError


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)
    return path


def test_lists_images_of_all_sub_folders_in_order(tmp_path):
    expected = [picture(tmp_path / name) for name in ("a.JPG", "b/c.png", "b/d/e.tif", "f.bmp")]
    picture(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == [{"image": str(path)} for path in expected]


def test_refuses_missing_empty_and_colliding(tmp_path):
    with pytest.raises(MissingDataError, match=r"There is no folder .*nowhere"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(MissingDataError, match="holds no PNG"):
        list_images(tmp_path)
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png are two files of one name"):
        list_images(tmp_path)


def test_images_to_learn_from_without_labels(tmp_path):
    for name in ("images/a.png", "images/b.png", "images/c.png", "labels/a.png", "labels/b.png", "labels/c.png"):
        picture(tmp_path / name)
    lists = load_datalist(tmp_path, 0.3)
    expected = [{"image": item["image"]} for item in lists["training"]]
    assert training_images(tmp_path, 0.3) == expected and len(expected) == 2
    save_datalist(lists, tmp_path / "lists.json")
    assert training_images(tmp_path / "lists.json") == training_images([str(tmp_path / "lists.json")]) == expected
    assert training_images(tmp_path / "images") == list_images(tmp_path / "images")
    (tmp_path / "labels" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png"):  # a data set that is broken is not taken for images alone
        training_images(tmp_path)
    with pytest.raises(MissingDataError, match="There is no datalist"):
        training_images(tmp_path / "none.json")
    with pytest.raises(MissingDataError, match="There is no folder"):
        training_images(tmp_path / "nowhere")


def test_writer_replaces_a_file_only_when_it_is_whole(tmp_path, monkeypatch):
    def write(value):
        writer = AtomicPILWriter(output_dtype=np.uint8)
        writer.set_data_array(np.full((6, 8), value, np.uint8), channel_dim=None)
        writer.write(tmp_path / "mask.png")

    write(255)
    monkeypatch.setattr(Image.Image, "save", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(0)
    assert np.asarray(Image.open(tmp_path / "mask.png")).min() == 255
    assert os.listdir(tmp_path) == ["mask.png"]
