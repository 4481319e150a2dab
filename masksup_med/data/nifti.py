"""2D NIfTI-1 and NIfTI-2 files, plain or gzipped, as 8-bit pictures; nibabel is imported when the first is read.

A picture is the stored grid, transposed: index i runs to the right and j runs down. The affine turns and flips
nothing, so that what is found in a picture lies on the very grid that the file stores.
"""

from __future__ import annotations

import gzip
import math
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from masksup_med.data._refusals import Refusal, check_area, withheld

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["NIFTI_START", "NiftiFile", "as_nifti"]

NIFTI_START = 540  # bytes of the longer header
_GZIP_MAGIC = b"\x1f\x8b"
_FARTHEST = 1 << 24  # extensions between header and pixels take kilobytes; a bomb would have gigabytes skipped
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micron
_DAMAGED = "it is cut short or damaged"


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
                return NiftiFile(stream, start[:size], order)
    return None


class NiftiFile:
    """A NIfTI file, of which only the header was read. All its methods raise :class:`Refusal`.

    A picture has the shape (W, H), or more dimensions of length 1. It is in colour where its type is RGB24 or
    RGBA32 (alpha is dropped), or where it has three unscaled bytes in the fifth dimension, which the standard keeps
    for vectors: (W, H, 1, 1, 3), as ITK writes colours. (W, H, 3) and (W, H, 1, 3) are refused, even of bytes: they
    are three slices, or three points in time.
    """

    kind = "NIfTI"

    def __init__(self, stream: BinaryIO, header: bytes, order: str) -> None:
        self._stream, self._bytes, self._order = stream, header, order

    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the header."""
        return _plane(self._header())

    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel in mm; None where they or their unit are not known."""
        header = self._header()
        _plane(header)
        unit = _MILLIMETRES.get(int(header["xyzt_units"]) & 7)
        # the shortest number that is stored as this one: 0.7, not 0.699999988
        width, height = (float(str(zoom)) for zoom in header["pixdim"][1:3])
        if unit is None or not (0 < width * unit < math.inf and 0 < height * unit < math.inf):
            return None
        return height * unit, width * unit

    def picture(self) -> NDArray[np.uint8]:
        """Read the pixels, as they are if they are bytes without a scaling factor, or colours.

        Others are scaled, by the file's factor and then so that the least finite value becomes 0 and the greatest
        255. What is not finite becomes 0, as does a picture that is the same all over.

        Returns:
            Array of shape (H, W, 1) or (H, W, 3).
        """
        header = self._header()
        width, height = _plane(header)
        with withheld(_DAMAGED):
            stored = self._stored(header).reshape((width, height, -1), order="F").swapaxes(0, 1)
            if stored.dtype.names:
                return np.concatenate([stored[name] for name in "RGB"], axis=-1)
            return _eight_bits(stored, *_scaling(header))

    @withheld("its header is damaged")
    def _header(self) -> Nifti1Header:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header

        kind = Nifti1Header if len(self._bytes) == Nifti1Header.sizeof_hdr else Nifti2Header
        return kind(self._bytes, self._order, check=False)  # checks would print to the terminal

    def _stored(self, header: Nifti1Header) -> NDArray[Any]:
        """Read what the header's shape needs and one byte more, at which a complete gzip file proves its checksum."""
        dtype, count = header.get_data_dtype(), math.prod(_shape(header))
        offset = header.get_data_offset() or header.single_vox_offset
        if not header.single_vox_offset <= offset <= _FARTHEST:
            raise ValueError
        self._stream.seek(offset)
        content = self._stream.read(count * dtype.itemsize)
        self._stream.read(1)
        return np.frombuffer(content, dtype, count)


@withheld("its header is damaged")
def _plane(header: Nifti1Header) -> tuple[int, int]:
    """Width and height of a picture of a kind and size that can be read."""
    shape, dtype = _shape(header), header.get_data_dtype()
    if min(shape) < 1:
        raise ValueError
    coloured = dtype.names is not None
    if not coloured and dtype.kind not in "iuf":
        raise Refusal(f"its values are of type {dtype.name}", "save it as 8-bit PNG")
    colours = shape[2:] == (1, 1, 3) and dtype == np.uint8 and _scaling(header) == (1, 0)
    if len(shape) < 2 or not (colours or set(shape[2:]) <= {1}):
        remedy = "save the slice that you need as a file of its own, and colours as PNG"
        raise Refusal(f"it has the shape {' × '.join(map(str, shape))}, which is not that of one picture", remedy)
    check_area(*shape[:2])
    return shape[0], shape[1]


def _shape(header: Nifti1Header) -> tuple[int, ...]:
    """Shape as stored; nibabel's own accessor knows large surfaces by numbers that mean a picture here."""
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise ValueError
    return tuple(int(length) for length in header["dim"][1 : rank + 1])


def _scaling(header: Nifti1Header) -> tuple[float, float]:
    slope, intercept = header.get_slope_inter()
    return (1, 0) if slope is None else (slope, intercept)


def _eight_bits(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.uint8]:
    if stored.dtype == np.uint8 and (slope, intercept) == (1, 0):
        return stored
    with np.errstate(over="ignore", invalid="ignore"):
        values = (stored.astype(np.float64) * slope + intercept) / 2  # half, lest the range overflow
    finite = np.isfinite(values)
    least = values.min(where=finite, initial=np.inf)
    greatest = values.max(where=finite, initial=-np.inf)
    if least >= greatest:
        return np.zeros(values.shape, np.uint8)
    share = (np.where(finite, values, least) - least) / (greatest - least)
    return np.rint(share * 255).astype(np.uint8)
