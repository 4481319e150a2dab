"""Which files are images to predict, and by what name the results know them."""

from __future__ import annotations

import os
import socket
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksup_med.errors import MaskSupError, MissingDataError, SettingError
from masksup_med.predict.discovery import Found, Inputs, find_images

SUFFIXES = ("bmp", "dcm", "jpeg", "jpg", "nii", "nii.gz", "png", "tif", "tiff")


def tree(root: Path, *files: str) -> Path:
    """Make empty files; discovery opens none. A name that ends in / is a folder."""
    for name in files:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return root


def keys(found: Inputs) -> list[str]:
    return [image.key for image in found.images]


def problems(found: Inputs) -> dict[str, str]:
    return {image.key: image.problem for image in found.images if image.problem}


def test_folders_are_searched_to_the_bottom_for_every_suffix(tmp_path: Path) -> None:
    names = [f"a/b/{suffix}.{suffix}" for suffix in SUFFIXES] + [f"A/{suffix}.{suffix.upper()}" for suffix in SUFFIXES]
    found = find_images([tree(tmp_path / "in", *names, "top.png")], tmp_path / "out")
    assert keys(found) == sorted([*names, "top.png"])
    assert all(image.path == tmp_path / "in" / image.key and not image.problem for image in found.images)
    assert not found.left_out


def test_other_files_are_counted_and_left_out(tmp_path: Path) -> None:
    tree(tmp_path / "in", "a.png", "b.txt", "c/d.TXT", "c/README", "f.png.bak", "png", "g.gz", "h.nii.zip")
    found = find_images([tmp_path / "in"], tmp_path / "out")
    assert keys(found) == ["a.png"]
    assert found.left_out == {".txt": 2, "no suffix": 2, ".bak": 1, ".gz": 1, ".zip": 1}


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path / "in", "a.png", ".b.png", ".git/c.png", "d/.e/f.png", "d/.g.txt")
    found = find_images([tmp_path / "in"], tmp_path / "out")
    assert keys(found) == ["a.png"] and not found.left_out
    # unless they are named
    assert keys(find_images([tmp_path / "in" / ".git"], tmp_path / "out")) == ["c.png"]
    assert keys(find_images([tmp_path / "in" / ".b.png"], tmp_path / "out")) == [".b.png"]


def test_files_are_taken_whatever_their_names(tmp_path: Path) -> None:
    tree(tmp_path / "in", "a.txt", "b", "c.png")
    found = find_images([tmp_path / "in" / name for name in ("b", "a.txt")], tmp_path / "out")
    assert keys(found) == ["a.txt", "b"] and not found.left_out


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["in"], ["a.png", "s/a.png", "s/b.png"]),
        (["in/a.png"], ["a.png"]),
        (["in/a.png", "in/a.png", "in/../in/a.png"], ["a.png"]),
        (["in/s/a.png", "in/s/b.png"], ["a.png", "b.png"]),
        (["in", "in"], ["a.png", "s/a.png", "s/b.png"]),
        (["in", "in/a.png"], ["a.png", "s/a.png", "s/b.png"]),
        (["in", "in/s"], ["a.png", "s/a.png", "s/b.png"]),
        (["in/s", "in"], ["in/a.png", "s/a.png", "s/b.png"]),
        (["in/s", "other"], ["other/a.png", "other/s/c.png", "s/a.png", "s/b.png"]),
        (["in/s", "other/s"], ["in/s/a.png", "in/s/b.png", "other/s/c.png"]),
        (["in/a.png", "other/a.png"], ["in/a.png", "other/a.png"]),
        (["in/s/b.png", "other/s", "other"], ["TMP/other/a.png", "in/s/b.png", "other/s/c.png"]),
    ],
    ids=str,
)
def test_several_inputs(tmp_path: Path, inputs: list[str], expected: list[str]) -> None:
    tree(tmp_path, "in/a.png", "in/s/a.png", "in/s/b.png", "other/a.png", "other/s/c.png")
    found = find_images([tmp_path / name for name in inputs], tmp_path / "out")
    assert keys(found) == sorted(key.replace("TMP", tmp_path.name) for key in expected)
    assert len({image.path for image in found.images}) == len(found.images)


def test_inputs_are_relative_to_here_and_to_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "in/a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("in", "./in/", "in/.", "~/in"):
        (image,) = find_images([name], "out").images
        assert image == Found("a.png", tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path / "in")
    assert keys(find_images(["."], "../out")) == ["a.png"]


def test_output_inside_input_is_passed_over(tmp_path: Path) -> None:
    tree(tmp_path / "in", "a.png", "out/masks/a.png", "outer/b.png", "out.png")
    (tmp_path / "link").symlink_to(tmp_path / "in" / "out")
    for output in (tmp_path / "in" / "out", tmp_path / "in" / "x" / ".." / "out", tmp_path / "link"):
        found = find_images([tmp_path / "in"], output)
        assert keys(found) == ["a.png", "out.png", "outer/b.png"] and not found.left_out


def test_output_that_a_link_in_the_input_leads_to_is_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.png", "out/masks/a.png")
    (tmp_path / "in" / "results").symlink_to(tmp_path / "out")
    assert keys(find_images([tmp_path / "in"], tmp_path / "out")) == ["a.png"]


def test_parts_of_the_output_that_links_in_the_input_lead_to_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.png", "out/masks/a.png")
    (tmp_path / "in" / "results").symlink_to(tmp_path / "out" / "masks")
    assert keys(find_images([tmp_path / "in"], tmp_path / "out")) == ["a.png"]


@pytest.mark.parametrize("name", ["out", "out/masks", "out/masks/a.png", "way/masks", "out/../out/masks"])
def test_input_inside_output_is_refused(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "in/b.png", "out/masks/a.png", "output/c.png")
    (tmp_path / "way").symlink_to(tmp_path / "out")
    with pytest.raises(SettingError, match=r"lies in the output folder .*out; name another folder for the results\.$"):
        find_images([tmp_path / "in", tmp_path / name], tmp_path / "out")
    assert keys(find_images([tmp_path / "output"], tmp_path / "out")) == ["c.png"]  # a name that begins alike


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"There is no file or folder /.*/no\.png; correct the path\.$"):
        find_images([tree(tmp_path, "in/a.png"), tmp_path / "no.png"], tmp_path / "out")
    with pytest.raises(MissingDataError, match="There is no file or folder"):
        find_images([""], tmp_path / "out") if not Path("").exists() else find_images(
            [tmp_path / "x"], tmp_path / "out"
        )


def test_folders_without_an_image_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.txt", "in/b.doc", "also/.c.png", "empty/")
    with pytest.raises(MissingDataError, match=r"in and .*also: no PNG.*There are 2 files of other kinds\.$"):
        find_images([tmp_path / "in", tmp_path / "also"], tmp_path / "out")
    with pytest.raises(MissingDataError, match=r"empty: no PNG.* name the folder that holds the images\.$"):
        find_images([tmp_path / "empty"], tmp_path / "out")


def test_links_are_followed_and_loops_and_broken_ones_are_named(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.png", "in/deep/b.png", "elsewhere/c.png")
    links = {
        "in/file.png": tmp_path / "elsewhere" / "c.png",
        "in/folder": tmp_path / "elsewhere",
        "in/gone.png": tmp_path / "nothing",
        "in/self": tmp_path / "in",
        "in/deep/up": tmp_path / "in",
        "in/above": tmp_path,
        "in/lost": tmp_path / "nothing",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    found = find_images([tmp_path / "in"], tmp_path / "out")
    loop, gone = "is a link to a folder that it lies in; remove the link", "is a link that leads to no file"
    named = problems(found)
    assert {key: text for key, text in named.items() if not key.startswith("above/")} == {
        "self": loop,
        "deep/up": loop,
        "gone.png": f"{gone}; restore the file, or remove the link",
    }
    fine = [key for key in keys(found) if key not in named and not key.startswith("above/")]
    assert fine == ["a.png", "deep/b.png", "file.png", "folder/c.png"]
    # by way of the folder above, the input is found once more, and no further
    assert named["above/in"] == loop
    assert [key for key in keys(found) if key.startswith("above/")] == ["above/elsewhere/c.png", "above/in"]
    assert found.left_out == {"no suffix": 1}


@pytest.mark.parametrize("name", ["round.png", "round"])
def test_link_to_itself_stops_no_other(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "in/a.png")
    (tmp_path / "in" / name).symlink_to(name)
    found = find_images([tmp_path / "in"], tmp_path / "out")
    assert "a.png" in keys(found) and (name not in keys(found) or name in problems(found))


def test_named_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "round.png").symlink_to("round.png")
    assert problems(find_images([tmp_path / "round.png"], tmp_path / "out")).keys() == {"round.png"}


def test_two_links_to_each_other_end(tmp_path: Path) -> None:
    tree(tmp_path, "in/a/x.png", "in/b/")
    (tmp_path / "in" / "a" / "to_b").symlink_to(tmp_path / "in" / "b")
    (tmp_path / "in" / "b" / "to_a").symlink_to(tmp_path / "in" / "a")
    found = find_images([tmp_path / "in"], tmp_path / "out")
    assert keys(found) == ["a/to_b/to_a", "a/x.png", "b/to_a/to_b", "b/to_a/x.png"]
    assert set(problems(found)) == {"a/to_b/to_a", "b/to_a/to_b"}


def test_named_links(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    found = find_images([tmp_path / "link", tmp_path / "gone.png"], tmp_path / "out")
    assert list(problems(found)) == [f"{tmp_path.name}/gone.png"]
    assert found.images[0].key in ("link/a.png", f"{tmp_path.name}/gone.png")


def test_folders_named_as_images(tmp_path: Path) -> None:
    tree(tmp_path / "in", "x.png/", "y.png/a.png", "z.png/notes.txt", "plain/")
    found = find_images([tmp_path / "in"], tmp_path / "out")
    assert problems(found) == {"x.png": "is an empty folder, not an image; remove or rename it"}
    assert keys(found) == ["x.png", "y.png/a.png"]


def test_devices_and_pipes_are_not_opened(tmp_path: Path) -> None:
    tree(tmp_path / "in", "a.png")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "null.png").symlink_to("/dev/null")
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    try:
        os.chdir(tmp_path / "in")  # a socket's path must be short
        listening.bind("socket.png")
        found = find_images([tmp_path / "in"], tmp_path / "out")
    finally:
        os.chdir(here)
        listening.close()
    assert set(problems(found)) == {"pipe.png", "null.png", "socket.png"}
    assert set(problems(found).values()) == {"is no file but a device, pipe or socket; remove it"}


def test_folder_that_cannot_be_opened_is_a_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "in", "a.png", "shut/b.png")
    refuse(monkeypatch, tmp_path / "in" / "shut")
    found = find_images([tmp_path / "in"], tmp_path / "out")
    assert problems(found) == {"shut": "is a folder that cannot be opened (Permission denied); allow reading it"}
    assert keys(found) == ["a.png", "shut"]


def test_input_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, tree(tmp_path / "shut", "b.png"))
    try:
        text = " ".join(map(str, find_images([tmp_path / "shut"], tmp_path / "out").images[0][::2]))
    except MaskSupError as error:
        text = str(error)
    assert "shut" in text


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a folder not be listed, as if it were another user's; tests may be run by root, who sees all."""
    listdir = os.listdir

    def guarded(path: Path) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", guarded)


def test_very_deep_folders(tmp_path: Path) -> None:
    here, depth = os.getcwd(), 150
    (tmp_path / "in").mkdir()
    try:
        os.chdir(tmp_path / "in")
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("a.png").touch()
    finally:
        os.chdir(here)
    assert keys(find_images([tmp_path / "in"], tmp_path / "out")) == ["d/" * depth + "a.png"]


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    try:
        with open(os.fsencode(folder) + b"/\xff.png", "wb"):
            pass
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    (image,) = find_images([folder], tmp_path / "out").images
    assert os.fsencode(image.key) == b"\xff.png" and image.path.is_file()


NAME = st.sampled_from(["a", "b", "in", "x.png", "y.png"])
PATHS = st.lists(st.lists(NAME, min_size=1, max_size=4).map("/".join), min_size=1, max_size=8)


@given(files=PATHS, picked=st.lists(st.integers(0, 30), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_every_image_once_and_no_two_of_one_name(
    files: list[str], picked: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name in files:
        path = root / name / "z.png"  # always a folder and a file, so that no name is both
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    places = sorted(root.rglob("*"))
    inputs = [places[number % len(places)] for number in picked]
    expected = {path for each in inputs for path in (each.rglob("z.png") if each.is_dir() else [each])}
    found = find_images(inputs, root / "out")
    assert {image.path for image in found.images} == expected
    assert len({image.key for image in found.images}) == len(found.images) == len(expected)
    assert keys(found) == sorted(keys(found))
    assert all(image.path.as_posix().endswith("/" + image.key) for image in found.images)
    assert not any(PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts for key in keys(found))
    again = find_images(list(reversed(inputs)), root / "out")
    assert {image.path for image in again.images} == expected


def test_no_two_of_one_name_when_one_folder_repeats_the_path_of_another(tmp_path: Path) -> None:
    """As with inputs /a, /z/a/b and /y/a, where /a/b/f.png and /z/a/b/f.png are both called a/b/f.png."""
    inside = tmp_path.relative_to("/")
    repeated = tmp_path / "q" / inside / "b"
    tails = [tmp_path / name / inside for name in ("r", "s")]  # alike in all but the part before
    for folder in (tmp_path / "b", repeated, *tails):
        tree(folder, "f.png")
    found = find_images([repeated, *tails, tmp_path], tmp_path / "out")
    assert len(set(keys(found))) == len(found.images)
