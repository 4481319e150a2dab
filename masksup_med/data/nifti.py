"""NIfTI-1 and NIfTI-2 files, plain or gzipped, as 8-bit pictures; nibabel is imported when the first is read.

A picture is a slice of the stored grid, transposed: index i runs to the right and j runs down. The affine turns and
flips nothing, so that what is found in a picture lies on the very grid that the file stores.
"""

from __future__ import annotations

import gzip
import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from masksup_med.data._refusals import COPY_AGAIN, Refusal, check_area, check_volume, naming, withheld

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["NIFTI_START", "NiftiFile", "as_nifti", "nifti_header"]

NIFTI_START = 540  # bytes of the longer header
_GZIP_MAGIC = b"\x1f\x8b"
_FARTHEST = 1 << 24  # extensions between header and pixels take kilobytes; a bomb would have gigabytes skipped
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micron
_DEFLATE = 1032  # bytes, at most, that one byte stands for
_DAMAGED = "it is cut short or damaged"
_lock = threading.Lock()
_latest: dict[tuple[int, ...], list[NDArray[np.uint8]]] = {}  # of the last stack, which is read as a whole


def as_nifti(file: BinaryIO, start: bytes) -> NiftiFile | None:
    """Return the NIfTI file that a file, which begins with ``start``, is or holds gzipped; None if it does not.

    Raises:
        Refusal: it is gzipped, and damaged.
    """
    stream = file
    if start.startswith(_GZIP_MAGIC):
        with withheld(_DAMAGED):
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=file))
            start = stream.read(NIFTI_START)
    for size, magic, place in ((348, b"n+1", 344), (540, b"n+2", 4)):
        for order in ("little", "big"):
            if start[:4] == size.to_bytes(4, order) and start[place : place + 3] == magic:
                return NiftiFile(stream, start[:size], order, os.fstat(file.fileno()))
    return None


def nifti_header(path: Path) -> tuple[Nifti1Header, tuple[int, ...]]:
    """The header of a file of pictures, and their shape without colours: (W, H), or (W, H, …) for several.

    Raises:
        DataError: it is damaged, or no NIfTI file.
    """
    with naming("image", path), open(path, "rb") as file:
        start = file.read(NIFTI_START)
        file.seek(0)
        nifti = as_nifti(file, start)
        if nifti is None:
            raise Refusal("it is no NIfTI file any more", COPY_AGAIN)
        header = nifti.header()
        shape = _shape(header)
        return header, shape if _grid(header)[2] == math.prod(shape[2:]) else shape[:2]


class NiftiFile:
    """A NIfTI file, of which only the header was read. All its methods raise :class:`Refusal`.

    It holds one picture if its shape is (W, H), and as many as the further dimensions give: (W, H, 3) is three slices,
    (W, H, 1, 3) three points in time. Pictures are in colour where the type is RGB24 or RGBA32 (alpha is dropped), or
    where there are three unscaled bytes in the fifth dimension, which the standard keeps for vectors:
    (W, H, 1, 1, 3), as ITK writes colours.
    """

    kind = "NIfTI"

    def __init__(self, stream: BinaryIO, header: bytes, order: str, status: os.stat_result) -> None:
        self._stream, self._bytes, self._order = stream, header, order
        self._most_bytes = status.st_size * (_DEFLATE if isinstance(stream, gzip.GzipFile) else 1)
        self._identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def frames(self) -> int:
        """How many pictures it holds."""
        header = self.header()
        frames = _grid(header)[2]
        if math.prod(_shape(header)) * header.get_data_dtype().itemsize > self._most_bytes and frames > 1:
            raise Refusal(_DAMAGED, COPY_AGAIN)
        return frames

    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the header."""
        return _grid(self.header())[:2]

    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel in mm; None where they or their unit are not known."""
        header = self.header()
        _grid(header)
        unit = _MILLIMETRES.get(int(header["xyzt_units"]) & 7)
        # the shortest number that is stored as this one: 0.7, not 0.699999988
        width, height = (float(str(zoom)) for zoom in header["pixdim"][1:3])
        if unit is None or not (0 < width * unit < math.inf and 0 < height * unit < math.inf):
            return None
        return height * unit, width * unit

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """Read the pixels of a picture, numbered from 0, as they are if they are bytes without a factor, or colours.

        Others are scaled, by the file's factor and then so that the least finite value in the file becomes 0 and the
        greatest 255. What is not finite becomes 0, as does a file that is the same all over.

        Returns:
            Array of shape (H, W, 1) or (H, W, 3).
        """
        if self.frames() == 1:
            return self._pictures()[0]
        with _lock:
            if self._identity not in _latest:
                _latest.clear()
                _latest[self._identity] = self._pictures()
            return _latest[self._identity][frame]

    def _pictures(self) -> list[NDArray[np.uint8]]:
        header = self.header()
        width, height, frames = _grid(header)
        with withheld(_DAMAGED):
            stored = self._stored(header).reshape((width, height, frames, -1), order="F")
            pictures = [stored[:, :, frame].swapaxes(0, 1) for frame in range(frames)]
            if stored.dtype.names:
                return [np.concatenate([picture[name] for name in "RGB"], axis=-1) for picture in pictures]
            scaling = _scaling(header)
            if stored.dtype == np.uint8 and scaling == (1, 0):
                return pictures
            ends = _ends(pictures, *scaling)
            return [_eight_bits(picture, *ends, *scaling) for picture in pictures]

    @withheld("its header is damaged")
    def header(self) -> Nifti1Header:
        """What it says of itself."""
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header

        kind = Nifti1Header if len(self._bytes) == Nifti1Header.sizeof_hdr else Nifti2Header
        return kind(self._bytes, self._order, check=False)  # checks would print to the terminal

    def _stored(self, header: Nifti1Header) -> NDArray[Any]:
        """Read what the header's shape needs and one byte more, at which a complete gzip file proves its checksum."""
        dtype, count = header.get_data_dtype(), math.prod(_shape(header))
        check_volume(count * dtype.itemsize)
        offset = header.get_data_offset() or header.single_vox_offset
        if not header.single_vox_offset <= offset <= _FARTHEST:
            raise ValueError
        self._stream.seek(offset)
        content = self._stream.read(count * dtype.itemsize)
        self._stream.read(1)
        return np.frombuffer(content, dtype, count)


@withheld("its header is damaged")
def _grid(header: Nifti1Header) -> tuple[int, int, int]:
    """Width, height and number of pictures, of a kind and size that can be read."""
    shape, dtype = _shape(header), header.get_data_dtype()
    if min(shape) < 1:
        raise ValueError
    if dtype.names is None and dtype.kind not in "iuf":
        raise Refusal(f"its values are of type {dtype.name}", "save it as 8-bit PNG")
    colours = shape[2:] == (1, 1, 3) and dtype == np.uint8 and _scaling(header) == (1, 0)
    count = 1 if colours else math.prod(shape[2:])
    vectors, slivers = not colours and bool(set(shape[4:]) - {1}), count > 1 and min(shape[:2]) == 1
    if len(shape) < 2 or vectors or slivers:
        remedy = "save it with the pictures in the first two dimensions, and colours as PNG"
        raise Refusal(f"it has the shape {' × '.join(map(str, shape))}, which is not that of pictures", remedy)
    check_area(*shape[:2])
    return shape[0], shape[1], count


def _shape(header: Nifti1Header) -> tuple[int, ...]:
    """Shape as stored; nibabel's own accessor knows large surfaces by numbers that mean a picture here."""
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise ValueError
    return tuple(int(length) for length in header["dim"][1 : rank + 1])


def _scaling(header: Nifti1Header) -> tuple[float, float]:
    slope, intercept = header.get_slope_inter()
    return (1, 0) if slope is None else (slope, intercept)


def _ends(pictures: list[NDArray[Any]], slope: float, intercept: float) -> tuple[float, float]:
    """Half the least and the greatest finite value in a file; half, lest their difference overflow."""
    least, greatest = np.inf, -np.inf
    for picture in pictures:  # as float64, all of them at once would fill the memory
        values = _halved(picture, slope, intercept)
        finite = np.isfinite(values)
        least = min(least, values.min(where=finite, initial=np.inf))
        greatest = max(greatest, values.max(where=finite, initial=-np.inf))
    return least, greatest


def _eight_bits(
    stored: NDArray[Any], least: float, greatest: float, slope: float, intercept: float
) -> NDArray[np.uint8]:
    if least >= greatest:
        return np.zeros(stored.shape, np.uint8)
    values = _halved(stored, slope, intercept)
    share = (np.where(np.isfinite(values), values, least) - least) / (greatest - least)
    return np.rint(share * 255).astype(np.uint8)


def _halved(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        return (stored.astype(np.float64) * slope + intercept) / 2
