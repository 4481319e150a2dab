"""Predictions as NIfTI: on the grid of the file they were made from, and where it lies in space."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masksup_med.data.nifti import nifti_header
from masksup_med.outputs.atomic import atomic_path

__all__ = ["write_nifti"]

# Where the grid lies. Texts and extensions, which may name a patient, are left behind.
_GEOMETRY = [
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
]


def write_nifti(path: Path, source: Path, classes: Sequence[NDArray[np.uint8]]) -> None:
    """Write class numbers as a gzipped NIfTI file; one of that name is whole or untouched.

    Args:
        path: where to, ending in ``.nii.gz``.
        source: the NIfTI file, whose affine is kept.
        classes: of each of its pictures, shape (H, W); the file has their transposes, as the source has pictures.

    Raises:
        DataError: the source cannot be read.
    """
    from nibabel.nifti1 import Nifti1Header, Nifti1Image
    from nibabel.nifti2 import Nifti2Header, Nifti2Image

    old, shape = nifti_header(source)
    new, image = (Nifti2Header(), Nifti2Image) if isinstance(old, Nifti2Header) else (Nifti1Header(), Nifti1Image)
    new.set_data_dtype(np.uint8)
    new.set_data_shape(shape)
    for field in _GEOMETRY:
        new[field] = old[field]
    grid = np.stack([each.T for each in classes], axis=-1).reshape(shape, order="F")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image(grid, None, new).to_bytes(), compresslevel=6, mtime=0))
