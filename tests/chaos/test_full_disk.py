"""No room: what is there is whole, the exit code is honest, and the same command goes on once there is room."""

from __future__ import annotations

import functools
import math
import os
import re
import resource
from pathlib import Path

import pytest

from masksup_med.predict.manifest import MANIFEST
from tests.chaos.conftest import Work
from tests.chaos.disks import PAGE, mounted
from tests.chaos.pictures import BAD
from tests.chaos.points import Fill, Point, disturb
from tests.chaos.rights import cannot_be_refused, obey_rights
from tests.chaos.runs import Outcome, masksup
from tests.chaos.trees import assert_whole, done, is_temporary, lines_of, tree

OUTPUTS = ("masks/", "overlays/", "probabilities/")


def assert_stopped(outcome: Outcome, out: Path, work: Work) -> None:
    """Check that a run without room has said so in one sentence, and has left nothing that is cut short."""
    assert outcome.code == (3 if done(out) else 1), outcome
    failures, said = [], []
    for line in outcome.err.splitlines():
        (failures if line.startswith("Failed: ") else said).append(line)
    assert all(BAD in line for line in failures)
    assert len(said) == 1 and re.fullmatch(r"Error: No space left on device.*; .*\broom\b.*\.", said[0]), outcome
    assert_whole(out, work.undisturbed)
    assert_no_torn_line(out)
    assert not any(map(is_temporary, [*tree(out), *os.listdir(out)]))


def assert_no_torn_line(out: Path) -> None:
    """What could not be written as a whole is taken back at once, since nobody has killed the run."""
    assert (out / MANIFEST).read_bytes()[-1:] in (b"", b"\n")


def pages(work: Work, *prefixes: str) -> int:
    """How many pages files take."""
    files = work.undisturbed.items()
    return sum(math.ceil(len(content) / PAGE) for path, content in files if path.startswith(prefixes))


@pytest.mark.parametrize("part", [0, 0.2, 0.5, 0.9])
def test_room_for_some_results(work: Work, part: float, tmp_path: Path) -> None:
    size = max(1, int(part * pages(work, *OUTPUTS))) * PAGE
    with mounted(tmp_path / "disk", f"size={size}") as disk:
        out = disk.folder / "out"
        assert_stopped(masksup(work.arguments(out)), out, work)
        assert len(done(out)) < 12
        disk.remount("size=10M")
        work.assert_completes(out)


@pytest.mark.parametrize("more", [0, 12])
def test_room_for_all_results_but_no_report(work: Work, more: int, tmp_path: Path) -> None:
    size = (pages(work, *OUTPUTS, "manifest") + more) * PAGE
    with mounted(tmp_path / "disk", f"size={size}") as disk:
        out = disk.folder / "out"
        outcome = masksup(work.arguments(out))
        assert len(done(out)) == 12
        assert_stopped(outcome, out, work)
        disk.remount("size=10M")
        work.assert_completes(out)


def test_too_many_files(work: Work, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=10M", "nr_inodes=20") as disk:
        out = disk.folder / "out"
        assert_stopped(masksup(work.arguments(out)), out, work)
        disk.remount("nr_inodes=1000")
        work.assert_completes(out)


@pytest.mark.parametrize(
    "moment",
    [
        *(Point("append", number, "before") for number in (1, 2, 3)),
        *(Point("replace", number, "before") for number in (1, 3, 6, 7, 8, 9)),
    ],
    ids=lambda moment: "-".join(map(str, moment)),
)
def test_full_from_a_moment_on(small_work: Work, moment: Point, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=10M") as disk:
        out, filler = disk.folder / "out", disk.folder / "filler"
        outcome = masksup(small_work.arguments(out), functools.partial(disturb, moment, Fill(filler)))
        assert_stopped(outcome, out, small_work)
        filler.unlink()
        small_work.assert_completes(out)


def test_read_only(small_work: Work, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=10M") as disk:
        out = disk.folder / "out"
        disk.remount("ro")
        assert_refused(masksup(small_work.arguments(out)), "Read-only file system")
        assert not out.exists()
        disk.remount("rw")
        small_work.assert_completes(out)
        disk.remount("ro")
        assert_refused(masksup(small_work.arguments(out)), "Read-only file system")
        assert tree(out) == small_work.undisturbed


@pytest.mark.parametrize("place", [".", "out", "out/masks"])
def test_not_allowed(small_work: Work, place: str, tmp_path: Path) -> None:
    if cannot_be_refused():
        pytest.skip("this user may write everywhere")
    out = tmp_path / "here" / "out"
    (out / "masks").mkdir(parents=True)
    (out / "manifest.jsonl").touch()
    folder = tmp_path / "here" / place
    if place == ".":
        (out / "manifest.jsonl").unlink()
        (out / "masks").rmdir()
        out.rmdir()
    folder.chmod(0o555)
    outcome = masksup(small_work.arguments(out), obey_rights)
    folder.chmod(0o755)
    assert outcome.code == 1 and "Traceback" not in outcome.err and "Permission denied" in outcome.err
    small_work.assert_completes(out)


def assert_refused(outcome: Outcome, reason: str) -> None:
    assert outcome.code == 1 and not outcome.out
    assert outcome.err.count("\n") == 1 and re.fullmatch(rf"Error: {reason} \(.*\); .*\.\n", outcome.err), outcome


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [300, 3000, 6000])
def test_files_of_limited_size(work: Work, size: int, tmp_path: Path) -> None:
    """As ``ulimit -f`` sets it; a result that is too large fails, and no part of it is left."""
    out = tmp_path / "out"
    outcome = masksup(work.arguments(out), functools.partial(limit_files, size))
    assert outcome.code == (3 if done(out) else 1) and "Traceback" not in outcome.err
    assert_no_torn_line(out)
    named = {path for line in lines_of(out) for path in line["outputs"]}
    assert {path for path in tree(out) if path.startswith(OUTPUTS) and not path.endswith("/")} == named
    work.assert_completes(out)
