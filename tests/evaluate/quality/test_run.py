"""`masksup calibrate` on a bundle of which it is clear what it finds, and what the bundle keeps of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.special import expit

from masksup_med.bundle import Bundle, Predictor
from masksup_med.bundle.quality import Quality, quality_of
from masksup_med.cli import main
from masksup_med.data.datalist import save_datalist
from masksup_med.errors import DataError, MaskSupError, SettingError
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.predict import labelled_cases
from masksup_med.evaluate.quality import run
from masksup_med.evaluate.quality.run import calibrate
from masksup_med.inferers.views import views
from masksup_med.metrics.disagreement import disagreement
from tests.bundle.bundles import blank_copy
from tests.bundle.shifted import NETWORK, box, shifted_weights
from tests.evaluate.masks import read_rows

pytestmark = pytest.mark.filterwarnings("ignore")
WIDTHS = [1, 1, 2, 2, 2, 4, 6, 8, 12, 16]  # of what is white; up to 2 the IoU is below a half
INFERENCE, METADATA = Path("configs", "inference.yaml"), Path("configs", "metadata.json")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESAMPLES", 20)


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plots take most of the time."""
    monkeypatch.setattr(run, "write_quality_report", lambda path, *_: path.write_text("report"))


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """polyp_masksup with its comments, for 64 × 64 pixels, that finds what is white a column too far to the right."""
    return with_network(tmp_path_factory.mktemp("calibrate") / "shifted", NETWORK, shifted_weights(gain=1.5))


def with_network(folder: Path, network: dict[str, Any], weights: dict[str, torch.Tensor]) -> Path:
    blank_copy("polyp_masksup", folder, image_size=[64, 64])
    text = (folder / INFERENCE).read_text(encoding="utf-8")
    text, changes = re.subn(r"network_def:\n(  .*\n)+", yaml.safe_dump({"network_def": network}), text)
    assert changes == 1
    (folder / INFERENCE).write_text(text, encoding="utf-8")
    torch.save(weights, folder / "models" / "model.pt")
    return folder


@pytest.fixture
def bundle(shifted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shifted, tmp_path / "shifted")


def made(folder: Path, widths: list[int] = WIDTHS) -> Path:
    """A datalist of white boxes and their labels, two of each patient."""
    items = []
    for number, width in enumerate(widths):
        picture = box(20, 20, width, 20, (64, 64))
        paths = {kind: folder / kind / f"{number}.png" for kind in ("image", "label")}
        for kind, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture if kind == "image" else picture[..., 0]).save(path)
        items.append({**{kind: str(path) for kind, path in paths.items()}, "group": f"patient {number // 2}"})
    save_datalist({"training": items[:0], "validation": items}, folder / "list.json")
    return folder / "list.json"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("boxes"))


def content(bundle: Path) -> dict[str, bytes]:
    return {str(path.relative_to(bundle)): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def calibrated(bundle: Path, datalist: Path, out: Path, **more: Any) -> dict[str, Any]:
    return calibrate(Bundle.open(bundle), labelled_cases(datalist, "validation"), out, "symmetries", **more)


def by_command(bundle: Path, datalist: Path, out: Path, *more: str) -> int:
    return main(["calibrate", "--bundle", str(bundle), "--datalist", str(datalist), "-o", str(out), *more])


def test_phantoms(
    bundle: Path, phantoms: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "list.json"
    assert main(["datalist", str(phantoms("polyp")), "-o", str(listed), "--validation", "0.4"]) == 0
    before = (bundle / INFERENCE).read_text(encoding="utf-8")
    capsys.readouterr()
    assert by_command(bundle, listed, tmp_path / "out", "--compare") == 0
    printed, results = capsys.readouterr().out, json.loads((tmp_path / "out" / "quality.json").read_text())
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["quality.csv", "quality.json", "report.html"] and results["images"] == 4
    rows = read_rows(tmp_path / "out" / "quality.csv")
    assert np.mean([float(row["iou"]) for row in rows]) == pytest.approx(results["iou"]) and len(rows) == 4
    assert {"symmetries 7", "hidden:0.3 3", "symmetries+hidden:0.1 1", "entropy 0"} <= rows[0].keys()
    assert f"temperature {results['temperature']:g}: calibration error {results['ece_before']:.4f} before" in printed
    assert "4 images in 4 groups" in printed and "Traceback" not in printed
    after = (bundle / INFERENCE).read_text(encoding="utf-8")
    assert after == before.replace("temperature: 1.0 ", f"temperature: {results['temperature']} ")
    assert after.count("#") == before.count("#") > 3


def test_what_is_found_out_is_kept_and_given_back(bundle: Path, boxes: Path, tmp_path: Path, without_report) -> None:
    assert quality_of(Bundle.open(bundle)) == Quality() == ("symmetries", {}, 0)
    before = Bundle.open(bundle)
    results = calibrated(bundle, boxes, tmp_path / "out", sensitivity=0.8)
    opened = Bundle.open(bundle)
    assert opened.config["temperature"] == results["temperature"] != 1
    assert opened.settings_sha256 != before.settings_sha256 and opened.weights_sha256 == before.weights_sha256
    kept = opened.metadata["quality"]
    assert (kept["weights_sha256"], kept["settings_sha256"]) == (opened.weights_sha256, opened.settings_sha256)
    thresholds = {count: results["thresholds"][str(count)]["threshold"] for count in range(1, 8)}
    assert quality_of(opened) == Quality("symmetries", thresholds, 0.8)
    assert {key: value for key, value in opened.metadata.items() if key != "quality"} == before.metadata


def test_figures_are_those_of_what_is_found(bundle: Path, boxes: Path, tmp_path: Path, without_report) -> None:
    results = calibrated(bundle, boxes, tmp_path / "out", sensitivity=1.0)
    rows = read_rows(tmp_path / "out" / "quality.csv")
    assert [float(row["iou"]) for row in rows] == pytest.approx([(w - 1) / (w + 1) for w in WIDTHS])
    assert (results["images"], results["groups"], results["grouped"], results["bad"]) == (10, 5, True, 5)
    assert [row["group"] for row in rows] == [f"patient {number // 2}" for number in range(10)]
    assert results["ece_after"] < results["ece_before"] and results["temperature"] > 1
    # the narrower, the less is shared with the mirror image; of one column or two nothing is
    own = next(row for row in results["scores"] if (row["score"], row["passes"]) == ("symmetries", 3))
    assert own["spearman"] < -0.8 and own["auroc"] == 1
    assert results["risk_coverage_best"] <= own["risk_coverage"] < results["risk_coverage_chance"]
    flags = results["thresholds"]["3"]
    assert flags["sensitivity"] == 1 and flags["false_alarms"] == 0 and flags["flagged"] == 0.5


def test_doubts_are_those_that_predict_will_have(bundle: Path, boxes: Path, tmp_path: Path, without_report) -> None:
    calibrated(bundle, boxes, tmp_path / "out")
    rows, cases = read_rows(tmp_path / "out" / "quality.csv"), labelled_cases(boxes, "validation")
    for count in (1, 3, 7):
        predictor = Predictor(Bundle.open(bundle), views=views("symmetries", count))
        for row, case in zip(rows, cases, strict=True):
            found = predictor(case.image)
            doubt = disagreement(found.distance, found.foreground, found.distance.size)
            assert float(row[f"symmetries {count}"]) == pytest.approx(doubt, abs=1e-5)


def test_doubts_of_large_pictures_are_those_of_their_tiles(
    bundle: Path, boxes: Path, tmp_path: Path, without_report
) -> None:
    text = (bundle / INFERENCE).read_text(encoding="utf-8")
    (bundle / INFERENCE).write_text(re.sub("max_pixels: [0-9]+", "max_pixels: 1600", text), encoding="utf-8")
    calibrated(bundle, boxes, tmp_path / "out")
    predictor = Predictor(Bundle.open(bundle), views=views("symmetries", 3))
    for row, case in zip(read_rows(tmp_path / "out" / "quality.csv"), labelled_cases(boxes, "validation"), strict=True):
        found = predictor(case.image)
        doubt = disagreement(found.distance, found.foreground, found.distance.size)
        assert float(row["symmetries 3"]) == pytest.approx(doubt, abs=1e-3)


def overconfident(folder: Path, factor: float) -> tuple[Path, list[Case]]:
    """A bundle whose logits are too large by a factor, on pictures of grey noise, and labels drawn from the true ones.

    The true logits are from -6 to 6.
    """
    network = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}
    weights = {"weight": torch.full((1, 3, 1, 1), 2.0 * factor), "bias": torch.zeros(1)}
    random, cases = np.random.default_rng(0), []
    for number in range(6):
        grey = random.integers(0, 256, (64, 64), np.uint8)
        label = random.random((64, 64)) < expit(6 * (grey / 127.5 - 1))
        for kind, picture in {"image": grey, "label": label * np.uint8(255)}.items():
            Image.fromarray(picture).save(folder / f"{kind}{number}.png")
        cases.append(Case(f"{number}", folder / f"label{number}.png", None, f"{number}", folder / f"image{number}.png"))
    return with_network(folder / "bundle", network, weights), cases


@pytest.mark.parametrize(
    "factor",
    [
        0.5,
        2,
        8,
    ],
)
def test_the_temperature_of_a_network_that_is_too_sure_is_found(
    tmp_path: Path, without_report: None, factor: float
) -> None:
    bundle, cases = overconfident(tmp_path, factor)
    results = calibrate(Bundle.open(bundle), cases, tmp_path / "out", "symmetries")
    assert results["temperature"] == pytest.approx(factor, rel=0.05)
    assert results["ece_after"] < results["ece_before"] / 3


def test_a_second_time_gives_the_same(bundle: Path, boxes: Path, tmp_path: Path, without_report) -> None:
    """The temperature that is there already takes no part."""
    first = calibrated(bundle, boxes, tmp_path / "1")
    before = content(bundle)
    assert calibrated(bundle, boxes, tmp_path / "2") == first
    assert content(bundle) == before


@pytest.mark.parametrize("what", ["weights", "settings"])
def test_with_other_weights_or_settings_it_is_ignored_with_a_warning(
    bundle: Path, boxes: Path, tmp_path: Path, without_report, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    calibrated(bundle, boxes, tmp_path / "out")
    assert quality_of(Bundle.open(bundle)).thresholds and not caplog.records
    if what == "weights":
        torch.save(shifted_weights(gain=1.6), bundle / "models" / "model.pt")
    else:
        text = (bundle / INFERENCE).read_text(encoding="utf-8")
        (bundle / INFERENCE).write_text(text.replace("threshold: 0.5", "threshold: 0.4"), encoding="utf-8")
    assert quality_of(Bundle.open(bundle)) == Quality()
    (record,) = caplog.records
    assert "shifted has other weights or settings than when it was calibrated" in record.getMessage()


@pytest.mark.parametrize(
    "damage",
    [
        lambda quality: quality.pop("thresholds"),
        lambda quality: quality.update(thresholds={"three": 0.1}),
        lambda quality: quality.update(views="mirrors"),
        lambda quality: quality.update(sensitivity=None),
    ],
)
def test_damaged_metadata_are_one_sentence(
    bundle: Path, boxes: Path, tmp_path: Path, without_report, damage: Callable[[dict], Any]
) -> None:
    calibrated(bundle, boxes, tmp_path / "out")
    metadata = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
    damage(metadata["quality"])
    (bundle / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(DataError, match=r"metadata\.json: quality cannot be read .*; run `masksup calibrate` again\.$"):
        quality_of(Bundle.open(bundle))


def test_with_fewer_than_five_bad_images_there_is_no_threshold(
    bundle: Path, tmp_path: Path, without_report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert by_command(bundle, made(tmp_path, WIDTHS[1:]), tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "No threshold was set: of too few images, 4, the IoU is below 0.5; give more images." in printed
    opened = Bundle.open(bundle)
    assert opened.metadata["quality"]["thresholds"] == {} == quality_of(opened).thresholds
    assert opened.config["temperature"] == opened.metadata["quality"]["temperature"]


def test_only_what_was_asked_for_is_measured(bundle: Path, boxes: Path, tmp_path: Path, without_report) -> None:
    cases = labelled_cases(boxes, "validation")[:3]
    results = calibrate(Bundle.open(bundle), cases, tmp_path / "out", "hidden:0.2", seed=3)
    assert {row["score"] for row in results["scores"]} == {"hidden:0.2"} and results["settings"]["seed"] == 3
    assert quality_of(Bundle.open(bundle)).kind == "hidden:0.2"


# what goes wrong leaves the bundle as it was


@pytest.fixture
def untouched(bundle: Path, tmp_path: Path) -> Iterator[None]:
    before = content(bundle)
    yield
    assert content(bundle) == before
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
@pytest.mark.parametrize("where", ["scored", "write_quality_report"])
def test_a_run_that_ends_early(
    bundle: Path,
    boxes: Path,
    tmp_path: Path,
    untouched: None,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: type[BaseException],
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(run, where, broken)
    with pytest.raises(error):
        calibrated(bundle, boxes, tmp_path / "out")


def test_a_bundle_without_a_place_is_refused_before_anything_is_done(
    bundle: Path, boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (bundle / INFERENCE).read_text(encoding="utf-8")
    (bundle / INFERENCE).write_text(text.replace("\ntemperature: ", "\nwarmth: ").replace("@temp", "@warmth#"), "utf-8")
    monkeypatch.setattr(run, "Predictor", None)
    assert by_command(bundle, boxes, tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert "has no temperature; add `temperature: 1.0`" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "out", "message"),
    [("mirrors", "out", "of no known kind"), ("symmetries", "list.json", "Results cannot be written to")],
)
def test_settings_that_cannot_be_followed(
    bundle: Path, tmp_path: Path, untouched: None, kind: str, out: str, message: str
) -> None:
    cases = labelled_cases(made(tmp_path), "validation")
    with pytest.raises(SettingError, match=message):
        calibrate(Bundle.open(bundle), cases, tmp_path / out, kind)


def test_labels_of_another_size_are_one_sentence(
    bundle: Path, tmp_path: Path, untouched: None, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = made(tmp_path)
    Image.fromarray(np.zeros((64, 63), np.uint8)).save(tmp_path / "label" / "3.png")
    assert by_command(bundle, listed, tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and err.count("\n") == 1 and "3.png has 64 × 64 pixels, its label" in err
    case = Case("3", tmp_path / "label" / "3.png", None, "3", tmp_path / "image" / "3.png")
    with pytest.raises(MaskSupError, match=r"3\.png has 64 × 64 pixels, its label 63 × 64; give each image a label of"):
        calibrate(Bundle.open(bundle), [case], tmp_path / "out", "symmetries")


@pytest.mark.parametrize(
    "more",
    [("--sensitivity", "0"), ("--sensitivity", "1.1"), ("--sensitivity", "nan"), ("--seed", "-1"), ("--split", "all")],
)
def test_wrong_usage(bundle: Path, boxes: Path, tmp_path: Path, untouched: None, more: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        by_command(bundle, boxes, tmp_path / "out", *more)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--views", "mirrors"), "The views 'mirrors' are of no known kind"),
        (("--views", "hidden:0"), "of no known kind"),
        (("--split", "test"), "no images for test"),
        (("--device", "toaster"), "There is no device toaster here"),
        (("--bundle", "nowhere"), "nowhere is not a bundle"),
        (("--datalist", "nowhere.json"), "nowhere.json"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    bundle: Path, boxes: Path, tmp_path: Path, untouched: None, capsys, more: tuple[str, ...], message: str
) -> None:
    assert by_command(bundle, boxes, tmp_path / "out", *more) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and message in err and err.count("\n") == 1
