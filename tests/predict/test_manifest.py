"""The manifest on disk: nothing lost but a torn last line, whatever happens while it is written."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksup_med.predict.manifest import MANIFEST, Manifest


def line(image: str, value: Any = 0) -> dict[str, Any]:
    return {"image": image, "status": "done", "outputs": {}, "value": value}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / MANIFEST


def stored(path: Path) -> list[dict[str, Any]]:
    """All lines of the file, by a reader that forgives nothing."""
    text = path.read_bytes()
    assert text.endswith(b"\n") or not text
    return [json.loads(each) for each in text.splitlines()]


def test_lines_are_found_again_also_by_another(path: Path) -> None:
    with closing(Manifest(path)) as manifest:
        assert manifest.get("a") is None and manifest.keys() == [] and list(manifest.lines()) == []
        for image in ("b", "a", "c/ü\udcff"):
            manifest.append(line(image))
            assert manifest.get(image) == line(image)
        with closing(Manifest(path, read_only=True)) as other:
            for each in (manifest, other):
                assert each.keys() == ["a", "b", "c/ü\udcff"]
                assert list(each.lines()) == [line("a"), line("b"), line("c/ü\udcff")]
                assert each.get("A") is None
    assert [each["image"] for each in stored(path)] == ["b", "a", "c/ü\udcff"]  # as they came


def test_last_line_of_an_image_counts(path: Path) -> None:
    with closing(Manifest(path)) as manifest:
        for value in range(3):
            manifest.append(line("a", value))
            manifest.append(line("b", -value))
            assert manifest.get("a") == line("a", value)
        assert len(stored(path)) == 6
        manifest.put_in_order()
        assert stored(path) == [line("a", 2), line("b", -2)]
        manifest.append(line("a", 3))
        assert (manifest.get("a"), manifest.get("b")) == (line("a", 3), line("b", -2))


def test_put_in_order_leaves_some_out_and_nothing_beside(path: Path) -> None:
    with closing(Manifest(path)) as manifest:
        for image in "dbac":
            manifest.append(line(image))
        manifest.put_in_order(without=["b", "x"])
        assert manifest.keys() == ["a", "c", "d"] and manifest.get("b") is None
        assert stored(path) == [line("a"), line("c"), line("d")]
    assert [each.name for each in path.parent.iterdir()] == [MANIFEST]


def test_put_in_order_finds_what_was_written_and_not_noted(path: Path) -> None:
    with closing(Manifest(path)) as manifest:
        manifest.append(line("b"))
        with open(path, "ab") as file:  # as if interrupted between the two
            file.write(json.dumps(line("a")).encode() + b"\n")
        manifest.put_in_order()
        assert manifest.keys() == ["a", "b"] and manifest.get("a") == line("a")


def test_same_lines_give_the_same_bytes_whatever_their_order(tmp_path: Path) -> None:
    contents = []
    for images in ("abc", "cab", "abcabc"):
        with closing(Manifest(tmp_path / images)) as manifest:
            for image in images:
                manifest.append(line(image))
            manifest.put_in_order()
        contents.append((tmp_path / images).read_bytes())
    assert len(set(contents)) == 1


@given(cut=st.integers(0, 400))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_torn_at_any_byte(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("torn") / MANIFEST
    with closing(Manifest(path)) as manifest:
        for number in range(6):
            manifest.append(line(f"{number}ü", "x" * number))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    count = whole[:cut].count(b"\n")
    with closing(Manifest(path, read_only=True)) as manifest:
        assert manifest.keys() == [f"{number}ü" for number in range(count)]
        assert path.read_bytes() == whole[:cut]
    with closing(Manifest(path)) as manifest:
        assert [each["value"] for each in manifest.lines()] == ["x" * number for number in range(count)]
        assert len(stored(path)) == count
        manifest.append(line("new"))
        assert manifest.get("new") == line("new")
    assert stored(path)[-1] == line("new") and len(stored(path)) == count + 1


def test_lines_of_others_do_not_count(path: Path) -> None:
    others = [
        b"", b"no JSON", b"{", b"1", b"[]", b"null", b'"image"', b'{"image": 1, "outputs": {}}', b'{"outputs": {}}',
        b'{"image": "a"}', b'{"image": "a", "outputs": []}', b"\xff\xfe", b'{"image": null, "outputs": {}}',
    ]  # fmt: skip
    mine = [json.dumps(line(image)).encode() for image in "ab"]
    path.write_bytes(b"\n".join([*others[:6], mine[0], *others[6:], mine[1], b""]))
    before = path.read_bytes()
    with closing(Manifest(path)) as manifest:
        assert list(manifest.lines()) == [line("a"), line("b")]
        assert path.read_bytes() == before
        manifest.put_in_order()
    assert stored(path) == [line("a"), line("b")]


def test_later_rubbish_does_not_take_the_place_of_a_line(path: Path) -> None:
    path.write_bytes(json.dumps(line("a")).encode() + b'\n{"image": "a", "outputs": nothing}\n')
    with closing(Manifest(path)) as manifest:
        assert manifest.get("a") == line("a")


def test_read_only_makes_and_changes_nothing(path: Path) -> None:
    with closing(Manifest(path, read_only=True)) as manifest:
        assert manifest.keys() == [] and manifest.get("a") is None
    assert not path.exists()
    path.write_bytes(json.dumps(line("a")).encode() + b"\n{torn")
    path.chmod(0o444)
    with closing(Manifest(path, read_only=True)) as manifest:
        assert manifest.keys() == ["a"]
        with pytest.raises(OSError, match="not open for writing"):
            manifest.append(line("b"))
    assert path.read_bytes().endswith(b"{torn")


def test_what_is_no_json_is_not_written(path: Path) -> None:
    with closing(Manifest(path)) as manifest:
        with pytest.raises(ValueError, match="not JSON compliant"):
            manifest.append(line("a", float("nan")))
        assert manifest.keys() == []
    assert path.read_bytes() == b""


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[None]:
    """Let files grow by so many bytes more than this one has, as a full disk would: the rest of a line is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 30])
def test_line_that_finds_no_room_leaves_the_file_as_it_was(path: Path, room: int) -> None:
    with closing(Manifest(path)) as manifest:
        manifest.append(line("a"))
        before = path.read_bytes()
        with full_disk(path, room), pytest.raises(OSError, match="File too large"):
            manifest.append(line("b", "x" * 100))
        assert path.read_bytes() == before
        assert manifest.keys() == ["a"] and manifest.get("b") is None
        manifest.append(line("c"))
        assert stored(path) == [line("a"), line("c")]
        assert list(manifest.lines()) == [line("a"), line("c")]


def test_put_in_order_that_finds_no_room_leaves_the_file_as_it_was(path: Path) -> None:
    with closing(Manifest(path)) as manifest:
        for image in "cab":
            manifest.append(line(image, "x" * 50))
        before = path.read_bytes()
        with full_disk(path, -20), pytest.raises(OSError, match="File too large"):
            manifest.put_in_order()
        assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [MANIFEST]


def test_several_threads_at_once(path: Path) -> None:
    with closing(Manifest(path)) as manifest:

        def work(number: int) -> bool:
            manifest.append(line(f"{number}", "x" * (number % 50)))
            return all(
                manifest.get(str(each)) in (None, line(f"{each}", "x" * (each % 50))) for each in range(0, 400, 37)
            )

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(work, range(400)))
        assert len(manifest.keys()) == 400 and len(stored(path)) == 400
        assert all(manifest.get(str(number)) == line(f"{number}", "x" * (number % 50)) for number in range(400))
