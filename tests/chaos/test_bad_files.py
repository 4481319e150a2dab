"""One bad file never stops the others: each gets a line with the reason, and nothing hangs, leaks or breaks."""

from __future__ import annotations

import csv
import functools
import multiprocessing.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from masksup_med.bundle import Bundle, Predictor
from masksup_med.handlers.provenance import sha256_of
from tests.chaos.bad_files import BAD, BOMBS, CIRCLES, HIDDEN, READABLE, WARNED, write
from tests.chaos.conftest import OUTPUTS
from tests.chaos.pictures import SECRET, write_picture
from tests.chaos.rights import cannot_be_refused, obey_rights
from tests.chaos.runs import Outcome, masksup
from tests.chaos.trees import fingerprint, lines_of, tree

LISTED = 50  # failures that are printed
TEXTS = ("manifest.jsonl", "images.csv", "measurements.csv", "report.html")


class Done(NamedTuple):
    """A run, and what it has left."""

    inputs: Path
    out: Path
    outcome: Outcome
    lines: dict[str, dict[str, Any]]

    @property
    def failed(self) -> dict[str, str]:
        """Reasons by image."""
        return {image: line["error"] for image, line in self.lines.items() if line["status"] == "failed"}


def predict(bundle: Path, folder: Path, prepare: Callable[[], None] | None = None, *more: str) -> Done:
    """Predict ``folder/in``."""
    inputs, out = folder / "in", folder / "out"
    arguments = ["predict", str(inputs), "-o", str(out), "--bundle", str(bundle), "--outputs", OUTPUTS]
    outcome = masksup([*arguments, *more], prepare)
    assert "Traceback" not in outcome.err
    lines = lines_of(out)
    assert len({line["image"] for line in lines}) == len(lines)
    return Done(inputs, out, outcome, {line["image"]: line for line in lines})


def assert_sentence(image: str, reason: str) -> None:
    """Check that a reason is one sentence that names the image by its relative path, and says what to do."""
    assert image in reason and "/tmp" not in reason
    rest = reason.replace(image, "image", 1)
    assert re.fullmatch(r"[^\n\r]+[;,] [^\n\r]+[^.]\.", rest), reason
    assert not re.search(r"\.[;,]|\. |\b[A-Z]\w*Error\b", rest), reason


@pytest.fixture(scope="module")
def refused() -> set[str]:
    """Files that nobody may read, where there are rights that hold for the user of this test."""
    names = {name for name, (_, reason) in BAD.items() if reason == "Permission denied"}
    return set() if cannot_be_refused() else names


@pytest.fixture(scope="module")
def run(bundle: Path, refused: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """One run over all that is good and bad, in one folder."""
    folder = tmp_path_factory.mktemp("unreadable")
    names = {name for name, (_, reason) in BAD.items() if reason != "Permission denied"} | refused
    write(folder / "in", {**READABLE, **HIDDEN})
    write(folder / "in", {name: BAD[name][0] for name in BAD if name in names})
    before = fingerprint(folder / "in")
    yield predict(bundle, folder, obey_rights if refused else None)
    assert fingerprint(folder / "in") == before


@pytest.fixture(scope="module")
def bad(run: Done, refused: set[str]) -> dict[str, str]:
    """What each reason must say."""
    return {name: reason for name, (_, reason) in BAD.items() if reason != "Permission denied" or name in refused}


def test_there_are_many_kinds(bad: dict[str, str]) -> None:
    assert len(bad) >= 70
    assert len(set(bad.values())) >= 20


def test_each_bad_file_has_a_line_with_its_reason(run: Done, bad: dict[str, str]) -> None:
    assert run.outcome.code == 3
    assert run.failed.keys() == bad.keys()
    for image, reason in run.failed.items():
        assert_sentence(image, reason) if "bomb." not in image else None
        assert bad[image] in reason
        assert run.lines[image]["outputs"] == {}


def test_a_bombs_reason_is_one_sentence(run: Done) -> None:
    for image in ("bomb.png", "bomb.bmp"):
        assert_sentence(image, run.failed[image])


def mask_in(path: Path) -> np.ndarray:
    if path.suffix == ".gz":
        return np.asarray(nibabel.load(path).dataobj).T > 0
    with Image.open(path) as mask:
        return np.asarray(mask) > 0


def test_good_files_are_done_as_if_they_were_alone(run: Done, bundle: Path) -> None:
    done = run.lines.keys() - run.failed.keys()
    assert done == (READABLE.keys() - {"link to a folder.png"}) | {"link to a folder.png/b.bmp"}
    predictor = Predictor(Bundle.open(bundle))
    masks = set()
    for image in done:
        path = next(path for path in run.lines[image]["outputs"] if path.startswith("masks/"))
        mask = mask_in(run.out / path)
        np.testing.assert_array_equal(mask, predictor(run.inputs / image).classes > 0)
        masks.add(mask.tobytes())
    assert len(masks) > 3


def test_nothing_else_is_there(run: Done) -> None:
    named = {path for line in run.lines.values() for path in line["outputs"]}
    assert {path for path in tree(run.out) if not path.endswith("/")} == named | set(TEXTS)


def test_terminal_shows_a_line_for_each(run: Done) -> None:
    lines = run.outcome.err.splitlines()
    assert len(lines) == LISTED + 1 and lines[-1].startswith(f"and {len(run.failed) - LISTED} more: see ")
    for line, (image, reason) in zip(lines[:LISTED], sorted(run.failed.items()), strict=False):
        shown = "".join(letter if letter.isprintable() else "?" for letter in reason)
        assert line == f"Failed: {shown}", image


def test_tables_and_report_name_the_failures(run: Done) -> None:
    with open(run.out / "images.csv", newline="", encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    texts = {image: image.encode("utf-8", "backslashreplace").decode() for image in run.lines}
    assert rows.keys() == set(texts.values())
    report = (run.out / "report.html").read_bytes().decode()
    for image, reason in run.failed.items():
        assert rows[texts[image]]["status"] == "failed"
        assert rows[texts[image]]["error"] == reason.encode("utf-8", "backslashreplace").decode()
        assert str(escape(image.encode("utf-8", "replace").decode())) in report
    assert "<img src=x" not in report


def test_nothing_tells_where_the_files_are_or_who_was_pictured(run: Done) -> None:
    for path in tree(run.out):
        if not path.endswith("/"):
            written = (run.out / path).read_bytes()
            for private in (run.inputs.parent.name, "pytest", SECRET, SECRET.partition("^")[0]):
                assert private.encode() not in written, path
                assert os.fsencode(private) not in os.fsencode(path)
    assert SECRET not in run.outcome.err + run.outcome.out and f"{run.inputs}/" not in run.outcome.err


def test_only_failures_are_tried_again(run: Done, bundle: Path) -> None:
    before, files = tree(run.out), fingerprint(run.out)
    again = predict(bundle, run.out.parent, obey_rights, "--json")
    summary = again.outcome.summary
    assert again.outcome.code == 3 and summary["predicted"] == 0
    assert summary["failed"] == run.failed and summary["done_before"] == len(run.lines) - len(run.failed)
    assert tree(run.out) == before
    after = fingerprint(run.out)
    assert [path for path in files if files[path] != after[path] and "/" in path] == []


def test_links_in_circles(bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", CIRCLES)
    write_picture(tmp_path / "in" / "z.png")
    run = predict(bundle, tmp_path)
    assert run.outcome.code == 3 and run.failed.keys() == CIRCLES.keys()
    for image, reason in run.failed.items():
        assert_sentence(image, reason)


def test_libraries_keep_quiet(bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "in", WARNED)
    run = predict(bundle, tmp_path)
    assert run.outcome.code == 3
    assert run.failed.keys() == {"large.png", "tall.tif"} and len(run.outcome.err.splitlines()) == 2


def note_memory(file: Path) -> None:
    """Write at the end how much memory this process has had at most, beyond what it has now, in MB."""

    def memory(name: str) -> int:
        return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024

    Path("/proc/self/clear_refs").write_text("5")  # the highest mark is now
    before = memory("VmRSS")
    multiprocessing.util.Finalize(None, lambda: file.write_text(str(memory("VmHWM") - before)), exitpriority=0)


@pytest.mark.parametrize("name", ["good.png", *BOMBS])
def test_bombs_take_no_memory(bundle: Path, name: str, tmp_path: Path) -> None:
    """What is small and inflates to more than its picture needs is refused, or read as far as it needs."""
    write(tmp_path / "in", {name: {**READABLE, **BOMBS}[name]})
    predict(bundle, tmp_path, functools.partial(note_memory, tmp_path / "memory"))
    assert int((tmp_path / "memory").read_text()) < 100  # of 150 in the bombs


def change_after_search(inputs: Path) -> None:
    """When all is found, and nothing is read."""
    from masksup_med.predict import discovery

    find_images = discovery.find_images

    def find_and_change(*args: Any) -> Any:
        found = find_images(*args)
        (inputs / "vanishes.png").unlink()
        (inputs / "turns.png").unlink()
        (inputs / "turns.png").mkdir()
        (inputs / "ends.png").write_bytes(b"")
        shutil.rmtree(inputs / "folder")
        write_picture(inputs / "changes.png", 1)
        return found

    discovery.find_images = find_and_change


def test_files_change_before_they_are_read(bundle: Path, tmp_path: Path) -> None:
    names = ("changes.png", "ends.png", "folder/a.png", "stays.png", "turns.png", "vanishes.png")
    write(tmp_path / "in", dict.fromkeys(names, write_picture))
    run = predict(bundle, tmp_path, functools.partial(change_after_search, tmp_path / "in"))
    assert run.outcome.code == 3 and run.lines.keys() == set(names)
    assert run.failed.keys() == {"ends.png", "folder/a.png", "turns.png", "vanishes.png"}
    for image, reason in run.failed.items():
        assert_sentence(image, reason)
    assert run.lines["changes.png"]["input_sha256"] == sha256_of(run.inputs / "changes.png")
    (run.inputs / "turns.png").rmdir()
    again = predict(bundle, tmp_path)  # what has failed and is gone is forgotten
    assert again.lines.keys() == {"changes.png", "ends.png", "stays.png"}


def change_while_read(path: Path) -> None:
    """After its hash is taken, and before its pixels are."""
    from masksup_med.predict import job

    read_image = job.read_image

    def change_and_read(found: Path, frame: int | None) -> Any:
        if found == path:
            write_picture(path, 1)
        return read_image(found, frame)

    job.read_image = change_and_read


def test_file_changes_while_it_is_read(bundle: Path, tmp_path: Path) -> None:
    """The line's hash is that of what was predicted, or the image fails."""
    path = write_picture(tmp_path / "in" / "a.png")
    run = predict(bundle, tmp_path, functools.partial(change_while_read, path))
    if run.lines["a.png"]["status"] == "done":
        assert run.lines["a.png"]["input_sha256"] == sha256_of(path)
    else:
        assert_sentence("a.png", run.failed["a.png"])


class Place(NamedTuple):
    """A folder with a picture, to dig in."""

    folder: Path

    def dig(self, name: str, depth: int) -> str:
        """Put a picture into as many folders of a name, though its whole path may be too long for any program."""
        here = os.getcwd()
        try:
            os.chdir(self.folder / "in")
            for _ in range(depth):
                os.mkdir(name)
                os.chdir(name)
            write_picture(Path("a.png"))
        finally:
            os.chdir(here)
        return f"{name}/" * depth + "a.png"


@pytest.fixture
def place() -> Iterator[Place]:
    """Not in tmp_path: pytest itself cannot remove folders that lie so deep."""
    folder = Path(tempfile.mkdtemp(prefix="masksup-deep-"))
    write_picture(folder / "in" / "z.png")
    yield Place(folder)
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.mark.parametrize(
    "depth",
    [200],
)
def test_deep_folders(bundle: Path, place: Place, depth: int) -> None:
    image = place.dig("d", depth)
    run = predict(bundle, place.folder)
    assert run.lines.keys() == {image, "z.png"} and run.lines["z.png"]["status"] == "done"
    if run.failed:
        assert_sentence(image, run.failed[image])
    assert predict(bundle, place.folder).lines == run.lines


def test_folders_too_deep_to_be_named(bundle: Path, place: Place) -> None:
    place.dig("d" * 250, 18)
    run = predict(bundle, place.folder)
    assert run.outcome.code == 3 and run.lines["z.png"]["status"] == "done"
    ((folder, reason),) = run.failed.items()
    assert "File name too long" in reason
    assert_sentence(folder, reason)
