"""Evaluation of real labels, against themselves and against changes whose effect can be worked out by hand."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from skimage.segmentation import expand_labels

from masksup_med.cli import main
from masksup_med.data import read_label
from tests.evaluate.masks import without_plots

pytestmark = pytest.mark.real


def evaluate(pred, label, out, *more):
    with without_plots():
        assert main(["evaluate", "--pred", str(pred), "--label", str(label), "-o", str(out), *more]) == 0
    with open(out / "per_image.csv", encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    return json.loads((out / "metrics.json").read_text()), rows


def test_glas_labels_against_themselves(real_data, tmp_path):
    labels, table = real_data / "glas/train/instances", real_data / "glas/train/Grade.csv"
    results, _ = evaluate(labels, labels, tmp_path, "--task", "gland", "--protocol", "glas", "--groups", str(table))
    assert results["images"] == 85 and results["groups"] == 15
    for name, perfect in (("object_f1", 1), ("object_dice", 1), ("object_hausdorff", 0)):
        for kind in ("pooled", "mean"):
            assert results["metrics"][f"{name}_{kind}"]["value"] == perfect
            assert results["metrics"][f"{name}_{kind}"]["interval"] == [perfect, perfect]


def test_grown_glas_labels_have_the_values_that_were_worked_out(real_data, tmp_path):
    golden = json.loads((Path(__file__).parent / "glas_grown.json").read_text(encoding="utf-8"))["images"]
    for name in golden:
        label = read_label(real_data / f"glas/train/instances/{name}.png")
        for folder, values in (("label", label), ("pred", expand_labels(label, 3))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{name}.png")
    _, rows = evaluate(tmp_path / "pred", tmp_path / "label", tmp_path / "out", "--task", "gland")
    for name, expected in golden.items():
        row = {key: float(rows[name][key]) for key in expected}
        assert row == pytest.approx(expected, rel=1e-9), name
        assert row["iou"] == row["precision"] == row["label_area"] / row["pred_area"]
        assert row["dice"] == 2 * row["label_area"] / (row["label_area"] + row["pred_area"])
        assert (row["recall"], row["object_f1"], row["object_hausdorff"]) == (1, 1, 3)


@pytest.mark.parametrize("protocol", ["native", "pranet", "paper"])
def test_jpeg_masks_as_published(real_data, tmp_path, protocol):
    """Kvasir-SEG's masks are JPEGs: as labels they are cut at half, as predictions they are maps."""
    masks = real_data / "kvasir_seg/original_resolution/masks"
    results, _ = evaluate(masks, masks, tmp_path, "--task", "polyp", "--protocol", protocol)
    key = {"native": "dice", "pranet": "mean_dice", "paper": "jaccard"}[protocol]
    assert results["metrics"][key]["value"] == pytest.approx(1, abs=0.01)


def test_tiff_masks_as_published(real_data, tmp_path):
    masks = real_data / "cvc_clinicdb/original/masks"
    table = real_data / "cvc_clinicdb/sequences.csv"
    results, _ = evaluate(masks, masks, tmp_path, "--task", "polyp", "--groups", str(table))
    assert results["images"] == 24 and results["groups"] == 21
    assert results["metrics"]["iou"]["value"] == 1


def test_nyudv2_labels_against_themselves(real_data, tmp_path):
    labels = real_data / "nyudv2/label40"
    results, _ = evaluate(labels, labels, tmp_path, "--task", "semantic", "--classes", "1-40")
    assert {metric["value"] for metric in results["metrics"].values()} == {1}
