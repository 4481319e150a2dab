"""What masksup-med can do, each tried on something tiny in memory; nothing is downloaded or written."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable

from masksup_med.doctor.decoders import check_decoders
from masksup_med.doctor.findings import Finding, tried

__all__ = ["check_features"]

_AGAIN = "pip install --force-reinstall masksup-med"
_INSTALL = {extra: f"pip install 'masksup-med[{extra}]'" for extra in ("dicom", "slides", "onnx", "openvino")}


def check_features(runtimes: list[Finding]) -> list[Finding]:
    """Try each feature.

    Args:
        runtimes: what was found about them.
    """
    runtime = {finding.name: finding for finding in runtimes}
    return [
        _needed("training and evaluation", _train),
        _needed("PNG, JPEG, BMP and TIFF in", _read_pictures),
        _needed("NIfTI in and out", _read_nifti),
        _needed("DICOM in, not compressed", _read_dicom),
        *check_decoders(),
        _extra("DICOM segmentations out", _describe_segment, "highdicom", "dicom"),
        _extra("slides", _load_openslide, "openslide", "slides"),
        _needed("MLflow tracking", _load_mlflow),
        _needed("ImageNet encoders", _run_encoder),
        _extra("exporting", _load_exporter, "onnx", "onnx"),
        *(runtime[name]._replace(name=f"prediction by {name}", detail="") for name in ("onnx", "openvino")),
    ]


def _needed(name: str, job: Callable[[], str]) -> Finding:
    return tried(name, job, remedy=_AGAIN, required=True)


def _extra(name: str, job: Callable[[], str], needs: str, extra: str) -> Finding:
    return tried(name, job, needs, _INSTALL[extra])


def _train() -> str:
    """Take one step of MaskSup, and measure the result."""
    import torch
    from monai.losses import DiceCELoss

    import masksup_med.engines
    import masksup_med.evaluate.run
    import masksup_med.transforms  # noqa: F401
    from masksup_med.losses import MaskSupLoss
    from masksup_med.metrics.overlap import iou

    network, image = torch.nn.Conv2d(3, 1, 3, padding=1), torch.rand(1, 3, 16, 16)
    label = (image[:, :1] > 0.5).float()
    MaskSupLoss(DiceCELoss(sigmoid=True))(network(image), label, network(image * label)).total.backward()
    with torch.no_grad():
        iou((network(image) > 0)[0, 0].numpy(), label[0, 0].bool().numpy())
    return ""


def _read_pictures() -> str:
    import numpy as np
    import tifffile
    from PIL import Image

    import masksup_med.data.decode  # noqa: F401

    picture = np.zeros((16, 16, 3), np.uint8)
    for kind in ("PNG", "JPEG", "BMP"):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind)
        _same(np.asarray(Image.open(file)), picture)
    for compression in ("zlib", "lzw", "jpeg"):  # lzw and jpeg are imagecodecs'
        file = io.BytesIO()
        tifffile.imwrite(file, picture, compression=compression, photometric="rgb")
        file.seek(0)
        _same(tifffile.imread(file), picture)
    return ""


def _read_nifti() -> str:
    import nibabel
    import numpy as np

    import masksup_med.data.nifti
    import masksup_med.outputs.nifti  # noqa: F401

    volume = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    again = nibabel.Nifti1Image.from_bytes(nibabel.Nifti1Image(volume, np.eye(4)).to_bytes())
    _same(np.asarray(again.dataobj), volume)
    return ""


def _read_dicom() -> str:
    import numpy as np
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    from masksup_med.data.dicom import DicomFile

    dataset, picture = Dataset(), np.zeros((4, 4, 3), np.uint8)
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.set_pixel_data(picture, "RGB", 8)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    _same(DicomFile(file).picture(0), picture)
    return ""


def _describe_segment() -> str:
    import highdicom
    from pydicom.sr.codedict import codes

    import masksup_med.outputs.dicom_seg  # noqa: F401

    family = codes.cid7162.ArtificialIntelligence
    algorithm = highdicom.AlgorithmIdentificationSequence("doctor", family, "1")
    kind = highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    highdicom.seg.SegmentDescription(1, "tissue", codes.SCT.Tissue, codes.SCT.Tissue, kind, algorithm)
    return ""


def _load_openslide() -> str:
    import openslide

    return f"OpenSlide {openslide.__library_version__}"


def _load_mlflow() -> str:
    """Import what tracks runs. A store is not made, for MLflow would make folders for it."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: F401

    import masksup_med.handlers.tracking  # noqa: F401

    sqlite3.connect(":memory:").execute("create table runs (id integer)").close()
    return f"SQLite {sqlite3.sqlite_version}"


def _run_encoder() -> str:
    import torch

    from masksup_med.networks._timm import import_timm

    encoder = import_timm().create_model("test_resnet", features_only=True)
    with torch.inference_mode():
        encoder.eval()(torch.zeros(1, 3, 32, 32))
    return "weights are downloaded when they are first used"


def _load_exporter() -> str:
    import onnx

    return f"onnx {onnx.__version__}"


def _same(read: object, written: object) -> None:
    import numpy as np

    if not np.array_equal(np.asarray(read), np.asarray(written)):
        raise RuntimeError("what was read is not what was written")
