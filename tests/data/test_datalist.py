from __future__ import annotations

import itertools
import json
import os
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.data import load_decathlon_datalist
from PIL import Image

from masksup_med.data import check_datalist, datalist_digest, load_datalist, part, save_datalist
from masksup_med.errors import DataError, MissingDataError, SettingError


def make(folder: Path, names: list[str], labels: str = "labels", size: tuple[int, int] = (4, 3)) -> Path:
    """Images and labels with content of their own, in paired folders."""
    for name in names:
        for each, level in (("images", 10), (labels, 20)):
            path = folder / each / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full(size[::-1], level + sum(map(ord, name)) % 200, np.uint8)
            Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    return make(tmp_path / "data", [f"{i}.png" for i in range(10)])


def names(items: list[dict]) -> list[str]:
    return [Path(item["image"]).name for item in items]


def test_folder(ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datalist = load_datalist(str(ten), validation=0.3)
    assert list(datalist) == ["training", "validation"]
    assert [len(items) for items in datalist.values()] == [7, 3]
    item = datalist["training"][0]
    assert list(item) == ["image", "label", "group"]
    assert all(type(value) is str for value in item.values())
    assert os.path.isabs(item["image"])
    assert item["label"] == item["image"].replace("images", "labels")
    monkeypatch.chdir(ten.parent)
    assert load_datalist("data", validation=0.3) == datalist
    assert load_datalist(Path("data"), validation=0.3, seed=1) != datalist


def test_home_is_expanded(ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(ten.parent))
    assert load_datalist("~/data") == load_datalist(ten)


def test_given_parts_stay(tmp_path: Path) -> None:
    for name, stems in {"train": "abc", "validation": "a", "test": "ab"}.items():
        make(tmp_path / name, [f"{stem}.png" for stem in stems], "masks")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        datalist = load_datalist(tmp_path)
    assert {name: len(items) for name, items in datalist.items()} == {"training": 3, "validation": 1, "test": 2}


def test_a_group_in_two_given_parts_is_worth_a_warning(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        make(tmp_path / name, [f"{name}.png"])
        (tmp_path / name / "groups.csv").write_text(f"image,group\n{name},patient 1\n")
    with pytest.warns(UserWarning, match="share 1 groups.*patient 1") as caught:
        load_datalist(tmp_path)
    assert caught[0].filename == __file__


def test_test_set_alone(tmp_path: Path) -> None:
    for name in ("testA_1.bmp", "testA_1_anno.bmp"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    (tmp_path / "Grade.csv").write_text("name,patient ID\ntestA_1,1\n")
    datalist = load_datalist(tmp_path)
    assert {name: len(items) for name, items in datalist.items()} == {"training": 0, "validation": 0, "test": 1}


def test_several_folders(tmp_path: Path) -> None:
    for site in ("a/data", "b/data"):
        make(tmp_path / site, [f"{i}.png" for i in range(5)])
    datalist = load_datalist([tmp_path / "a" / "data", str(tmp_path / "b" / "data")])
    assert [len(items) for items in datalist.values()] == [8, 2]
    groups = {item["group"] for items in datalist.values() for item in items}
    assert groups == {f"{site}/data/{i}" for site in "ab" for i in range(5)}


def test_a_folder_and_a_json(ten: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", ["x.png", "y.png"])
    save_datalist(load_datalist(other, 0.5), tmp_path / "other.json")
    datalist = load_datalist([ten, tmp_path / "other.json"])
    assert [len(items) for items in datalist.values()] == [9, 3]


@pytest.mark.parametrize("given", [[], ["data", "data"], ["data", "data/../data"]])
def test_no_folder_or_one_twice(ten: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    monkeypatch.chdir(ten.parent)
    with pytest.raises(SettingError, match="dataset_dir="):
        load_datalist(given)


def test_one_image_under_two_names(ten: Path) -> None:
    (ten.parent / "link").symlink_to(ten)
    with pytest.raises(DataError, match=r"0\.png is both in .*data and in .*link"):
        load_datalist([ten, ten.parent / "link"])


def test_settings_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="validation=2"):
        load_datalist(tmp_path / "nowhere", validation=2)


@pytest.mark.parametrize("given", ["nowhere", "nowhere.json"])
def test_missing(tmp_path: Path, given: str) -> None:
    with pytest.raises(MissingDataError, match=given):
        load_datalist(tmp_path / given)


def test_one_group_cannot_be_split(tmp_path: Path) -> None:
    make(tmp_path, ["a.png"])
    with pytest.raises(DataError, match="Cannot split images of one group"):
        load_datalist(tmp_path)


def test_json_like_monai(ten: Path) -> None:
    path = ten / "lists.json"
    content = {
        "name": "mine",
        "training": [{"image": "images/0.png", "label": "labels/0.png", "group": "7", "fold": 1}],
        "validation": [{"image": "./images/1.png", "label": "images/../labels/1.png"}],
        "test": ["images/2.png", "images/3.png"],
    }
    path.write_text(json.dumps(content))
    datalist = load_datalist(path)
    assert list(datalist) == ["training", "validation", "test"]
    for name, items in datalist.items():
        reference = load_decathlon_datalist(path, data_list_key=name)
        assert [{"group": item["group"], **other} for item, other in zip(items, reference, strict=True)] == items
    assert datalist["training"][0]["fold"] == 1
    assert [item["group"] for items in datalist.values() for item in items] == ["7", "images/1", "images/2", "images/3"]


def test_json_takes_only_paths_for_paths(ten: Path) -> None:
    """MONAI's reader turns a group that is named like a file into its path."""
    (ten / "7").touch()
    items = [{"image": f"images/{i}.png", "label": f"labels/{i}.png", "group": str(7 + i)} for i in range(2)]
    (ten / "lists.json").write_text(json.dumps({"training": items}))
    datalist = load_datalist(ten / "lists.json", 0.5)
    assert sorted(datalist["training"] + datalist["validation"], key=str)[0]["group"] == "7"


def test_json_without_validation_is_split_by_group(ten: Path) -> None:
    items = [{"image": f"images/{i}.png", "label": f"labels/{i}.png", "group": i // 2} for i in range(10)]
    (ten / "lists.json").write_text(json.dumps({"training": items}))
    training, validation = load_datalist(ten / "lists.json").values()
    assert (len(training), len(validation)) == (8, 2)
    assert len({item["group"] for item in validation}) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no valid JSON"),
        ("[]", "none of the lists training, validation, test"),
        ('{"training": []}', "none of the lists"),
        ('{"training": [3]}', "list 'training' the item 3"),
        ('{"training": ["a.png"]}', "the item 'a.png'"),
        ('{"training": [{"image": "a.png"}]}', "path 'image' and a path 'label'"),
        ('{"test": [{"image": "a.png", "label": null}]}', "path 'label'"),
        ('{"test": [{"label": "a.png"}]}', "path 'image'"),
    ],
)
def test_bad_json(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "lists.json").write_text(content)
    with pytest.raises(DataError, match=rf"lists\.json.*{reason}"):
        load_datalist(tmp_path / "lists.json")


def test_json_with_an_image_in_two_lists(ten: Path) -> None:
    item = {"image": "images/0.png", "label": "labels/0.png"}
    (ten / "lists.json").write_text(json.dumps({"training": [item], "validation": [item]}))
    with pytest.raises(DataError, match=r"0\.png is both in training and in validation"):
        load_datalist(ten / "lists.json")


def test_json_with_files_that_are_not_there(ten: Path) -> None:
    item = {"image": "images/0.png", "label": "labels/nothing.png"}
    (ten / "lists.json").write_text(json.dumps({"validation": [item]}))
    with pytest.raises(MissingDataError, match=r"nothing\.png"):
        load_datalist(ten / "lists.json")


def test_save_and_load(ten: Path, tmp_path: Path) -> None:
    datalist = load_datalist(ten)
    path = tmp_path / "runs" / "1" / "lists.json"
    save_datalist(datalist, path)
    assert load_datalist(path) == datalist
    assert "../../data/images" in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["lists.json"]


def test_save_moves_with_the_data(ten: Path, tmp_path: Path) -> None:
    save_datalist(load_datalist(ten), ten / "lists.json")
    before = load_datalist(ten / "lists.json")
    shutil.move(ten, tmp_path / "moved")
    after = load_datalist(tmp_path / "moved" / "lists.json")
    assert [names(items) for items in after.values()] == [names(items) for items in before.values()]


def test_failed_save_leaves_the_old_file(ten: Path) -> None:
    path = ten / "lists.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        save_datalist({"training": [{"image": "a", "label": "b", "group": object()}]}, path)
    assert path.read_text() == "old"
    assert not list(ten.glob(".lists*"))


def test_check_names_both_files_and_sizes(ten: Path) -> None:
    for i in (3, 4):
        Image.new("L", (4, 4)).save(ten / "labels" / f"{i}.png")
    with pytest.raises(
        DataError, match=r"images/3\.png has 4 × 3 pixels, its label .*labels/3\.png 4 × 4 \(and 1 more\)"
    ):
        load_datalist(ten)


def test_check_heeds_orientation(ten: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 3)).save(ten / "images" / "0.png", exif=exif)
    with pytest.raises(DataError, match=r"0\.png has 3 × 4 pixels"):
        load_datalist(ten)
    Image.new("L", (3, 4)).save(ten / "labels" / "0.png")
    load_datalist(ten)


@pytest.mark.parametrize("each", ["images", "labels"])
def test_check_refuses_what_cannot_be_read(ten: Path, each: str) -> None:
    (ten / each / "5.png").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=rf"Cannot read image .*{each}/5\.png"):
        load_datalist(ten)


def test_check_is_fast(tmp_path: Path) -> None:
    make(tmp_path, ["a.png", "b.jpg"], size=(352, 352))
    pairs = [{"image": str(tmp_path / "images" / n), "label": str(tmp_path / "labels" / n)} for n in ("a.png", "b.jpg")]
    start = time.perf_counter()
    check_datalist(pairs * 700)
    assert time.perf_counter() - start < 2


def test_digest_is_of_content_and_lists_alone(ten: Path, tmp_path: Path) -> None:
    datalist = load_datalist(ten)
    digest = datalist_digest(datalist)
    assert len(bytes.fromhex(digest)) == 32
    copy = shutil.copytree(ten, tmp_path / "copy")
    assert datalist_digest(load_datalist(copy)) == digest
    assert datalist_digest({name: items[::-1] for name, items in reversed(datalist.items())}) == digest


@pytest.mark.parametrize("change", ["image", "label", "list", "pairing", "repeat"])
def test_digest_sees_every_change(ten: Path, change: str) -> None:
    datalist = load_datalist(ten)
    digest = datalist_digest(datalist)
    training: list[Any] = datalist["training"]
    if change in ("image", "label"):
        with open(training[2][change], "ab") as file:
            file.write(b"x")
    elif change == "list":
        datalist["validation"].append(training.pop())
    elif change == "pairing":
        training[0], training[1] = (
            training[0] | {"label": training[1]["label"]},
            training[1] | {"label": training[0]["label"]},
        )
    else:
        training.append(training[0])
    assert datalist_digest(datalist) != digest


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "counts"),
    [
        ("glas", (68, 17)),
        ("cvc_clinicdb", (371, 93)),
        ("cvc_clinicdb/original", (19, 5)),
        ("kvasir_seg", (799, 100)),
        ("kvasir_seg/original_resolution", (4, 1)),
    ],
)
def test_real_folders(real_data: Path, folder: str, counts: tuple[int, int]) -> None:
    start = time.perf_counter()
    datalist = load_datalist(real_data / folder)
    assert time.perf_counter() - start < 5
    assert (len(datalist["training"]), len(datalist["validation"])) == counts
    assert not {i["group"] for i in datalist["training"]} & {i["group"] for i in datalist["validation"]}


def test_shares_of_a_list_are_nested() -> None:
    items = [{"image": f"{number}.png"} for number in range(20)]
    shares = [part({"training": items}, "training", share, seed=3) for share in (0.01, 0.1, 0.25, 0.5, 1)]
    assert [len(each) for each in shares] == [1, 2, 5, 10, 20] and shares[-1] == items
    for smaller, larger in itertools.pairwise(shares):
        assert all(item in larger for item in smaller)
        assert smaller == [item for item in items if item in smaller]  # in their order
    assert part({"training": items}, "training", 0.5, seed=4) != shares[3]


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(SettingError, match="is no share of images"):
        part({"training": [{"image": "a"}]}, "training", share)
