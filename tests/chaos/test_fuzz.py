"""Two thousand damaged files: none ends or hangs the process, none tells whose it is, each gets its lines.

``MASKSUP_FUZZ=20000`` tries more of them, and ``MASKSUP_FUZZ_FIRST=40000`` others. A failure names its files, whose
numbers are in their paths; ``mutations.mutation(NUMBER)`` makes them again.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import re
import resource
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile

from tests.chaos.bad_files import set_tags
from tests.chaos.mutations import mutation
from tests.chaos.pictures import SECRET, rgb, write_dicom, write_nifti
from tests.chaos.runs import Outcome, masksup
from tests.chaos.sources import SOURCES
from tests.chaos.test_bad_files import assert_sentence
from tests.chaos.trees import lines_of

COUNT = int(os.environ.get("MASKSUP_FUZZ", 2000))
FIRST = int(os.environ.get("MASKSUP_FUZZ_FIRST", 0))
AT_ONCE = 350  # files that a process reads
SECONDS = 10  # that one file may take
MEMORY, LEFT = 500, 4096  # MB that one may take, and that there are at all
FRAMES = 5  # that are read of a file
MOST = 5000  # frames that so small a file can hold
SETTINGS = {0: "masks,polygons,dicom-seg", 1: "masks,overlays,probabilities,polygons"}  # outputs of the first folders


def write_all(folder: Path, numbers: Sequence[int]) -> list[str]:
    """Write damaged files, each into a folder of its own: ``00012/name.dcm``; return their paths."""
    names = []
    for number in numbers:
        name, content = mutation(number)
        names.append(f"{number:05}/{name}")
        (folder / names[-1]).parent.mkdir(parents=True)
        (folder / names[-1]).write_bytes(content)
    return names


def limit_memory() -> None:
    """Let this process have so much more than it has."""
    now = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (now + LEFT * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()


def note(file: TextIO, **what: Any) -> None:
    file.write(json.dumps(what) + "\n")
    file.flush()  # it may be the last


def memory(name: str) -> float:
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


@contextmanager
def watched(file: TextIO, name: str) -> Iterator[dict[str, Any]]:
    """Note before what is begun, and afterwards what has come of it, its time and memory."""
    note(file, begun=name)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark is now
    before, start, found = memory("VmRSS"), time.monotonic(), {}
    try:
        yield found
    finally:
        note(file, name=name, seconds=time.monotonic() - start, megabytes=memory("VmHWM") - before, **found)


def examine(folder: Path, names: Sequence[str], notes: Path) -> None:
    """Read files as a program that uses this package does; note what is wrong. Ends the process."""
    limit_memory()
    with open(notes, "a") as file:
        for name in names:
            signal.alarm(SECONDS)  # kills even native code that never returns
            with watched(file, name) as found:
                found |= looked_at(folder / name)
    sys.exit(0)


def looked_at(path: Path) -> dict[str, Any]:
    """What a file says of itself, how many of its pictures can be read, and what is wrong."""
    from masksup_med.data import decode
    from masksup_med.data.slides import Slide
    from masksup_med.predict.contents import contents_of

    wrong: list[str] = []
    contents = tried(contents_of, path, wrong=wrong, refusals=False)
    count = tried(decode.frames, path, wrong=wrong)
    size = tried(decode.image_size, path, wrong=wrong)
    spacing = tried(decode.pixel_size, path, wrong=wrong)
    if spacing is not None and not (len(spacing) == 2 and 0 < min(spacing) <= max(spacing) < np.inf):
        wrong.append(f"pixel_size {spacing}")
    pictures = [tried(decode.read_image, path, frame, wrong=wrong) for frame in range(1, min(count or 1, FRAMES) + 1)]
    for picture in pictures:
        if picture is not None and (picture.dtype != np.uint8 or sorted(picture.shape) != sorted((*size, 3))):
            wrong.append(f"{picture.dtype} {picture.shape} for a size of {size}")
    if contents is not None and contents.kind == "slide":
        tried(_looked_over, Slide, path, wrong=wrong)
    read = sum(picture is not None for picture in pictures)
    kind, frames = ("", 0) if contents is None else contents[:2]
    return {"kind": kind, "frames": frames, "read": read, "wrong": wrong}


def _looked_over(kind: Callable[[Path], Any], path: Path) -> None:
    with kind(path) as slide:
        assert slide.overview(64).ndim == 3


def tried(function: Callable[..., Any], *args: Any, wrong: list[str], refusals: bool = True) -> Any:
    """What a function returns, None if it refuses in one sentence and without the patient's name."""
    from masksup_med.errors import DataError, MissingDataError

    try:
        return function(*args)
    except Exception as error:
        path = next(each for each in args if isinstance(each, Path))
        shown = "".join(traceback.format_exception(error))
        if not refusals or not isinstance(error, DataError | MissingDataError) or tells(shown):
            wrong.append(shown)
        try:
            assert_sentence(path.name, str(error).replace(str(path), path.name))
        except AssertionError:
            wrong.append(f"no sentence: {error}")


def tells(text: str) -> bool:
    """Whether a text names the patient; one letter of a part of the name may be damaged."""
    return any(part in text for part in SECRET.split("^"))


def watch_reading(notes: Path) -> None:
    """In a run of ``masksup``: note which files are read, and what they take."""
    from masksup_med.predict import job

    limit_memory()
    read_image = job.read_image

    def read(path: Path, frame: int | None = None) -> Any:
        with open(notes, "a") as file, watched(file, str(path)):
            return read_image(path, frame)

    job.read_image = read


def notes_of(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What has come to its end, and what was begun after or beside it and has not."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    ended = [line for line in lines if "begun" not in line]
    return ended, list(
        (
            Counter(line["begun"] for line in lines if "begun" in line) - Counter(line["name"] for line in ended)
        ).elements()
    )


def in_parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE))


def examined(folder: Path, names: Sequence[str], notes: Path) -> list[dict[str, Any]]:
    """Examine files in processes of their own: one that dies is followed by another, for the rest."""
    found: list[dict[str, Any]] = []
    left = list(names)
    while left:
        notes.unlink(missing_ok=True)
        outcome = masksup([], functools.partial(examine, folder, left, notes))
        ended, begun = notes_of(notes)
        found += ended
        if outcome.code:
            assert begun, outcome
            why = "hangs" if outcome.code == -signal.SIGALRM else f"ends the process ({outcome.code})"
            found.append({"name": begun[0], "frames": 1, "read": 0, "wrong": [f"{why}: {outcome.err[-3000:]}"]})
        if tells(outcome.out + outcome.err):
            found[-1]["wrong"].append(outcome.out + outcome.err)
        left = left[len(ended) + len(begun) :]
    return found


def images(found: dict[str, Any]) -> list[str]:
    """Names of the pictures that a file holds."""
    name, count = found["name"], found["frames"]
    return [f"{name}/{n:0{len(str(count))}}" for n in range(1, count + 1)] if count > 1 else [name]


def predicted(bundle: Path, folder: Path, outputs: str | None, notes: Path) -> tuple[Outcome, list[dict[str, Any]]]:
    arguments = ["predict", str(folder / "in"), "-o", str(folder / "out"), "--bundle", str(bundle), "--json"]
    outcome = masksup(arguments + (["--outputs", outputs] if outputs else []), functools.partial(watch_reading, notes))
    return outcome, lines_of(folder / "out")


def problems_of(outcome: Outcome, lines: list[dict[str, Any]], found: list[dict[str, Any]], out: Path) -> Iterator[str]:
    """What is wrong with a run and its results."""
    expected = {image for each in found if each["frames"] <= MOST for image in images(each)}
    counts = Counter(line["image"] for line in lines)
    yield from (f"{image}: {counts[image]} lines" for image in expected | counts.keys() if counts[image] != 1)
    for line in lines:
        if line["status"] not in ("done", "failed") or (line["error"] is None) != (line["status"] == "done"):
            yield f"{line['image']}: {line['status']} {line['error']}"
        if line["status"] == "failed":
            try:
                assert_sentence(line["image"].rpartition("/")[0], line["error"])
            except AssertionError:
                yield f"{line['image']}: no sentence: {line['error']}"
    for shown in outcome.err.splitlines():
        if not re.match(r"Failed: |and \d+ more: see ", shown):
            yield f"printed: {shown}"
    for path in out.rglob("*"):
        if tells(path.name) or (path.is_file() and "dicom-seg" not in path.parts and tells_in(path)):
            yield f"{path.relative_to(out)} names the patient"


def tells_in(path: Path) -> bool:
    return tells(path.read_bytes().decode("latin-1"))


@pytest.fixture(scope="module")
def numbers() -> list[int]:
    return list(range(FIRST, FIRST + COUNT))


@pytest.fixture(scope="module")
def found(bundle: Path, numbers: list[int], tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """What readers make of the files, folder by folder."""
    root, found = tmp_path_factory.mktemp("fuzz"), []
    for number, part in enumerate(in_parts(numbers)):
        names = write_all(root / str(number) / "in", part)
        found.append(examined(root / str(number) / "in", names, root / "notes"))
        for each in found[-1]:
            if each["frames"] > MOST:  # no run would come to its end
                (root / str(number) / "in" / each["name"]).unlink()
        found[-1][0]["folder"] = str(root / str(number))
    return found


def test_files_are_many_and_of_all_kinds(numbers: list[int]) -> None:
    assert len(numbers) >= 2000 or "MASKSUP_FUZZ" in os.environ
    kinds = Counter(name.rpartition(".")[2] for name in SOURCES)
    assert kinds.keys() >= {"dcm", "tif", "png", "jpg", "nii", "gz", "bmp"}
    assert mutation(FIRST) == mutation(FIRST)


def test_readers_refuse_or_read(found: list[list[dict[str, Any]]]) -> None:
    every = [each for part in found for each in part]
    assert len(every) == COUNT and len({each["name"] for each in every}) == COUNT
    wrong = [f"{each['name']}: {text}" for each in every for text in each["wrong"]]
    assert not wrong, "\n\n".join(wrong)
    assert COUNT // 10 < sum(each["read"] > 0 for each in every) < COUNT * 9 // 10  # else the damage is of no use


def test_readers_take_little_time_and_memory(found: list[list[dict[str, Any]]]) -> None:
    ended = [each for part in found for each in part if "seconds" in each]
    assert not [each for each in ended if each["seconds"] > SECONDS / 2 or each["megabytes"] > MEMORY]


def test_each_file_has_its_lines(bundle: Path, found: list[list[dict[str, Any]]]) -> None:
    problems, states = [], Counter[str]()
    for number, part in enumerate(found):
        folder = Path(part[0]["folder"])
        outcome, lines = predicted(bundle, folder, SETTINGS.get(number), folder / "notes")
        ended, begun = notes_of(folder / "notes")
        if outcome.code not in (0, 3) or begun:
            problems.append(f"{folder}: code {outcome.code} in {begun}: {outcome.err[-3000:]}")
        problems += [f"{each} takes too much" for each in ended if each["megabytes"] > MEMORY]
        problems += problems_of(outcome, lines, part, folder / "out")
        states.update(line["status"] for line in lines)
    assert not problems, "\n".join(problems)
    assert min(states["done"], states["failed"]) > COUNT // 10


def pyramid(path: Path) -> None:
    """A slide of two levels."""
    with tifffile.TiffWriter(path) as tiff:
        for number in (0, 1):
            options = {"resolution": (20_000, 20_000), "resolutionunit": "centimeter", "metadata": None}
            tiff.write(rgb(6, 64, 64)[:: number + 1, :: number + 1], tile=(16, 16), compression="zlib", **options)


def test_slide_with_huge_tiles(bundle: Path, tmp_path: Path) -> None:
    pyramid(tmp_path / "a.tif")
    set_tags(tmp_path / "a.tif", {322: 1 << 30})
    assert masksup([], functools.partial(examine, tmp_path, ["a.tif"], tmp_path / "notes")).code == 0


def many_slices(path: Path) -> None:
    write_nifti(path, np.zeros((32, 40, 2), np.uint8))
    data = bytearray(path.read_bytes())
    data[40:50] = np.array([4, 40, 32, 32767, 32767], "<i2").tobytes()
    path.write_bytes(data)


def many_deflated_frames(path: Path) -> None:
    write_dicom(path, rgb(0)[..., 0], NumberOfFrames=300_000)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(path)


@pytest.mark.parametrize(("name", "write"), [("a.nii", many_slices), ("a.dcm", many_deflated_frames)])
def test_no_more_frames_than_a_file_can_hold(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    from masksup_med.predict.contents import contents_of

    write(tmp_path / name)
    assert contents_of(tmp_path / name).frames <= MOST


def test_readers_of_tiff_keep_quiet(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    from masksup_med.data import read_image

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb(0), photometric="rgb", description=f"{SECRET} undefined", metadata=None)
    path.write_bytes(path.read_bytes().replace(b"undefined", b"\x81ndefined"))
    read_image(path)
    assert not tells(caplog.text)


def test_tiff_with_many_widths(tmp_path: Path) -> None:
    from masksup_med.data import read_image
    from masksup_med.errors import DataError

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb(0), photometric="rgb")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.first.tags[256].offset
    data[place + 2 : place + 12] = struct.pack("<HII", 4, 2000, 8)  # so many that they are an array
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        read_image(path)
    assert_sentence("a.tif", str(error.value).replace(str(path), "a.tif"))


def test_nifti_with_a_wrong_code(bundle: Path, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(rgb(0)[..., 0].T, np.eye(4))
    content = bytearray(image.to_bytes())
    content[252:254] = b"\7\0"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii").write_bytes(content)
    outcome, _ = predicted(bundle, tmp_path, None, tmp_path / "notes")
    assert outcome.code == 0 and outcome.err == ""
