"""Small slides for tests: pyramidal TIFF, and DICOM whole slide microscopy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from scipy.ndimage import gaussian_filter
from tifffile import TiffWriter

__all__ = ["blobs", "write_dicom_slide", "write_tiff_slide"]

TILE = 64


def blobs(width: int, height: int, seed: int = 0, size: float = 6) -> np.ndarray:
    """A picture of dark ink with bright spots of many shapes; coloured, so that all of it counts as tissue."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), size)
    share = np.clip(0.45 + 0.25 * noise / noise.std(), 0, 1)
    return np.rint(np.stack([share * 255, share * 200, share * 255], axis=-1)).astype(np.uint8)


def write_tiff_slide(path: Path, picture: np.ndarray, mpp: float | None = 0.5, levels: int = 2) -> Path:
    """Write a pyramid, each level a quarter as wide as the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TiffWriter(path) as tiff:
        for level in range(levels):
            factor = 4**level
            resolution = (
                {} if mpp is None else {"resolution": (1e4 / mpp / factor,) * 2, "resolutionunit": "CENTIMETER"}
            )
            tiff.write(
                np.asarray(Image.fromarray(picture).reduce(factor)) if level else picture,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(level > 0),
                metadata=None,
                **resolution,
            )
    return path


def write_dicom_slide(folder: Path, picture: np.ndarray, mpp: float = 0.5, levels: int = 2) -> list[Path]:
    """Write the levels of a slide, each a file without suffix; JPEG, so that colours are nearly the picture's."""
    folder.mkdir(parents=True, exist_ok=True)
    series = uid.generate_uid()
    return [_write_level(folder, picture, mpp, level, series) for level in range(levels)]


def _write_level(folder: Path, picture: np.ndarray, mpp: float, level: int, series: str) -> Path:
    factor = 4**level
    pixels = np.asarray(Image.fromarray(picture).reduce(factor)) if level else picture
    height, width = pixels.shape[:2]
    frames = [_jpeg(pixels[y : y + TILE, x : x + TILE]) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    dataset, measures, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [mpp * factor / 1000] * 2
    shared.PixelMeasuresSequence = [measures]
    attributes = {
        **{"SOPClassUID": uid.VLWholeSlideMicroscopyImageStorage, "SOPInstanceUID": uid.generate_uid()},
        **{"StudyInstanceUID": uid.generate_uid(), "SeriesInstanceUID": series, "Modality": "SM"},
        **{"PatientName": "SECRET^NAME", "PatientID": "SECRET", "FrameOfReferenceUID": uid.generate_uid()},
        "ImageType": [
            "ORIGINAL" if level == 0 else "DERIVED",
            "PRIMARY",
            "VOLUME",
            "NONE" if level == 0 else "RESAMPLED",
        ],
        **{"TotalPixelMatrixColumns": width, "TotalPixelMatrixRows": height, "TotalPixelMatrixFocalPlanes": 1},
        **{"ImagedVolumeWidth": width * mpp * factor / 1000, "ImagedVolumeHeight": height * mpp * factor / 1000},
        **{"DimensionOrganizationType": "TILED_FULL", "NumberOfFrames": len(frames), "NumberOfOpticalPaths": 1},
        **{"Rows": TILE, "Columns": TILE, "SamplesPerPixel": 3, "PlanarConfiguration": 0, "BitsAllocated": 8},
        **{"BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PhotometricInterpretation": "YBR_FULL_422"},
        **{"SharedFunctionalGroupsSequence": [shared], "PixelData": encapsulate(frames)},
    }
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    path = folder / f"level{level}"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _jpeg(tile: np.ndarray) -> bytes:
    whole = np.zeros((TILE, TILE, 3), np.uint8)
    whole[: len(tile), : tile.shape[1]] = tile
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "JPEG", quality=98)
    return file.getvalue()
