"""Imported once by the server that runs are forked from: does what takes seconds, and starts no thread."""

import gc
import importlib

import torch
from PIL import Image

from masksup_med.handlers.provenance import package_versions

torch.set_num_threads(1)
for name in (
    "masksup_med.bundle",
    "masksup_med.cli",
    "masksup_med.predict.progress",
    "masksup_med.predict.run",
    "monai.networks.nets",
    "nibabel.nifti1",
    "nibabel.nifti2",
    "pydicom.pixels",
    "scipy.ndimage",
    "skimage.measure",
    "tests.chaos.runs",
    "tifffile",
    "torch.utils.serialization.config",
):
    importlib.import_module(name)
Image.preinit()
package_versions()  # reads what is installed, and keeps it
gc.freeze()  # else each fork would copy all of it when it collects garbage
