"""Names of results: as plain as can be, and never two alike on any file system."""

from __future__ import annotations

import random
import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masksup_med.predict.names import result_names
from masksup_med.predict.results import OUTPUTS

SUFFIXES = (".bmp", ".dcm", ".jpeg", ".jpg", ".nii", ".nii.gz", ".png", ".tif", ".tiff", ".PNG", ".Nii.Gz", ".txt", "")
# letters that are alike in one way or another: in case, in the encoding of accents, in both, or by ligature
ALIKE = ("a", "A", "b", "é", "e\u0301", "É", "E\u0301", "ß", "ss", "SS", "\u017fs", "K", "\u212a", "\ufb01", "fi")
PARTS = (*ALIKE, "x.png", "X.PNG", "a.jpg")
NAMES = st.builds(lambda stem, suffix: stem + suffix, st.sampled_from(PARTS), st.sampled_from(SUFFIXES))
KEYS = st.lists(
    st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(st.sampled_from(PARTS), max_size=2), NAMES),
    max_size=12,
    unique=True,
)
SETTINGS = settings(max_examples=120, deadline=None, derandomize=True, database=None)


def paths(names: dict[str, str]) -> list[str]:
    """The files that come of them, in each kind of output."""
    return [
        f"{kind}/{name}{suffix}"
        for name in names.values()
        for kind, suffixes in OUTPUTS.items()
        for suffix in set(suffixes.values())
    ]


def folded(path: str) -> str:
    """As file systems of Windows and macOS compare names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def stem(key: str) -> str:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if suffix and key.lower().endswith(suffix.lower()):
            return key[: -len(suffix)]
    return key


@given(KEYS)
@example(["a.png", "a.jpg", "a.JPG", "A.png", "a.png/b.png", "a.png.png"])
@example(["é.png", "e\u0301.png"])
@SETTINGS
def test_no_two_files_are_alike_and_none_is_a_folder_of_another(keys: list[str]) -> None:
    names = result_names(keys)
    assert list(names) == keys
    files = [folded(path) for path in paths(names)]
    assert len(set(files)) == len(files)
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    assert not folders & set(files)


@given(KEYS, st.integers(0, 1000))
@SETTINGS
def test_order_of_the_images_changes_nothing(keys: list[str], seed: int) -> None:
    mixed = random.Random(seed).sample(keys, len(keys))
    assert result_names(mixed) == result_names(keys)


@given(KEYS)
@SETTINGS
def test_each_has_one_of_three_names_in_its_own_folder(keys: list[str]) -> None:
    for key, name in result_names(keys).items():
        assert name in (stem(key), key) or (name.startswith(f"{key}~") and len(name) == len(key) + 9)
        assert PurePosixPath(name).parent == PurePosixPath(key).parent


@given(KEYS)
@SETTINGS
def test_images_that_collide_with_none_have_their_plain_name(keys: list[str]) -> None:
    names = result_names(keys)
    plain = [folded(stem(key)) for key in keys]
    folders = {folded(str(parent)) for key in keys for parent in PurePosixPath(key).parents}
    for key, own in zip(keys, plain, strict=True):
        # longer names come only from a collision, and those contain the shorter ones
        alone = plain.count(own) == 1 and not any(own in (folded(other), folded(f"{other}.png")) for other in keys)
        if alone and not {own + ".png", own + ".jpg"} & folders:
            assert names[key] == stem(key)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], []),
        (["a.png"], ["a"]),
        (["a.png", "b.jpg", "c/a.png", "c/b.nii.gz"], ["a", "b", "c/a", "c/b"]),
        (["a.png", "b.png", "b.jpg"], ["a", "b.png", "b.jpg"]),
        (["a.nii", "a.nii.gz"], ["a.nii", "a.nii.gz"]),
        (["a.b.png", "a.c.png"], ["a.b", "a.c"]),
        (["scan.v1.NII.GZ", "no suffix"], ["scan.v1", "no suffix"]),
        (["c/a.png", "d/a.png", "d/a.tif"], ["c/a", "d/a.png", "d/a.tif"]),
        (["a.png/b.png", "a.jpg"], ["a.png/b", "a.jpg"]),  # masks/a.png would be file and folder
        (["a.jpg/b.png", "a.tif"], ["a.jpg/b", "a.tif"]),  # overlays/a.jpg, too
        (["a/b.png", "a.tif"], ["a/b", "a"]),  # masks/a and masks/a.png are two things
        (["dir/x.png", "DIR/y.png"], ["dir/x", "DIR/y"]),  # folders may be shared
    ],
    ids=str,
)
def test_examples(keys: list[str], expected: list[str]) -> None:
    assert list(result_names(keys).values()) == expected


@pytest.mark.parametrize(
    "keys", [["a.png", "A.png"], ["é.png", "e\u0301.png"], ["É.png", "e\u0301.png"], ["c/a.png", "C/a.png"]], ids=str
)
def test_what_only_some_file_systems_tell_apart_gets_digits(keys: list[str]) -> None:
    names = result_names(keys)
    assert all(name.startswith(f"{key}~") for key, name in names.items())
    # the digits are the image's own, whatever stands beside it
    assert result_names([*keys, "other.png"]).items() >= names.items()


def test_keys_with_bytes_that_are_no_utf_8() -> None:
    keys = [b"\xff.png".decode(errors="surrogateescape"), b"\xfe.png".decode(errors="surrogateescape"), "a.png"]
    assert list(result_names(keys).values()) == ["\udcff", "\udcfe", "a"]
    assert len({*result_names(["\udcff.png", "\udcff.PNG"]).values()}) == 2


def test_many_images_are_named_at_once() -> None:
    keys = [f"{number % 100}/{number}.{suffix}" for number in range(5000) for suffix in ("png", "jpg")]
    assert result_names(keys) == {key: key for key in keys}
