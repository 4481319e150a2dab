"""The environment that the label server runs in: that of masksup-med, and over it what MONAI Label needs.

MONAI Label 0.8.5 cannot be installed beside current libraries: its ``numpymaxflow`` and ``pydicom-seg`` want NumPy
below 2 and pydicom below 3. So it gets a virtual environment of its own, which sees all packages of this one, torch and
MONAI among them, and adds the few that MONAI Label imports; the environment of masksup-med stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from masksup_med.errors import MissingDataError, SettingError

__all__ = ["MONAI_LABEL", "install", "python"]

MONAI_LABEL = "0.8.5"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_DONE = "masksup-label-done"
# MONAI Label imports it at its start and uses it for DICOM alone, which masksup-med does not serve.
_STUB = '"""Stands in for pydicom-seg, which does not run beside pydicom 3; see masksup_med.label.environment."""\n'


def install() -> Path:
    """Make the environment, or make it anew, in the folder of this one.

    Returns:
        Its folder.

    Raises:
        SettingError: it cannot be made, as without a network.
    """
    folder = _folder()
    (folder / _DONE).unlink(missing_ok=True)
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    packages = Path(_paths(folder)["purelib"])
    (packages / "masksup_med_below.pth").write_text(
        "".join(f"import site; site.addsitedir({place!r})\n" for place in _places()), encoding="utf-8"
    )
    pip = (str(_python_in(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--requirement", str(_REQUIREMENTS))
    _run(*pip, "--no-deps", f"monailabel=={MONAI_LABEL}")
    (packages / "pydicom_seg.py").write_text(_STUB, encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("sitecustomize.py"), packages / "sitecustomize.py")
    _run(str(_python_in(folder)), "-c", "import monailabel.interfaces.app")
    (folder / _DONE).touch()
    return folder


def python() -> Path:
    """The interpreter of the environment.

    Raises:
        MissingDataError: there is none yet.
    """
    if not (_folder() / _DONE).is_file():
        raise MissingDataError("MONAI Label is not installed yet; run `masksup label --install`, once.")
    return _python_in(_folder())


def _folder() -> Path:
    if sys.prefix == sys.base_prefix:
        raise SettingError("MONAI Label is installed beside a virtual environment; install masksup-med in one.")
    return Path(sys.prefix) / "monai-label"


def _places() -> list[str]:
    """Where this environment has its packages."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys((paths["purelib"], paths["platlib"])))


def _paths(folder: Path) -> dict[str, str]:
    return sysconfig.get_paths(scheme="venv", vars={"base": str(folder), "platbase": str(folder)})


def _python_in(folder: Path) -> Path:
    return Path(_paths(folder)["scripts"]) / ("python.exe" if os.name == "nt" else "python")


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        lines = [line for line in done.stdout.strip().splitlines() if line] or [f"it ended with {done.returncode}"]
        raise SettingError(
            f"MONAI Label could not be installed: {lines[-1]} ({' '.join(command[1:4])} …); see that PyPI is in reach, "
            "and run `masksup label --install` again."
        )
