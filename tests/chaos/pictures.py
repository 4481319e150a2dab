"""Small pictures of every kind that is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset

__all__ = ["BAD", "SECRET", "WRITERS", "rgb", "write_dicom", "write_nifti", "write_picture", "write_pictures"]

SECRET = "SECRET^PATIENT"
BAD = "sub/bad.png"


def rgb(seed: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of smooth waves and some noise, another one for each seed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    across, down = rng.uniform(0.05, 0.4, (2, 3))
    waves = np.sin(columns[..., None] * across + rng.uniform(0, 6, 3)) + np.cos(rows[..., None] * down)
    return np.clip((waves + 2) * 60 + rng.normal(0, 8, waves.shape), 0, 255).astype(np.uint8)


def write_picture(path: Path, seed: int = 0) -> Path:
    """Write a picture of the kind that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = ".nii" if path.name.endswith(".nii.gz") else path.suffix.lower()
    if suffix == ".nii":
        write_nifti(path, rgb(seed)[..., 0])
    elif suffix == ".dcm":
        write_dicom(path, rgb(seed)[..., 0], PixelSpacing=[0.25, 0.5])
    elif suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, rgb(seed), photometric="rgb")
    else:
        Image.fromarray(rgb(seed)).save(path)
    return path


def write_nifti(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array of shape (H, W, …)."""
    nibabel.Nifti1Image(array.swapaxes(0, 1), np.eye(4)).to_filename(path)


def write_dicom(path: Path, array: NDArray[np.uint8], **attributes: object) -> None:
    """Write grey values (H, W), or frames of them, with a patient's name in several places."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.PatientName = data.PatientID = data.StudyDescription = data.InstitutionName = SECRET
    data.Rows, data.Columns = array.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = array.tobytes()
    for name, value in attributes.items():
        setattr(data, name, value)
        if value is None:
            delattr(data, name)
    data.save_as(path, enforce_file_format=True)


def _grey16(path: Path) -> None:
    Image.fromarray(rgb(3)[..., 0].astype(np.uint16) * 257).save(path)


def _palette(path: Path) -> None:
    Image.fromarray(rgb(4, 40, 72)).quantize(32).save(path)


def _rgba(path: Path) -> None:
    Image.fromarray(np.dstack([rgb(5), rgb(6)[..., :1]])).save(path)


def _one_bit(path: Path) -> None:
    Image.fromarray(rgb(7)[..., 0] > 120).save(path)


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb(2, 72, 40)).save(path, exif=exif)


def _colour_tiff(path: Path) -> None:
    tifffile.imwrite(path, rgb(8), photometric="minisblack", planarconfig="contig")  # as CVC-ClinicDB's


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.png": write_picture,
    "a.jpg": _turned,
    BAD: lambda path: path.write_text("no picture"),
    "Case.png": lambda path: write_picture(path, 11),
    "case.png": lambda path: write_picture(path, 12),
    "frames/grey 16.png": _grey16,
    "frames/palette.png": _palette,
    "frames/á/rgba.png": _rgba,
    "frames/á/bit.bmp": _one_bit,
    "frames/cvc.tif": _colour_tiff,
    "scans/slice.nii.gz": lambda path: write_picture(path, 9),
    "scans/scan.dcm": lambda path: write_picture(path, 10),
    "wide.png": lambda path: Image.fromarray(rgb(13, 128, 96)).save(path),  # in tiles
}


def write_pictures(folder: Path, count: int = len(WRITERS)) -> Path:
    """Write the first pictures of :data:`WRITERS`, one of which is none."""
    for name, write in list(WRITERS.items())[:count]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name)
    return folder
