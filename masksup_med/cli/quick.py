"""MONAI in a third of the time, for the verb that people wait for."""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["import_monai"]

# What MONAI imports where it is installed, and what only its training, readers, plots and rarer transforms use.
_UNUSED = (
    *("ignite", "itk", "matplotlib", "mlflow", "nibabel", "pandas", "pydicom", "scipy.signal", "sklearn"),
    "torchvision",
)
# What surely does without: the parts of MONAI that the bundles of this package name, and usual ones.
_KNOWN = {
    *("Activationsd", "AsDiscreted", "BasicUNet", "CastToTyped", "Compose", "DataLoader", "Dataset"),
    *("EnsureChannelFirstd", "Invertd", "LoadImaged", "Resized", "SaveImaged", "ScaleIntensityRanged", "SimpleInferer"),
    *("SlidingWindowInferer", "SqueezeDimd", "SupervisedEvaluator", "UNet", "Zoomd", "ignite.handlers.ProgressBar"),
}
_TARGET = re.compile(r"_target_[\"']?\s*:\s*[\"']?([\w.]+)")


def import_monai(bundle: Path) -> None:
    """Import MONAI as it is where its optional packages are not installed; they can still be imported afterwards.

    To import MONAI is to import all of it and all that it might ever use, which takes 5 seconds where torch alone takes
    one. A bundle that names other parts of MONAI than this package knows gets all of it.

    Args:
        bundle: the folder of the bundle that will be opened.
    """
    settings = (bundle / "configs" / "inference.yaml").read_text(encoding="utf-8", errors="replace")
    named = {name for name in _TARGET.findall(settings) if not name.startswith("masksup_med.")}
    hidden = [name for name in _UNUSED if name not in sys.modules]
    if "monai" in sys.modules or named - _KNOWN or "monai" in settings.replace("monai.bundle run", ""):
        return
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        import monai  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
