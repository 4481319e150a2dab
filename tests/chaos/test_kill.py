"""Runs of ``masksup predict`` that are killed, interrupted and doubled, and go on as if nothing had happened."""

from __future__ import annotations

import csv
import functools
import os
import random
import re
import resource
import signal
from pathlib import Path

import pytest

from masksup_med.predict.manifest import MANIFEST, Manifest
from tests.chaos.bundles import changed_bundle
from tests.chaos.conftest import Work
from tests.chaos.points import Interrupt, Kill, Pause, Point, count_calls, disturb, points
from tests.chaos.runs import Run, masksup
from tests.chaos.trees import assert_whole, done, is_temporary, lines_of, tree

ROUNDS = 20


def test_killed_at_any_moment(work: Work, tmp_path: Path) -> None:
    """Kill, go on in the same folder until it is complete, and begin with another one; the seed decides when."""
    moments, kills, folders = random.Random(5), 0, 0
    while kills < ROUNDS:
        out = tmp_path / str(folders)
        before = done(out)
        outcome = Run(work.arguments(out)).kill_after(moments.uniform(0, work.seconds))
        assert outcome.code in (-signal.SIGKILL, work.code) and "Traceback" not in outcome.err, outcome
        assert_whole(out, work.undisturbed, before)
        if outcome.code == work.code:
            assert tree(out) == work.undisturbed
            folders += 1
        else:
            kills += 1
    work.assert_completes(tmp_path / str(folders))


@pytest.fixture(scope="module")
def moments(small_work: Work, tmp_path_factory: pytest.TempPathFactory) -> list[Point]:
    """Before and after every file that takes its place, and every line of the manifest, of a small run."""
    folder = tmp_path_factory.mktemp("moments")
    masksup(small_work.arguments(folder / "out"), functools.partial(count_calls, folder / "calls"))
    return list(points(folder / "calls"))


def test_killed_at_every_step(small_work: Work, moments: list[Point], tmp_path: Path) -> None:
    # two images have three results each; then come the manifest in order, two tables and the report
    assert len(moments) == 2 * (2 * 3 + 1 + 2 + 1) + 2 * 3
    for number, moment in enumerate(moments):
        out = tmp_path / str(number)
        outcome = masksup(small_work.arguments(out), functools.partial(disturb, moment, Kill()))
        assert outcome.code == -signal.SIGKILL, (moment, outcome)
        assert_whole(out, small_work.undisturbed)
        small_work.assert_completes(out)


def die_of_files_above(size: int) -> None:
    """From now on, the system kills this process when a file outgrows a size; what fits of it is written."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_killed_while_it_writes(work: Work, tmp_path: Path) -> None:
    """In the middle of a file or a line, with a limit that lets each run come a bit further than the last."""
    out, before, kills = tmp_path / "out", set(), 0
    for size in (1, 200, 700, 1500, 2500, 3500, 4500, 5500, 6500, 8000, 9000, 12000, 20000, 40000):
        outcome = masksup(work.arguments(out), functools.partial(die_of_files_above, size))
        assert outcome.code in (-signal.SIGXFSZ, work.code), outcome
        assert_whole(out, work.undisturbed, before)
        before = done(out)
        kills += outcome.code != work.code
    assert kills >= 10 and len(before) == 12
    work.assert_completes(out)


def test_killed_while_it_does_again(small_work: Work, tmp_path: Path) -> None:
    """With other settings: a file of the one run beside a line of the other is not taken for done by either."""
    other = changed_bundle(small_work.bundle, tmp_path / "other", "threshold: 0.5", "threshold: 0.66")
    for number in (1, 3):
        out = tmp_path / str(number)
        small_work.assert_completes(out)
        again = ["--bundle", str(other)]
        moment = Point("replace", number, "after")
        outcome = masksup(small_work.arguments(out, *again), functools.partial(disturb, moment, Kill()))
        assert outcome.code == -signal.SIGKILL
        assert tree(out).keys() >= small_work.undisturbed.keys()
        small_work.assert_completes(out)


@pytest.mark.parametrize("number", [7, 8, 9, 10])
def test_nothing_is_left_over(small_work: Work, number: int, tmp_path: Path) -> None:
    """Not of the manifest in order, of the tables or of the report either."""
    out = tmp_path / "out"
    masksup(small_work.arguments(out), functools.partial(disturb, Point("replace", number, "before"), Kill()))
    assert any(map(is_temporary, os.listdir(out)))
    small_work.assert_completes(out)
    assert not any(map(is_temporary, os.listdir(out)))


INTERRUPTED = r"Interrupted: (\d+) of (\d+) images are done; the same command goes on from there\.\n"


@pytest.mark.parametrize(
    "moment",
    [
        *(Point("append", number, when) for number in (1, 2, 3) for when in ("before", "after")),
        *(Point("replace", number, "before") for number in (1, 3, 4, 6)),
    ],
    ids=lambda moment: "-".join(map(str, moment)),
)
def test_interrupted_at_every_step(small_work: Work, moment: Point, tmp_path: Path) -> None:
    """Ctrl-C: how much is done is said truly, and manifest, tables and report are in step with it."""
    outcome = masksup(small_work.arguments(tmp_path), functools.partial(disturb, moment, Interrupt()))
    assert outcome.code == 130 and not outcome.out, outcome
    said = re.fullmatch(INTERRUPTED, outcome.err)
    # a line may be written and not yet counted when the signal comes, but not before it is written
    missed = 0 if moment.call == "append" and moment.when == "before" else 1
    assert said and len(done(tmp_path)) - missed <= int(said[1]) <= len(done(tmp_path)) and said[2] == "3", outcome
    assert_in_step(tmp_path, small_work)
    small_work.assert_completes(tmp_path)


@pytest.mark.parametrize(
    "number",
    [
        7,
        8,
        9,
        10,
    ],
)
def test_interrupted_at_the_very_end(small_work: Work, number: int, tmp_path: Path) -> None:
    """While manifest, tables and report are written."""
    moment = Point("replace", number, "before")
    outcome = masksup(small_work.arguments(tmp_path), functools.partial(disturb, moment, Interrupt()))
    assert outcome.code == 130 and re.fullmatch(INTERRUPTED, outcome.err), outcome
    assert_in_step(tmp_path, small_work)
    small_work.assert_completes(tmp_path)


def assert_in_step(out: Path, work: Work) -> None:
    """Check that outputs are those of an undisturbed run, and that tables and report say what the manifest says."""
    present = tree(out)
    lines = lines_of(out)
    for line in lines:
        assert line["outputs"].keys() <= present.keys()
    assert not any(map(is_temporary, [*present, *os.listdir(out)]))
    assert all(content == work.undisturbed[path] for path, content in present.items() if path.count("/") == 1)
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        rows = [(row["image"], row["status"]) for row in csv.DictReader(file)]
    assert rows == [(line["image"], line["status"]) for line in lines]
    with open(out / "measurements.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == sum(len(line.get("objects", ())) for line in lines)
    report = present["report.html"].decode()
    assert report.endswith("</html>\n")
    assert all(line["image"].rpartition("/")[2] in report for line in lines)


def test_ctrl_c(work: Work, tmp_path: Path) -> None:
    """From outside, as a terminal does it."""
    out = tmp_path / "out"
    pause = Pause(tmp_path / "paused")
    with Run(work.arguments(out), functools.partial(disturb, Point("append", 6, "before"), pause)) as run:
        run.wait_until(pause.file)
        run.send(signal.SIGINT)
        outcome = run.wait()
    assert outcome.code == 130
    assert outcome.err == "Interrupted: 5 of 13 images are done; the same command goes on from there.\n"
    assert len(done(out)) == 5
    assert_in_step(out, work)
    work.assert_completes(out)


def test_second_run_is_refused(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pause = Pause(tmp_path / "paused")
    # in the one thread that writes, so that all stands still, with a temporary file that is not to be swept away
    stop = functools.partial(disturb, Point("replace", 8, "before"), pause)
    with Run(work.arguments(out, "--workers", "1"), stop) as first:
        first.wait_until(pause.file)
        before = tree(out)
        assert any(map(is_temporary, before))
        second = masksup(work.arguments(out))
        assert second.code == 1 and not second.out
        assert second.err == f"Error: Another run is writing to {out}; wait for it, or name another folder.\n"
        assert tree(out) == before
        first.send(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
    work.assert_completes(out)


def test_manifest_with_a_torn_line(tmp_path: Path) -> None:
    """Cut anywhere in its last line, it loses that line and no other, and goes on as if it had never been there."""
    lines = [{"image": name, "status": "done", "outputs": {}, "error": None} for name in ("a", "é\n", "c")]
    path = tmp_path / MANIFEST
    manifest = Manifest(path)
    for line in lines:
        manifest.append(line)
    manifest.close()
    content = path.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(content)):
        path.write_bytes(content[:end])
        manifest = Manifest(path)
        assert list(manifest.lines()) == lines[:2] and manifest.get("c") is None
        manifest.append(lines[2])
        assert list(manifest.lines()) == [lines[0], lines[2], lines[1]]
        manifest.close()
        assert path.read_bytes() == content
