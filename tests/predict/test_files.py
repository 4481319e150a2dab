"""`masksup predict` on files that hold several images: frames of DICOM, slices of NIfTI."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from masksup_med.bundle import Bundle
from masksup_med.cli import main
from masksup_med.predict import results
from masksup_med.predict.discovery import find_images
from masksup_med.predict.files import WholeFiles
from masksup_med.predict.run import Settings, predict_images
from tests.bundle.bundles import brightness_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
OUTPUTS = "masks,polygons,dicom-seg"
CODES = {
    "1": {"category": ["49755003", "SCT", "Morphologically Abnormal Structure"], "type": ["1", "99TEST", "Bright"]}
}


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds where grey is above 127, and has codes for what it finds."""
    bundle = brightness_bundle(tmp_path_factory.mktemp("files") / "bright")
    metadata = bundle / "configs" / "metadata.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"dicom_segments": CODES}))
    return bundle


def grey(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 17), np.uint8)


def write_dicom(path: Path, pictures: np.ndarray, frames: list[bytes] | None = None, **attributes: Any) -> Path:
    """Write an ultrasound file; of several frames, if there are."""
    data, several = Dataset(), len(pictures) > 1
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit if frames else uid.ExplicitVRLittleEndian
    data.SOPClassUID = uid.UltrasoundMultiFrameImageStorage if several else uid.UltrasoundImageStorage
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid(entropy_srcs=[path.name])
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.4", "1.2.5", "US"
    data.PatientName, data.PatientID = "SECRET^NAME", "SECRET"
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.Rows, data.Columns = pictures.shape[1:]
    if several:
        data.NumberOfFrames = len(pictures)
    data.PixelData = encapsulate(frames) if frames else pictures.tobytes() + bytes(pictures.size % 2)
    data["PixelData"].VR = "OB"
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def write_nifti(path: Path, pictures: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(pictures, 0, -1).swapaxes(0, 1), affine), path)
    return path


def run(bundle: Path, inputs: Path, out: Path, *options: str) -> int:
    return main(["predict", str(inputs), "-o", str(out), "--bundle", str(bundle), "--outputs", OUTPUTS, *options])


def lines(out: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(text) for text in (out / "manifest.jsonl").read_text().splitlines()]
    return {line["image"]: line for line in found}


def mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


def test_frames_are_images_with_a_number(bright: Path, tmp_path: Path) -> None:
    pictures = grey(12)
    write_dicom(tmp_path / "in" / "series" / "IM7", pictures)  # no suffix
    write_dicom(tmp_path / "in" / "one.dcm", pictures[:1])
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    found = lines(tmp_path / "out")
    assert list(found) == ["one.dcm", *(f"series/IM7/{number:02}" for number in range(1, 13))]
    assert [line["frame"] for line in found.values()] == [None, *range(1, 13)]
    for number, picture in enumerate(pictures, start=1):
        np.testing.assert_array_equal(mask(tmp_path / f"out/masks/series/IM7/{number:02}.png"), picture > 127)
        assert (tmp_path / f"out/polygons/series/IM7/{number:02}.geojson").is_file()
    with open(tmp_path / "out" / "images.csv", newline="") as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["", *map(str, range(1, 13))]
    segmentation = hd.seg.segread(tmp_path / "out/dicom-seg/series/IM7.dcm")
    source = dcmread(tmp_path / "in" / "series" / "IM7")
    read = segmentation.get_pixels_by_source_frame(
        source.SOPInstanceUID, list(range(1, 13)), combine_segments=True, ignore_spatial_locations=True
    )
    np.testing.assert_array_equal(read, pictures > 127)
    (segment,) = segmentation.SegmentSequence
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert found["one.dcm"]["weights_sha256"] in algorithm.AlgorithmParameters
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Bright"
    assert run(bright, tmp_path / "in", tmp_path / "out", "--json") == 0


def test_stacks_give_one_mask(bright: Path, tmp_path: Path) -> None:
    pictures, affine = grey(5), np.array([[0.5, 0.1, 0, 3], [0, 0.7, 0, -2], [0, 0.2, 2, 1], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "in" / "stack.nii.gz", pictures, affine)
    write_nifti(tmp_path / "in" / "slice.nii", pictures[:1], affine)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    assert list(lines(tmp_path / "out")) == ["slice.nii", *(f"stack.nii.gz/{number}" for number in range(1, 6))]
    for name, count in (("stack", 5), ("slice", 1)):
        result = nibabel.load(tmp_path / "out" / "masks" / f"{name}.nii.gz")
        source = nibabel.load(next((tmp_path / "in").glob(f"{name}.*")))
        np.testing.assert_array_equal(result.affine, source.affine)
        assert result.shape == source.shape and result.get_data_dtype() == np.uint8
        values = np.asarray(result.dataobj).reshape(17, 12, count)
        np.testing.assert_array_equal(values.transpose(2, 1, 0), pictures[:count] > 127)


@pytest.fixture
def half_way(bright: Path, tmp_path: Path) -> Path:
    """Two files of three frames each, done."""
    write_dicom(tmp_path / "in" / "a.dcm", grey(3))
    write_dicom(tmp_path / "in" / "b.dcm", grey(3, 1))
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    return tmp_path


def predicted(bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> int:
    capsys.readouterr()
    run(bundle, folder / "in", folder / "out", "--json", *options)
    return json.loads(capsys.readouterr().out)["predicted"]


def test_a_file_is_done_again_as_a_whole(bright: Path, half_way: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = half_way / "out"
    assert predicted(bright, half_way, capsys) == 0
    for path in (out / "masks/a/2.png", out / "dicom-seg/a.dcm"):
        path.unlink()
        assert predicted(bright, half_way, capsys) == 3 and path.is_file()
        assert predicted(bright, half_way, capsys) == 0
    (out / "dicom-seg/b.dcm").write_bytes(b"other")
    assert predicted(bright, half_way, capsys) == 3
    (out / "masks/b/1.png").unlink()
    assert predicted(bright, half_way, capsys, "--outputs", "masks") == 1  # a mask has no other frames


def test_that_a_file_is_done_is_looked_at_once(
    bright: Path, half_way: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each frame of a long loop would have the results of all others read."""
    looked: list[Path] = []
    sha256_of = results.sha256_of
    monkeypatch.setattr(results, "sha256_of", lambda path: looked.append(path) or sha256_of(path))
    assert predicted(bright, half_way, capsys) == 0
    assert len([path for path in looked if path.suffix == ".png"]) == 6


def test_deidentify_holds_for_what_was_written_before(
    bright: Path, half_way: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = half_way / "out"
    assert b"SECRET" in (out / "dicom-seg/a.dcm").read_bytes()
    assert predicted(bright, half_way, capsys, "--deidentify") == 6
    assert not any(b"SECRET" in path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert predicted(bright, half_way, capsys, "--deidentify") == 0
    assert predicted(bright, half_way, capsys) == 6


def test_deidentify_is_for_segmentations(bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", grey(1))
    assert run(bright, tmp_path / "in", tmp_path / "out", "--deidentify", "--outputs", "masks") == 1
    assert "they are not among --outputs; add dicom-seg" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_are_nowhere_but_in_segmentations(half_way: Path) -> None:
    holding = {path.name for path in (half_way / "out").rglob("*") if path.is_file() and b"SECRET" in path.read_bytes()}
    assert holding == {"a.dcm", "b.dcm"}


def jpeg(picture: np.ndarray) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_a_frame_that_fails(bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others have their results, but the file has none, until it is whole."""
    pictures = grey(3)
    frames = [jpeg(picture) for picture in pictures]
    broken = [frames[0], frames[1][:100], frames[2]]
    write_dicom(tmp_path / "in" / "a.dcm", pictures, broken)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 3
    found = lines(tmp_path / "out")
    assert [line["status"] for line in found.values()] == ["done", "failed", "done"]
    assert "its pixel data is incomplete" in found["a.dcm/2"]["error"]
    assert (tmp_path / "out/masks/a/1.png").is_file() and not (tmp_path / "out/dicom-seg/a.dcm").exists()
    write_dicom(tmp_path / "in" / "a.dcm", pictures, frames)
    assert predicted(bright, tmp_path, capsys) == 3
    assert (tmp_path / "out/dicom-seg/a.dcm").is_file()
    write_dicom(tmp_path / "in" / "a.dcm", pictures, broken)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 3
    assert not (tmp_path / "out/dicom-seg/a.dcm").exists()


def test_a_file_that_cannot_be_referred_to(bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_dicom(tmp_path / "in" / "a.dcm", grey(3))
    data = dcmread(path)
    del data.StudyInstanceUID
    data.save_as(path)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 1
    captured = capsys.readouterr().err.splitlines()
    assert len(captured) == 1 and captured[0].startswith("Failed: Cannot read image a.dcm: it lacks attributes")
    assert {line["status"] for line in lines(tmp_path / "out").values()} == {"failed"}


@pytest.mark.parametrize("after", [0, 2, 4])
def test_an_interrupted_run_goes_on(bright: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write_nifti(tmp_path / "in" / f"{name}.nii", grey(3, ord(name)), np.eye(4))
    assert run(bright, tmp_path / "in", tmp_path / "undisturbed") == 0
    keep, kept = WholeFiles.keep, []

    def keep_some(files: WholeFiles, *args: Any) -> None:
        if len(kept) == after:
            raise KeyboardInterrupt
        kept.append(args)
        keep(files, *args)

    inputs, bundle = find_images([tmp_path / "in"], tmp_path / "out"), Bundle.open(bright)
    settings = Settings(tuple(OUTPUTS.split(",")), workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(WholeFiles, "keep", keep_some)
        with pytest.raises(KeyboardInterrupt):
            predict_images(bundle, inputs, tmp_path / "out", settings)
    assert predict_images(bundle, inputs, tmp_path / "out", settings).done == 6
    for path in sorted((tmp_path / "undisturbed").rglob("*")):
        if path.is_file() and path.name not in ("manifest.jsonl", ".lock"):
            assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "undisturbed")).read_bytes()


def test_segmentations_that_cannot_be_made_are_refused_first(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", grey(1))
    without = brightness_bundle(tmp_path / "without")
    metadata = without / "configs" / "metadata.json"
    content = {key: value for key, value in json.loads(metadata.read_text()).items() if key != "dicom_segments"}
    for codes in ({}, {"dicom_segments": {"2": CODES["1"]}}, {"dicom_segments": {"1": {"category": ["a", "b"]}}}):
        metadata.write_text(json.dumps(content | codes))
        assert run(without, tmp_path / "in", tmp_path / "out") == 1
        assert "has no codes for all classes in dicom_segments; add them" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 1
    assert 'need highdicom: pip install "masksup-med[dicom]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_frames_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long loop, a frame is decoded without those before it."""
    pictures = grey(50)
    path = write_dicom(tmp_path / "a.dcm", pictures, [jpeg(picture) for picture in pictures])
    decoder, decoded = get_decoder(uid.JPEGBaseline8Bit), []
    as_array = decoder.as_array
    monkeypatch.setattr(
        decoder, "as_array", lambda *args, **options: decoded.append(options["index"]) or as_array(*args, **options)
    )
    from masksup_med.data import read_image

    assert np.abs(read_image(path, 40)[..., 0].astype(int) - pictures[39]).mean() < 12
    assert decoded == [39]
