from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from masksup_med.data import list_pairs
from masksup_med.errors import DataError, MissingDataError

GRADES = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\r"


def images(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(path)


def both(folder: Path, image_folder: str, label_folder: str, names: Iterable[str]) -> None:
    images(folder, *(f"{each}/{name}" for name in names for each in (image_folder, label_folder)))


def listed(folder: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Lists with paths relative to the folder."""
    return {
        name: [(os.path.relpath(p.image, folder), os.path.relpath(p.label, folder), p.group) for p in pairs]
        for name, pairs in list_pairs(folder)[1].items()
    }


def test_glas_original(tmp_path: Path) -> None:
    names = ("train_1", "train_10", "testA_1", "testB_2")
    images(tmp_path, *(f"{name}{end}.bmp" for name in names for end in ("", "_anno")), "preview.png", "preview.jpg")
    rows = "\r".join(f"{name},{i}, benign, healthy" for i, name in enumerate(names, 2))
    (tmp_path / "Grade.csv").write_bytes((GRADES + rows).encode())
    assert list_pairs(tmp_path)[0] == "GlaS"
    assert listed(tmp_path) == {
        "training": [
            ("train_1.bmp", "train_1_anno.bmp", "patient_2"),
            ("train_10.bmp", "train_10_anno.bmp", "patient_3"),
        ],
        "test": [
            ("testA_1.bmp", "testA_1_anno.bmp", "patient_4"),
            ("testB_2.bmp", "testB_2_anno.bmp", "patient_5"),
        ],
    }


def glas_folders(folder: Path, *names: str) -> None:
    both(folder, "images", "instances", [f"{name}.png" for name in names])
    (folder / "Grade.csv").write_text(GRADES + "\n".join(f"{name}, 7 , benign" for name in names))


def test_glas_folders(tmp_path: Path) -> None:
    glas_folders(tmp_path, "train_2", "train_1")
    assert list_pairs(tmp_path)[0] == "GlaS in folders"
    assert listed(tmp_path) == {
        "training": [(f"images/train_{i}.png", f"instances/train_{i}.png", "patient_7") for i in (1, 2)]
    }


def test_glas_parts_keep_their_patients(tmp_path: Path) -> None:
    glas_folders(tmp_path / "train", "train_1")
    glas_folders(tmp_path / "test", "testA_1")
    images(tmp_path / "original_layout", "train_1.bmp")
    lists = listed(tmp_path)
    assert [pair[2] for pair in lists["training"] + lists["test"]] == ["patient_7", "patient_7"]


def test_glas_needs_its_grades(tmp_path: Path) -> None:
    both(tmp_path, "images", "instances", ["train_1.png", "train_2.png"])
    with pytest.raises(MissingDataError, match=r"Grade\.csv"):
        list_pairs(tmp_path)
    (tmp_path / "Grade.csv").write_text(GRADES + "train_1,2")
    with pytest.raises(DataError, match=r"Grade\.csv has no entry for 1 of 2 images \(train_2\)"):
        list_pairs(tmp_path)


@pytest.mark.parametrize(
    ("table", "reason"),
    [("name,patient\ntrain_1,1", "no column 'patient ID'"), ("", "no column 'name'"),
     (GRADES + "train_1,1\rtrain_1,2", "both patient ID '1' and '2'"), (GRADES + "train_1", "no entry")],
    ids=["columns", "empty", "twice", "short row"],
)  # fmt: skip
def test_bad_tables(tmp_path: Path, table: str, reason: str) -> None:
    glas_folders(tmp_path, "train_1")
    (tmp_path / "Grade.csv").write_text(table)
    with pytest.raises(DataError, match=rf"Grade\.csv.*{reason}"):
        list_pairs(tmp_path)


@pytest.mark.parametrize("folder", ["CVC-ClinicDB", "CVC-ClinicDB/PNG"])
@pytest.mark.parametrize(
    ("names", "suffix"),
    [(("Original", "Ground Truth"), "tif"), (("original", "ground_truth"), "PNG"), (("images", "masks"), "png")],
)
def test_cvc_by_the_published_table(tmp_path: Path, folder: str, names: tuple[str, str], suffix: str) -> None:
    both(tmp_path / folder, *names, [f"{frame}.{suffix}" for frame in (25, 26, 612, 1)])
    for given in (tmp_path / folder, tmp_path / "CVC-ClinicDB"):
        layout, lists = list_pairs(given)
        assert layout == "CVC-ClinicDB"
        assert {pair.image.stem: pair.group for pair in lists["training"]} == {
            "1": "sequence_1",
            "25": "sequence_1",
            "26": "sequence_2",
            "612": "sequence_29",
        }
        assert all(pair.image.name == pair.label.name for pair in lists["training"])


@pytest.mark.parametrize("table", ["sequences.csv", "png/sequences.csv"])
def test_cvc_by_a_table(tmp_path: Path, table: str) -> None:
    both(tmp_path, "png/images", "png/masks", ["1.png", "frame.png"])
    both(tmp_path, "original/images", "original/masks", ["1.tif"])
    (tmp_path / table).write_bytes(b"frame,sequence\r\n1,4\r\nframe,5\r\n")
    for given in (tmp_path, tmp_path / "png"):
        layout, lists = list_pairs(given)
        assert layout == "CVC-ClinicDB"
        assert [(pair.image.name, pair.group) for pair in lists["training"]] == [
            ("1.png", "sequence_4"),
            ("frame.png", "sequence_5"),
        ]


def test_cvc_refuses_frames_of_unknown_sequence(tmp_path: Path) -> None:
    both(tmp_path, "Original", "Ground Truth", ["1.tif", "613.tif", "x.tif"])
    with pytest.raises(DataError, match=r"613\.tif.*x\.tif.*sequences\.csv"):
        list_pairs(tmp_path)


@pytest.mark.parametrize("labels", ["labels", "masks", "Masks"])
def test_paired_folders(tmp_path: Path, labels: str) -> None:
    images(tmp_path, "Images/b.JPG", f"{labels}/b.png", "Images/sub/a.b.tiff", f"{labels}/sub/a.b.BMP")
    assert list_pairs(tmp_path)[0] == "paired folders"
    assert listed(tmp_path) == {
        "training": [
            ("Images/b.JPG", f"{labels}/b.png", "b"),
            ("Images/sub/a.b.tiff", f"{labels}/sub/a.b.BMP", "sub/a.b"),
        ]
    }


def test_groups_table(tmp_path: Path) -> None:
    both(tmp_path, "images", "labels", ["a.png", "s/b.png", "s/c.d.png"])
    (tmp_path / "groups.csv").write_text("﻿Image, group\na.png,x\ns\\b,y\ns/c.d,x\nother,z\n", encoding="utf-8")
    assert [pair[2] for pair in listed(tmp_path)["training"]] == ["x", "y", "x"]
    (tmp_path / "groups.csv").write_text("image,group\na,x\ns/b,\n")
    with pytest.raises(DataError, match=r"groups\.csv has no entry for 2 of 3 images \(s/b, s/c\.d\)"):
        list_pairs(tmp_path)


def test_parts(tmp_path: Path) -> None:
    for part, names in {"Train": ["0.jpg", "s/1.jpg"], "validation": ["0.jpg"], "test": ["0.jpg"]}.items():
        both(tmp_path / part, "images", "masks", names)
    assert {name: [pair[2] for pair in pairs] for name, pairs in listed(tmp_path).items()} == {
        "training": ["Train/0", "Train/s/1"],
        "validation": ["validation/0"],
        "test": ["test/0"],
    }


def test_a_part_that_no_layout_knows_is_not_passed_over(tmp_path: Path) -> None:
    both(tmp_path / "train", "images", "masks", ["0.jpg"])
    images(tmp_path / "val", "pictures/0.jpg")
    with pytest.raises(MissingDataError, match="val has none of the known layouts"):
        list_pairs(tmp_path)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (["images/x.png", "images/y.png"], r"2 images have no label: .*x\.png, .*y\.png"),
        (["labels/x.png"], r"1 label has no image: .*x\.png"),
        ([f"images/{i}.png" for i in range(9)], r"9 images .*0\.png, .*3\.png and 5 more"),
        (["images/a.jpg"], r"a\.jpg and a\.png"),
        (["labels/a.tif"], r"a\.png and a\.tif"),
        (["masks/a.png"], "both labels/ and masks/"),
    ],
)
def test_pairs_that_do_not_fit(tmp_path: Path, extra: list[str], reason: str) -> None:
    both(tmp_path, "images", "labels", ["a.png"])
    images(tmp_path, *extra)
    with pytest.raises(DataError, match=reason):
        list_pairs(tmp_path)


def test_oddities_are_passed_over(tmp_path: Path) -> None:
    both(tmp_path, "images", "labels", ["a.png"])
    images(tmp_path, "images/.hidden.png", "images/.cache/b.png", "images/._a.png")
    (tmp_path / "images" / "folder.png").mkdir()
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    os.mkfifo(tmp_path / "images" / "pipe.png")
    assert [pair[0] for pair in listed(tmp_path)["training"]] == ["images/a.png"]


def test_links_are_followed_and_broken_ones_listed(tmp_path: Path) -> None:
    both(tmp_path / "elsewhere", "images", "labels", ["a.png"])
    both(tmp_path / "data", "images", "labels", ["b.png"])
    for each in ("images", "labels"):
        (tmp_path / "data" / each / "linked").symlink_to(tmp_path / "elsewhere" / each)
        (tmp_path / "data" / each / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert [pair[2] for pair in listed(tmp_path / "data")["training"]] == ["b", "gone", "linked/a"]


@pytest.mark.parametrize("folders", [[], ["images", "labels"], ["train"], ["Original", "Ground Truth"]])
def test_nothing_there(tmp_path: Path, folders: list[str]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(MissingDataError, match=str(tmp_path)):
        list_pairs(tmp_path)


def test_unknown_layouts_and_missing_folders_say_what_is_known(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    with pytest.raises(MissingDataError, match=r"GlaS: .*CVC-ClinicDB: .*paired folders: images/ beside labels/"):
        list_pairs(tmp_path)
    with pytest.raises(MissingDataError, match=r"There is no folder .*nowhere"):
        list_pairs(tmp_path / "nowhere")


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "layout", "counts", "groups"),
    [
        ("glas", "parts", {"training": 85}, 15),
        ("glas/train", "GlaS in folders", {"training": 85}, 15),
        ("glas/original_layout", "GlaS", {"training": 4}, 4),
        ("cvc_clinicdb", "CVC-ClinicDB", {"training": 464}, 25),
        ("cvc_clinicdb/png", "CVC-ClinicDB", {"training": 464}, 25),
        ("cvc_clinicdb/original", "CVC-ClinicDB", {"training": 24}, 21),
        ("kvasir_seg", "parts", {"training": 799, "validation": 100}, 799),
        ("kvasir_seg/original_resolution", "paired folders", {"training": 5}, 5),
    ],
)
def test_real_folders(real_data: Path, folder: str, layout: str, counts: dict[str, int], groups: int) -> None:
    found, lists = list_pairs(real_data / folder)
    assert (found, {name: len(pairs) for name, pairs in lists.items()}) == (layout, counts)
    assert len({pair.group for pair in lists["training"]}) == groups


@pytest.mark.real
def test_the_published_cvc_table_agrees_with_the_one_beside_the_data(real_data: Path, tmp_path: Path) -> None:
    by_table = list_pairs(real_data / "cvc_clinicdb")[1]["training"]
    copy = tmp_path / "CVC-ClinicDB"
    copy.mkdir()
    for each in ("images", "masks"):
        (copy / each).symlink_to(real_data / "cvc_clinicdb" / "png" / each)
    by_number: Any = list_pairs(copy)[1]["training"]
    assert [pair.group for pair in by_number] == [pair.group for pair in by_table]
