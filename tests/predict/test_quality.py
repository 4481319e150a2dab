"""`masksup predict` in several views, with a network of which it is clear how far they disagree."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from masksup_med.bundle import Bundle
from masksup_med.cli import main
from masksup_med.predict.slides import job as slides_job
from tests.bundle.shifted import box, moved, shifted_bundle
from tests.predict.made_slides import write_tiff_slide

pytestmark = pytest.mark.filterwarnings("ignore")
WIDTHS = {"narrow": 4, "middling": 8, "wide": 30}
HEIGHT, SIZE = 20, (40, 60)
NAMES = [f"{name}.png" for name in WIDTHS]


def doubt(width: int, pixels: int = SIZE[0] * SIZE[1]) -> float:
    """Of three flips, two share all of a box but two columns on each side with the image as it is, and one all."""
    return (8 * HEIGHT / 3) / (2 * width * HEIGHT + 1e-4 * pixels)


def doubt_of_object(width: int) -> float:
    return 2 / (3 * width - 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def images(folder: Path) -> Path:
    (folder / "images").mkdir()
    for name, width in WIDTHS.items():
        Image.fromarray(box(10, 10, width, HEIGHT, SIZE)).save(folder / "images" / f"{name}.png")
    return folder / "images"


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    """Nobody has calibrated it."""
    return shifted_bundle(folder / "plain", mpp=0.5)


@pytest.fixture(scope="module")
def flagging(folder: Path) -> Path:
    """Flags what is narrow, with three views."""
    return calibrated(shifted_bundle(folder / "flagging", mpp=0.5), 0.2)


def calibrated(bundle: Path, threshold: float) -> Path:
    opened = Bundle.open(bundle)
    hashes = {"weights_sha256": opened.weights_sha256, "settings_sha256": opened.settings_sha256}
    opened.note(quality={"views": "symmetries", "thresholds": {"3": threshold}, "sensitivity": 0.9, **hashes})
    return bundle


def run(bundle: Path, inputs: Path, out: Path, *options: str) -> int:
    return main(["predict", str(inputs), "-o", str(out), "--bundle", str(bundle), "--runtime", "torch", *options])


def manifest(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["image"]: line for line in lines}


def rows(out: Path, table: str = "images.csv") -> dict[str, dict[str, str]]:
    with open(out / table, newline="", encoding="utf-8") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def words(out: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", (out / "report.html").read_text(encoding="utf-8")).split())


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file)


def test_disagreement_is_in_manifest_and_tables(plain: Path, images: Path, tmp_path: Path) -> None:
    assert run(plain, images, tmp_path, "--quality", "3") == 0
    lines, table, objects = manifest(tmp_path), rows(tmp_path), rows(tmp_path, "measurements.csv")
    for name, width in WIDTHS.items():
        line = lines[f"{name}.png"]
        assert line["disagreement"] == pytest.approx(doubt(width), abs=6e-5)
        assert (line["views"], line["averaged"]) == ("3 symmetries", False)
        assert float(table[f"{name}.png"]["disagreement"]) == line["disagreement"]
        (found,) = line["objects"]
        assert found["disagreement"] == pytest.approx(doubt_of_object(width), abs=6e-5)
        assert float(objects[f"{name}.png"]["disagreement"]) == found["disagreement"]


def test_without_views_nothing_is_said_of_them(flagging: Path, images: Path, tmp_path: Path, capsys) -> None:
    assert run(flagging, images, tmp_path) == 0
    assert "doubtful" not in capsys.readouterr().out and "isagreement" not in words(tmp_path)
    for line in manifest(tmp_path).values():
        assert not {"disagreement", "views", "averaged"} & line.keys()
    assert {row["disagreement"] for row in rows(tmp_path).values()} == {""}


def test_masks_are_the_same_to_the_byte(plain: Path, images: Path, tmp_path: Path) -> None:
    outputs = ("--outputs", "masks,overlays,probabilities")
    assert run(plain, images, tmp_path / "plain", *outputs) == 0
    assert run(plain, images, tmp_path / "looked", "--quality", "7", *outputs) == 0
    hashes = [
        {name: line["outputs"] for name, line in manifest(tmp_path / each).items()} for each in ("plain", "looked")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("size", ["1", "2", "3"])
def test_each_image_of_a_batch_has_its_own_disagreement(plain: Path, images: Path, tmp_path: Path, size: str) -> None:
    assert run(plain, images, tmp_path, "--quality", "3", "--batch-size", size) == 0
    assert {name: line["disagreement"] for name, line in manifest(tmp_path).items()} == {
        f"{name}.png": pytest.approx(doubt(width), abs=6e-5) for name, width in WIDTHS.items()
    }


def test_doubtful_images_are_flagged_counted_and_named(flagging: Path, images: Path, tmp_path: Path, capsys) -> None:
    assert run(flagging, images, tmp_path, "--quality", "3") == 0
    printed = capsys.readouterr().out
    assert f"1 of them doubtful: see {tmp_path}/report.html, or the flags in images.csv" in printed
    assert "No image is flagged" not in printed
    assert {name for name, row in rows(tmp_path).items() if "doubtful" in row["flags"].split()} == {"narrow.png"}
    assert "Doubtful (1 image): views of the image disagree by as much as in predictions that were bad." in words(
        tmp_path
    )
    assert run(flagging, images, tmp_path, "--quality", "3", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["done_before"], summary["doubtful"], summary["notes"]) == (3, 1, [])


def test_without_a_threshold_for_so_many_views_a_note_says_so(
    flagging: Path, images: Path, tmp_path: Path, capsys
) -> None:
    assert run(flagging, images, tmp_path, "--quality", "2") == 0
    printed = capsys.readouterr().out
    assert "No image is flagged as doubtful, because flagging has no threshold for 2 views; `masksup" in printed
    assert all("doubtful" not in line["flags"] for line in manifest(tmp_path).values())
    assert all("disagreement" in line for line in manifest(tmp_path).values())


def test_the_report_has_the_most_doubtful_first_and_says_so(plain: Path, images: Path, tmp_path: Path) -> None:
    assert run(plain, images, tmp_path, "--quality", "3") == 0
    report = words(tmp_path)
    assert "The images by the disagreement between views, the most doubtful first." in report
    cards = report[report.index("The images by the disagreement") :]
    assert cards.index("narrow.png") < cards.index("middling.png") < cards.index("wide.png")
    assert f"Disagreement {doubt(30):.3f}" in report


# what is done holds


def predicted(capsys: pytest.CaptureFixture[str], bundle: Path, images: Path, out: Path, *options: str) -> int:
    """How many images a run has predicted, and not taken as done before."""
    capsys.readouterr()
    assert run(bundle, images, out, *options, "--json") == 0
    return json.loads(capsys.readouterr().out)["predicted"]


@pytest.mark.parametrize(
    ("first", "second", "again"),
    [
        (["--quality", "3"], [], 0),
        ([], ["--quality", "3"], 3),
        (["--quality", "3"], ["--quality", "3"], 0),
        (["--quality", "3"], ["--quality", "2"], 3),
        (["--tta"], [], 3),
        ([], ["--tta"], 3),
        (["--tta"], ["--tta", "--quality", "3"], 0),
        (["--tta"], ["--quality", "3"], 3),
        (["--quality", "3"], ["--tta"], 3),
        (["--tta"], ["--tta", "--quality", "7"], 3),
    ],
    ids=lambda value: " ".join(value) or "plain" if isinstance(value, list) else str(value),
)
def test_what_holds_for_another_run(
    plain: Path, images: Path, tmp_path: Path, capsys, first: list[str], second: list[str], again: int
) -> None:
    assert predicted(capsys, plain, images, tmp_path, *first) == 3
    capsys.readouterr()
    assert run(plain, images, tmp_path, *second, "--dry-run") == 0
    assert capsys.readouterr().out.count(": predict") == again
    assert predicted(capsys, plain, images, tmp_path, *second) == again


def test_maps_that_are_missing_are_made(plain: Path, images: Path, tmp_path: Path, capsys) -> None:
    assert predicted(capsys, plain, images, tmp_path, "--quality", "3") == 3
    assert predicted(capsys, plain, images, tmp_path, "--quality", "3", "--outputs", "masks,disagreement") == 3


def test_tta_lets_the_mean_decide(plain: Path, images: Path, tmp_path: Path) -> None:
    assert run(plain, images, tmp_path, "--tta", "--outputs", "masks,probabilities") == 0
    assert {(line["views"], line["averaged"]) for line in manifest(tmp_path).values()} == {("3 symmetries", True)}
    for name, width in WIDTHS.items():
        white = box(10, 10, width, HEIGHT, SIZE)
        mean = (2 * moved(white, 1, 0) + 2 * moved(white, -1, 0)) / 4
        probability = picture(tmp_path / "probabilities" / f"{name}.png") / 65535
        np.testing.assert_allclose(probability, mean, atol=2e-5)
        sure = mean != 0.5
        np.testing.assert_array_equal((picture(tmp_path / "masks" / f"{name}.png") > 0)[sure], (mean > 0.5)[sure])
        assert manifest(tmp_path)[f"{name}.png"]["disagreement"] == pytest.approx(doubt(width), abs=6e-5)


def test_a_new_threshold_flags_what_is_done(images: Path, tmp_path: Path, capsys) -> None:
    bundle = calibrated(shifted_bundle(tmp_path / "bundle"), 0.2)
    assert predicted(capsys, bundle, images, tmp_path / "out", "--quality", "3") == 3
    calibrated(bundle, 0.1)
    assert run(bundle, images, tmp_path / "out", "--quality", "3") == 0
    flagged = {name for name, row in rows(tmp_path / "out").items() if "doubtful" in row["flags"]}
    assert flagged == {"narrow.png", "middling.png"}


def test_a_stale_calibration_is_said_once(images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = calibrated(shifted_bundle(tmp_path / "bundle"), 0.2)
    text = (bundle / "configs" / "inference.yaml").read_text(encoding="utf-8")
    changed = text.replace("threshold: 0.5", "threshold: 0.4")
    assert changed != text
    (bundle / "configs" / "inference.yaml").write_text(changed, encoding="utf-8")
    assert run(bundle, images, tmp_path / "out", "--quality", "3") == 0
    warnings = [record for record in caplog.records if "run `masksup calibrate` again" in record.getMessage()]
    assert len(warnings) == 1


# maps


def test_maps_have_16_bits_on_the_grid_of_the_image(plain: Path, images: Path, tmp_path: Path) -> None:
    assert run(plain, images, tmp_path, "--quality", "3", "--outputs", "disagreement") == 0
    assert sorted(path.name for path in (tmp_path / "disagreement").iterdir()) == sorted(NAMES)
    for name, width in WIDTHS.items():
        white = box(10, 10, width, HEIGHT, SIZE)
        distance = np.abs(moved(white, 1, 0) - moved(white, -1, 0)) * 2 / 3
        found = picture(tmp_path / "disagreement" / f"{name}.png")
        assert found.dtype == np.uint16 and found.shape == SIZE
        np.testing.assert_allclose(found / 65535, distance, atol=2e-5)
    assert "how far views of the image are apart at each pixel" in words(tmp_path)


def test_tta_has_maps_too(plain: Path, images: Path, tmp_path: Path) -> None:
    assert run(plain, images, tmp_path, "--tta", "--outputs", "disagreement") == 0
    assert len(list((tmp_path / "disagreement").iterdir())) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--outputs", "disagreement"], "--outputs disagreement is of several views; add --quality 3."),
        (["--quality", "8"], "There are no 8 views of the kind symmetries; choose a number from 1 to 7."),
        (["--quality", "8", "--tta"], "There are no 8 views of the kind symmetries; choose a number from 1 to 7."),
    ],
)
def test_refusals_are_one_sentence_and_write_nothing(
    plain: Path, images: Path, tmp_path: Path, capsys, options: list[str], message: str
) -> None:
    assert run(plain, images, tmp_path / "out", *options) == 1
    assert capsys.readouterr().err == f"Error: {message}\n" and not (tmp_path / "out").exists()


def test_a_dry_run_refuses_what_a_run_would(plain: Path, images: Path, tmp_path: Path) -> None:
    assert run(plain, images, tmp_path / "out", "--quality", "8", "--dry-run") == 1


@pytest.mark.parametrize("number", ["-1", "1.5", "three"])
def test_what_is_no_number_of_views_is_wrong_usage(plain: Path, images: Path, tmp_path: Path, number: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(plain, images, tmp_path / "out", "--quality", number)
    assert caught.value.code == 2


def test_nothing_at_all_is_not_doubtful(flagging: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "in" / "black.png")
    assert run(flagging, tmp_path / "in", tmp_path / "out", "--quality", "3") == 0
    line = manifest(tmp_path / "out")["black.png"]
    assert line["disagreement"] == 0 and line["flags"] == ["nothing_found"]


# slides


def slide(folder: Path, ink: int = 40) -> np.ndarray:
    """A white box on ink, which counts as tissue."""
    area = box(90, 60, 20, HEIGHT, (200, 260))
    area[area == 0] = ink
    area[..., 1][area[..., 1] < 255] //= 2
    write_tiff_slide(folder / "slide.tif", area, 0.5)
    return area


def test_disagreement_of_a_slide_and_its_objects(flagging: Path, tmp_path: Path) -> None:
    area = slide(tmp_path / "in")
    assert run(flagging, tmp_path / "in", tmp_path / "out", "--quality", "3", "--outputs", "masks,polygons") == 0
    (line,) = manifest(tmp_path / "out").values()
    assert line["disagreement"] == pytest.approx(doubt(20, area[..., 0].size), abs=2e-4)
    (found,) = line["objects"]
    assert found["disagreement"] == pytest.approx(doubt_of_object(20), abs=2e-4)
    assert (line["views"], line["averaged"]) == ("3 symmetries", False) and "doubtful" not in line["flags"]
    assert float(rows(tmp_path / "out")["slide.tif"]["disagreement"]) == line["disagreement"]


def test_a_doubtful_slide_is_flagged_and_has_the_mask_it_has_without_views(folder: Path, tmp_path: Path) -> None:
    bundle = calibrated(shifted_bundle(tmp_path / "bundle", mpp=0.5, max_pixels=96**2), 0.01)
    slide(tmp_path / "in")
    for name, options in {"plain": [], "looked": ["--quality", "3"]}.items():
        assert run(bundle, tmp_path / "in", tmp_path / name, "--outputs", "masks", *options) == 0
    plain, looked = (next(iter(manifest(tmp_path / name).values())) for name in ("plain", "looked"))
    assert "doubtful" in looked["flags"] and "doubtful" not in plain["flags"] and "disagreement" not in plain
    assert {key: looked[key] for key in ("area_share", "mean_confidence")} == {
        key: plain[key] for key in ("area_share", "mean_confidence")
    }


def test_tiles_of_other_views_are_not_taken(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide(tmp_path / "in")
    seen, folder_of = [], slides_job._folder
    monkeypatch.setattr(slides_job, "_folder", lambda *args: seen.append(folder_of(*args)) or seen[-1])
    for options in ([], ["--quality", "3"], ["--quality", "2"], ["--tta"]):
        assert run(plain, tmp_path / "in", tmp_path / "out", "--overwrite", *options) == 0
    assert len(set(seen)) == 4


def test_a_slide_without_tissue_has_no_doubt_but_a_figure(plain: Path, tmp_path: Path) -> None:
    write_tiff_slide(tmp_path / "in" / "slide.tif", np.full((200, 260, 3), 250, np.uint8), 0.5)
    assert run(plain, tmp_path / "in", tmp_path / "out", "--quality", "3") == 0
    (line,) = manifest(tmp_path / "out").values()
    assert line["disagreement"] == 0
