"""Images and labels find each other, whole groups part, and copies on both sides are found."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from masksup_med.data.datalist import save_datalist
from masksup_med.errors import DataError, MissingDataError
from masksup_med.train.source import absent, from_data_sets, from_folders, leaks
from masksup_med.train.survey import survey
from tests.train.made import data_set, items_of, noise, squares, write


def tree(folder, images, labels):
    for name in images:
        write(folder / "images" / name, noise(len(name)))
    for name in labels:
        write(folder / "labels" / name, squares(1))
    return folder / "images", folder / "labels"


def pairs(datalist):
    return sorted((Path(item["image"]).name, Path(item["label"]).name) for items in datalist.values() for item in items)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["case1.jpg", "case2.png"], ["case1.png", "case2.bmp"]),
        (["case1.jpg", "case2.jpg"], ["case1_mask.png", "case2_mask.png"]),
        (["1.png", "10.png", "11.png"], ["1_mask.png", "10_mask.png", "11_mask.png"]),
        (["a.b.png", "a.c.png"], ["a.b.seg.png", "a.c.seg.png"]),
    ],
)
def test_names(images, labels, tmp_path):
    found = from_folders(*tree(tmp_path, images, labels))
    assert pairs(found) == sorted(zip(images, labels, strict=True))


def test_sub_folders(tmp_path):
    names = ["p1/a.png", "p1/b.png", "p2/a.png"]
    found = from_folders(*tree(tmp_path, names, [name.replace(".png", "_gt.png") for name in names]))
    items = found["training"] + found["validation"]
    assert {item["group"] for item in items} == {"p1/a", "p1/b", "p2/a"}
    for item in items:
        assert item["label"] == item["image"].replace("images", "labels").replace(".png", "_gt.png")


def test_a_fifth_is_held_out_and_the_seed_says_which(tmp_path):
    folders = data_set(tmp_path, [squares(1)] * 10)
    found = [from_folders(*folders, seed=seed) for seed in range(4)]
    assert all([len(each["training"]), len(each["validation"])] == [8, 2] for each in found)
    assert len({json.dumps(each) for each in found}) > 1
    assert found[0] == from_folders(*folders, seed=0)


def test_groups_stay_together(tmp_path):
    folders = data_set(tmp_path, [squares(1)] * 10)
    (tmp_path / "groups.csv").write_text("image,group\n" + "".join(f"{n:02}.png,p{n // 2}\n" for n in range(10)))
    found = from_folders(*folders, tmp_path / "groups.csv")
    groups = [{item["group"] for item in items} for items in found.values()]
    assert groups[0] | groups[1] == {f"p{n}" for n in range(5)} and not groups[0] & groups[1]
    assert len(found["validation"]) == 2


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (None, MissingDataError, "There is no file"),
        ("image,group\n00,a\n01,b\n", DataError, "no entry for 2 of 4 images"),
        ("image,group\n" + "".join(f"0{n},a\n" for n in range(4)), DataError, "Cannot split images of one group"),
        ("image;group\n00;a\n", DataError, "no column 'image'"),
        ("image,group\n" + "".join(f"0{n},a\n" for n in range(4)) + "00,b\n", DataError, "both"),
    ],
)
def test_tables_of_groups_that_cannot_be_used(table, error, message, tmp_path):
    folders = data_set(tmp_path, [squares(1)] * 4)
    if table is not None:
        (tmp_path / "groups.csv").write_text(table)
    with pytest.raises(error, match=message):
        from_folders(*folders, tmp_path / "groups.csv")


def test_lonely_files_are_named(tmp_path):
    folders = data_set(tmp_path, [squares(1)] * 3)
    (folders[1] / "01.png").unlink()
    with pytest.raises(DataError, match=r"1 image has no label: .*01\.png"):
        from_folders(*folders)
    (folders[0] / "01.png").unlink()
    (folders[0] / "02.png").unlink()
    with pytest.raises(DataError, match=r"1 label has no image: .*02\.png"):
        from_folders(*folders)


def test_one_folder_for_both_is_refused(tmp_path):
    images, _ = data_set(tmp_path, [squares(1)] * 3)
    with pytest.raises(DataError, match="given for images and labels"):
        from_folders(images, images)
    (tmp_path / "link").symlink_to(images)
    with pytest.raises(DataError, match="given for images and labels"):
        from_folders(images, tmp_path / "link")


def test_data_sets(tmp_path):
    first, second = data_set(tmp_path / "a", [squares(1)] * 5), data_set(tmp_path / "b", [squares(1)] * 5)
    save_datalist(from_folders(*second), tmp_path / "b.json")
    found = from_data_sets([first[0].parent, tmp_path / "b.json"])
    assert [len(items) for items in found.values()] == [8, 2] and list(found) == ["training", "validation"]
    assert len({item["group"] for items in found.values() for item in items}) == 10


ONE = {"image": "images/00.png", "label": "labels/00.png"}


@pytest.mark.parametrize(
    ("lists", "error", "message"),
    [
        ({"test": ["images/00.png"]}, MissingDataError, "no images for training"),
        ({"training": [ONE], "validation": []}, MissingDataError, "no images for validation"),
        ({"training": [{"image": "images/00.png"}]}, DataError, "a path 'label'"),
    ],
)  # fmt: skip
def test_data_sets_without_what_is_needed(lists, error, message, tmp_path):
    data_set(tmp_path, [squares(1)] * 3)
    (tmp_path / "list.json").write_text(json.dumps(lists))
    with pytest.raises(error, match=message):
        from_data_sets([tmp_path / "list.json"])


def leaking(folder, held_out):
    """The names of the pairs that are found between four images and others."""
    training = [write(folder / f"training{number}.png", noise(number)) for number in range(4)]
    validation = [write(folder / f"validation{number}.png", pixels) for number, pixels in enumerate(held_out)]
    label = str(write(folder / "label.png", squares(1)))
    lists = {"training": training, "validation": validation}
    datalist = {
        name: [{"image": str(path), "label": label, "group": path.stem} for path in paths]
        for name, paths in lists.items()
    }
    items = datalist["training"] + datalist["validation"]
    pictures = {item["image"]: picture for item, picture in zip(items, survey(items).pictures, strict=True)}
    return [(Path(one).stem, Path(other).stem) for one, other in leaks(datalist, pictures)]


def recompressed(pixels, folder):
    return np.asarray(Image.open(write(folder / "small.jpg", pixels, quality=40)))


def test_absent_classes_are_named(tmp_path):
    items = items_of(data_set(tmp_path, [squares(1, 2), squares(2), squares(3)]))
    seen = survey(items, ["1:a", "2:b", "3:c"])
    assert absent({"training": items[:2], "validation": items[2:]}, seen) == {
        "training": ["c"],
        "validation": ["a", "b"],
    }


def test_copies_are_found_and_others_are_not(tmp_path):
    copy = noise(1)
    brighter = np.asarray(ImageEnhance.Brightness(Image.fromarray(noise(2))).enhance(1.2))
    shifted = np.roll(noise(0), 1, axis=1)
    others = [noise(seed) for seed in range(10, 14)]
    held_out = [copy, brighter, recompressed(noise(3), tmp_path), shifted, *others]
    assert leaking(tmp_path, held_out) == [
        ("validation0", "training1"),
        ("validation1", "training2"),
        ("validation2", "training3"),
        ("validation3", "training0"),
    ]


def test_a_smaller_copy_is_found(tmp_path):
    small = np.asarray(Image.fromarray(noise(2)).resize((64, 64)).convert("L"))
    assert leaking(tmp_path, [np.repeat(small[..., None], 3, axis=-1)]) == [("validation0", "training2")]


def test_flat_images_are_like_none_but_copies(tmp_path):
    assert leaking(tmp_path, [np.full((64, 64, 3), 80, np.uint8)]) == []
