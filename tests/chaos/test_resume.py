"""The same command again does what is missing, and no more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.bundles import changed_bundle, new_weights
from tests.chaos.conftest import OUTPUTS, Work
from tests.chaos.pictures import BAD, WRITERS, write_picture
from tests.chaos.runs import masksup
from tests.chaos.trees import fingerprint, lines_of, tree

PICTURES = frozenset(WRITERS) - {BAD}


class Place(NamedTuple):
    """A work of its own, done once, to be changed."""

    inputs: Path
    out: Path
    bundle: Path

    @property
    def arguments(self) -> list[str]:
        """Of the command line."""
        return ["predict", str(self.inputs), "-o", str(self.out), "--bundle", str(self.bundle)]

    def predict(self, *more: str) -> dict[str, object]:
        """Predict; return the summary."""
        outcome = masksup([*self.arguments, "--outputs", OUTPUTS, "--json", *more])
        assert outcome.code == outcome.summary["exit_code"] and not outcome.err, outcome
        return outcome.summary

    def undisturbed(self, folder: Path, *more: str) -> dict[str, bytes]:
        """What a run in a new folder makes of it."""
        self._replace(out=folder).predict(*more)
        return tree(folder)


@pytest.fixture
def place(work: Work, tmp_path: Path) -> Place:
    shutil.copytree(work.inputs, tmp_path / "in")
    shutil.copytree(work.bundle, tmp_path / work.bundle.name)
    shutil.copytree(work.inputs.with_name("undisturbed"), tmp_path / "out")
    return Place(tmp_path / "in", tmp_path / "out", tmp_path / work.bundle.name)


def again(place: Place, *more: str) -> set[str]:
    """Predict again; return the images that were done again, as the files and their times show, too."""
    before = fingerprint(place.out)
    summary = place.predict(*more)
    after = fingerprint(place.out)
    written = {path for path, state in after.items() if before.get(path) != state}
    lines = {line["image"]: set(line["outputs"]) for line in lines_of(place.out)}
    anew = {image for image, paths in lines.items() if paths & written}
    assert len(anew) == summary["predicted"]
    assert summary["images"] == summary["predicted"] + summary["done_before"] + len(summary["failed"])
    assert all(lines[image] <= written for image in anew)
    return anew


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def swap(out: Path) -> None:
    """Each is a whole mask, but the other's."""
    one, two = out / "masks/scans/scan.png", out / "masks/scans/slice.nii.gz"
    one_content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(one_content)


def tear(out: Path) -> None:
    """The last line is that of wide.png."""
    manifest = out / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "images"),
    [
        (lambda out: None, set()),
        (lambda out: (out / "overlays/wide.jpg").unlink(), {"wide.png"}),
        (lambda out: spoil(out / "masks/frames/á/bit.png"), {"frames/á/bit.bmp"}),
        (lambda out: (out / "probabilities/a.jpg.png").write_bytes(b""), {"a.jpg"}),
        (swap, {"scans/scan.dcm", "scans/slice.nii.gz"}),
        (lambda out: shutil.rmtree(out / "masks/frames"), {name for name in PICTURES if name.startswith("frames/")}),
        (tear, {"wide.png"}),
        (lambda out: (out / "manifest.jsonl").write_bytes(b"\0" * 5000 + b"\n[]\n"), PICTURES),
        (lambda out: [(out / name).unlink() for name in ("images.csv", "measurements.csv", "report.html")], set()),
        (lambda out: spoil(out / "images.csv"), set()),
    ],
    ids=[
        "nothing",
        "output-deleted",
        "output-altered",
        "output-emptied",
        "masks-swapped",
        "folder-deleted",
        "line-torn",
        "no-line",
        "tables-deleted",
        "table-altered",
    ],
)
def test_outputs_altered(work: Work, place: Place, change: Callable[[Path], object], images: set[str]) -> None:
    change(place.out)
    assert again(place) == images
    assert tree(place.out) == work.undisturbed


def test_folder_in_an_outputs_place(work: Work, place: Place) -> None:
    """It is in the way of one image, and of no other."""
    for path in ("masks/a.jpg.png", "probabilities/wide.png"):
        (place.out / path).unlink()
        (place.out / path).mkdir()
    summary = place.predict()
    assert summary["failed"].keys() == {"a.jpg", "wide.png", BAD} and not summary["stopped"]
    for path in ("masks/a.jpg.png", "probabilities/wide.png"):
        (place.out / path).rmdir()
    place.predict()
    assert tree(place.out) == work.undisturbed


def repair(inputs: Path) -> None:
    write_picture(inputs / BAD, 20)


def touch(inputs: Path) -> None:
    (inputs / "a.png").touch()


@pytest.mark.parametrize(
    ("change", "images"),
    [
        (lambda inputs: write_picture(inputs / "a.png", 21), {"a.png"}),
        (repair, {BAD}),
        (touch, set()),
        (lambda inputs: write_picture(inputs / "new/z.png", 22), {"new/z.png"}),
    ],
    ids=["altered", "repaired", "only-touched", "added"],
)
def test_inputs_altered(place: Place, change: Callable[[Path], object], images: set[str]) -> None:
    change(place.inputs)
    assert again(place) == images
    assert tree(place.out) == place.undisturbed(place.out.with_name("new"))


def test_image_that_has_gone_bad_loses_its_results(place: Place) -> None:
    (place.inputs / "wide.png").write_bytes(b"")
    assert again(place) == set()
    assert tree(place.out) == place.undisturbed(place.out.with_name("new"))


def test_names_that_collide_from_now_on(place: Place) -> None:
    """Results of an image move, when another one comes with its name; nothing stays behind."""
    write_picture(place.inputs / "wide.bmp", 23)
    assert again(place) == {"wide.png", "wide.bmp"}
    assert tree(place.out) == place.undisturbed(place.out.with_name("new"))


def test_image_that_is_gone_keeps_its_results(work: Work, place: Place) -> None:
    (place.inputs / "a.png").unlink()
    assert again(place) == set()
    assert tree(place.out) == work.undisturbed


def test_other_weights(place: Place) -> None:
    new_weights(place.bundle, 1)
    assert again(place) == PICTURES
    assert tree(place.out) == place.undisturbed(place.out.with_name("new"))


def test_other_settings(place: Place, tmp_path: Path) -> None:
    other = changed_bundle(place.bundle, tmp_path / "other" / place.bundle.name, "threshold: 0.5", "threshold: 0.66")
    place = place._replace(bundle=other)
    assert again(place) == PICTURES
    assert tree(place.out) == place.undisturbed(place.out.with_name("new"))
    assert again(place) == set()


def test_settings_that_change_nothing(work: Work, place: Place, tmp_path: Path) -> None:
    other = changed_bundle(place.bundle, tmp_path / "other" / place.bundle.name, "num_workers: 0", "num_workers: 1")
    place = place._replace(bundle=other)
    assert again(place, "--workers", "1", "--batch-size", "1", "--device", "cpu") == set()
    assert tree(place.out) == work.undisturbed


def test_fewer_and_more_outputs(work: Work, place: Place, tmp_path: Path) -> None:
    assert again(place, "--outputs", "masks") == set()
    assert tree(place.out) == work.undisturbed  # what is there already stays
    place = place._replace(out=tmp_path / "grows")
    place.predict("--outputs", "masks")
    assert {path.name for path in place.out.iterdir() if path.is_dir()} == {"masks"}
    assert again(place) == PICTURES
    assert tree(place.out) == work.undisturbed


def test_overwrite(work: Work, place: Place) -> None:
    assert again(place, "--overwrite") == PICTURES
    assert tree(place.out) == work.undisturbed


def test_dry_run_touches_nothing(place: Place) -> None:
    (place.out / "masks/wide.png").unlink()
    before = fingerprint(place.out)
    outcome = masksup([*place.arguments, "--dry-run", "--json"])
    assert outcome.code == 0
    assert {image for image, what in outcome.summary.items() if what == "predict"} == {"wide.png", BAD}
    assert fingerprint(place.out) == before
