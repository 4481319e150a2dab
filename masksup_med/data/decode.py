"""Decode image and label files to arrays; needs neither torch nor MONAI.

A file is what its first bytes say it is: TIFFs go to tifffile, because Pillow and ITK scramble those of
CVC-ClinicDB without a word; PNG, JPEG and BMP go to Pillow, DICOM to pydicom, NIfTI to nibabel. A file holds
one picture, but for the frames of DICOM and the slices of NIfTI.

Example::

    read_image("frame.tif").shape  # (288, 384, 3), uint8
    read_label("mask.png").shape  # (288, 384), uint8 or uint16
    image_size("frame.tif")  # (384, 288), from the header alone
    pixel_size("ultrasound.dcm")  # (0.2, 0.2): height and width in mm
    frames("cine.dcm")  # 120
    read_image("cine.dcm", frame=120).shape  # (480, 640, 3), of the last
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from tifffile import TiffPage

from masksup_med.data._raster import Raster, upright
from masksup_med.data._refusals import COPY_AGAIN, Refusal, check_area, naming, too_large
from masksup_med.data.dicom import DicomFile, is_dicom
from masksup_med.data.nifti import NIFTI_START, NiftiFile, as_nifti
from masksup_med.data.tiff import TIFF_STARTS, decode_page, open_page, page_orientation

__all__ = ["frames", "image_size", "pixel_size", "read_image", "read_label", "read_label_colours"]

_Source: TypeAlias = TiffPage | ImageFile.ImageFile | DicomFile | NiftiFile
_PILLOW_FORMATS = ("PNG", "JPEG", "BMP")


def read_image(path: str | os.PathLike[str], frame: int | None = None) -> NDArray[np.uint8]:
    """Read a picture as 8-bit RGB, upright by its EXIF orientation.

    Grey is repeated, a palette is looked up, CMYK is converted, alpha is dropped (colours stay as stored),
    1 bit becomes 0 and 255, and 16 bits are divided by 257, so that 65535 becomes 255. Pillow itself reduces
    16-bit *colour* PNGs, to their high byte, which is at most one level away from that. For DICOM see
    :meth:`DicomFile.picture`, for NIfTI :class:`NiftiFile` in the modules of these names.

    Args:
        path: of the file.
        frame: which picture of a file, from 1; needed where there are several.

    Returns:
        Array of shape (H, W, 3).

    Raises:
        MissingDataError: there is no such file.
        DataError: the file is damaged, of another kind, too large, or has no such frame.
    """
    with naming("image", path), _opened(path) as source:
        raster = _decode(source, _checked_frame(source, frame))
        if raster.palette is not None:
            return raster.palette[raster.samples[..., 0]]
        colour = _eight_bits(raster.samples[..., :3] if raster.samples.shape[-1] > 2 else raster.samples[..., :1])
        return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)))


def read_label(path: str | os.PathLike[str], kind: str = "label") -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a label image: one channel, its values as stored.

    A palette gives its indices, not its colours. 1 bit becomes 0 and 255, as for any PNG that an optimiser has
    packed, so that a threshold at half the range finds it. Three equal channels are one. An alpha channel must be
    opaque, since a transparent one may be the label itself. The EXIF orientation is applied. DICOM and NIfTI are
    refused, for their values may be scaled. ``kind`` is what errors call the file.

    Returns:
        Array of shape (H, W), uint8 or uint16.

    Raises:
        MissingDataError: there is no such file.
        DataError: as for :func:`read_image`, or the values cannot be told for certain.
    """
    with naming(kind, path), _opened(path) as source:
        samples = _label_raster(source).samples
        if samples.shape[-1] > 2 and (samples[..., :2] != samples[..., 1:3]).any():
            raise Refusal("its colour channels differ", "save one number per class as a grey or palette PNG")
        values = samples[..., 0]
        return np.ascontiguousarray(values * np.uint8(255) if values.dtype == bool else values)


def read_label_colours(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a label image in which each class has a colour, as stored; a palette gives its colours.

    Returns:
        Array of shape (H, W, 3).

    Raises:
        MissingDataError: there is no such file.
        DataError: as for :func:`read_label`.
    """
    with naming("label", path), _opened(path) as source:
        raster = _label_raster(source)
        if raster.palette is not None:
            return raster.palette[raster.samples[..., 0]]
        colours = raster.samples[..., :3] if raster.samples.shape[-1] > 2 else raster.samples[..., :1]
        if colours.dtype == np.uint16:
            raise Refusal("it has 16 bits", "save it as a PNG of 8-bit colours")
        return np.ascontiguousarray(np.broadcast_to(_eight_bits(colours), (*colours.shape[:2], 3)))


def _label_raster(source: _Source) -> Raster:
    if isinstance(source, DicomFile | NiftiFile):
        raise Refusal(f"it is a {source.kind} file", "save it as a grey PNG")
    raster = _decode(source, 0)
    if raster.doubt:
        raise Refusal(raster.doubt, "save it as a grey PNG")
    samples, colours = raster.samples, 3 if raster.samples.shape[-1] > 2 else 1
    if samples.shape[-1] > colours and (samples[..., colours] != np.iinfo(samples.dtype).max).any():
        raise Refusal("parts of it are transparent", "save it as a PNG without alpha")
    return raster


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height in pixels of a picture held upright, from its header alone.

    An orientation that a PNG stores after its pixels is not seen; hardly a program writes that.

    Raises:
        MissingDataError: there is no such file.
        DataError: the header cannot be read, or is not that of one 2D picture.
    """
    with naming("image", path), _opened(path) as source:
        if isinstance(source, DicomFile | NiftiFile):
            return source.size()
        if isinstance(source, TiffPage):
            size, orientation = (source.imagewidth, source.imagelength), page_orientation(source)
        else:
            size, orientation = source.size, _exif_orientation(source)
    return size[::-1] if orientation in (5, 6, 7, 8) else size


def pixel_size(path: str | os.PathLike[str]) -> tuple[float, float] | None:
    """Height and width of a pixel in mm, from the header of a DICOM or NIfTI file.

    None where it does not say, and for all other kinds: the resolution that they name is that of a printer.

    Raises:
        MissingDataError: there is no such file.
        DataError: as for :func:`image_size`.
    """
    with naming("image", path), _opened(path) as source:
        return source.pixel_size() if isinstance(source, DicomFile | NiftiFile) else None


def frames(path: str | os.PathLike[str]) -> int:
    """How many pictures a file holds, from its header: frames of DICOM, slices of NIfTI, else 1.

    Raises:
        MissingDataError: there is no such file.
        DataError: as for :func:`image_size`.
    """
    with naming("image", path), _opened(path) as source:
        return _frames(source)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_Source]:
    with open(path, "rb") as file:
        start = file.read(NIFTI_START)
        file.seek(0)
        if not start:
            raise Refusal("it is empty", COPY_AGAIN)
        if is_dicom(start):  # before TIFF, whose header some DICOM files carry in front
            yield DicomFile(file)
        elif start[:4] in TIFF_STARTS:
            yield open_page(file)
        elif nifti := as_nifti(file, start):
            yield nifti
        else:
            with _open_pillow(file) as image:
                yield image


def _frames(source: _Source) -> int:
    return source.frames() if isinstance(source, DicomFile | NiftiFile) else 1


def _checked_frame(source: _Source, frame: int | None) -> int:
    """The number of a frame, from 0."""
    count = _frames(source)
    if frame is None and count > 1:
        raise Refusal(f"it holds {count} pictures", "say which, or save the one that you need as a file of its own")
    if frame is not None and not 1 <= frame <= count:
        raise Refusal(f"it has no frame {frame}, but {count}", "correct the number")
    return (frame or 1) - 1


def _decode(source: _Source, frame: int) -> Raster:
    if isinstance(source, TiffPage):
        return decode_page(source)
    return _decode_pillow(source) if isinstance(source, ImageFile.ImageFile) else Raster(source.picture(frame))


def _open_pillow(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        image = Image.open(file, formats=_PILLOW_FORMATS)
    except UnidentifiedImageError as error:
        raise Refusal("it is no PNG, JPEG, BMP, TIFF, DICOM or NIfTI", "replace or remove it") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large(f"it has far more pixels than the limit of {Image.MAX_IMAGE_PIXELS}") from error
    check_area(*image.size)
    return image


def _decode_pillow(image: ImageFile.ImageFile) -> Raster:
    stored = str(image.tile)  # raw modes such as "RGB;16B"; gone once the pixels are loaded
    samples = np.array(image.convert("RGB") if image.mode == "CMYK" else image)
    samples = samples if samples.ndim == 3 else samples[..., None]
    reduced = ";16" in stored and samples.dtype == np.uint8
    return Raster(
        upright(samples, _exif_orientation(image)),
        _pillow_palette(image),
        "it has 16-bit colours" if reduced else "",
    )


def _pillow_palette(image: Image.Image) -> NDArray[np.uint8] | None:
    if image.mode != "P":
        return None
    palette = np.zeros((256, 3), np.uint8)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(colours)] = colours
    return palette


def _eight_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    if samples.dtype == np.uint16:
        return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return samples * np.uint8(255) if samples.dtype == bool else samples


def _exif_orientation(image: Image.Image) -> int:
    try:
        # the base class's method: that of PNGs would load all pixels to look for EXIF behind them
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF that no parser understands turns no picture, in any viewer
        return 1
