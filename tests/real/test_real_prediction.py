"""`masksup predict` on real files of four owners at once, as these publish them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masksup_med.cli import main
from masksup_med.data import image_size
from tests.bundle.bundles import write_bundle

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
FOLDERS = ("glas/original_layout", "cvc_clinicdb/original/images", "kvasir_seg/original_resolution/images", "dicom")


def test_four_sources_in_one_call(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [real_data / name for name in FOLDERS[:3]]
    inputs += sorted(path for path in (real_data / "dicom").rglob("*.dcm") if "endoscopy" in str(path).lower())
    assert len(inputs) > 3
    bundle, out = write_bundle(tmp_path / "bundle", image_size=[16, 16]), tmp_path / "out"
    assert main(["predict", *map(str, inputs), "-o", str(out), "--bundle", str(bundle), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    files = [path for each in inputs for path in ([each] if each.is_file() else sorted(each.rglob("*")))]
    images = [path for path in files if path.suffix.lower() in (".bmp", ".tif", ".jpg", ".dcm")]
    assert summary["predicted"] == summary["images"] == len(images) > 3
    assert {path.suffix for path in images} >= {".bmp", ".tif", ".jpg", ".dcm"}

    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["image"] for row in rows] == [line["image"] for line in lines] == sorted(row["image"] for row in rows)
    sources = {
        line["image"]: [path for path in images if path.as_posix().endswith("/" + line["image"])] for line in lines
    }
    assert sorted(path for found in sources.values() for path in found) == sorted(images)
    for line, row in zip(lines, rows, strict=True):
        (source,) = sources[line["image"]]
        mask, overlay = sorted(line["outputs"])
        with Image.open(out / mask) as file, Image.open(out / overlay) as drawn:
            assert file.size == drawn.size == image_size(source) == (int(row["width"]), int(row["height"]))
            assert file.mode == "L" and set(np.unique(np.asarray(file))) <= {0, 255}
        assert (row["status"], row["error"]) == ("done", "")
    content = b"".join(path.read_bytes() for path in out.iterdir() if path.is_file())
    assert str(real_data).encode() not in content and str(tmp_path).encode() not in content
