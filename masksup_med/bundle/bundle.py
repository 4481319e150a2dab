"""A bundle that has been opened: what it says about itself, before anything is built from it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai.bundle import ConfigParser
from monai.transforms import SaveImaged
from yaml import YAMLError

from masksup_med.bundle.location import find_bundle
from masksup_med.bundle.settings import references
from masksup_med.errors import DataError, MaskSupError, MissingDataError, SettingError
from masksup_med.handlers.provenance import sha256_of
from masksup_med.outputs.atomic import atomic_path

if TYPE_CHECKING:
    from masksup_med.data.classes import Value
    from masksup_med.outputs.dicom_seg import Segment

__all__ = ["Bundle", "without_plugin_advice"]

_METADATA = Path("configs", "metadata.json")
_NEEDED = ("device", "network", "ckpt_path", "preprocessing", "postprocessing", "inferer")
_PROCESSING = ("network", "preprocessing", "inferer", "postprocessing", "max_pixels", "mpp")
_PLACES = {"bundle_root", "ckpt_path", "dataset_dir", "device", "output_dir"}  # where, not what


class Bundle:
    """A model: its network, weights, classes and processing, as ``inference.yaml`` and ``metadata.json`` say.

    Args:
        folder: of the bundle; :meth:`open` takes names, too.

    Raises:
        MissingDataError: it has no weights.
        DataError: one of its two files cannot be read, or lacks what prediction needs.

    Example::

        bundle = Bundle.open("my_polyps")
        bundle.classes  # {1: "polyp"}
        Predictor(bundle)("frame.png").classes.shape  # (H, W)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name
        self.config = _read_config(folder)
        self.metadata, self.classes = _read_metadata(folder)
        self.weights = Path(self.made("ckpt_path"))
        if not self.weights.is_file():
            raise MissingDataError(f"The bundle {folder} has no weights at {self.weights}; train it first.")

    @classmethod
    def open(cls, bundle: str | os.PathLike[str]) -> Bundle:
        """Open a bundle's folder, or one that comes with the package by its name.

        Raises:
            MissingDataError: there is no such bundle.
        """
        return cls(find_bundle(bundle))

    @cached_property
    def max_pixels(self) -> float:
        """How many pixels a picture may have; a larger one is predicted in tiles. Infinite if the bundle is silent."""
        limit = self.made("max_pixels") if "max_pixels" in self.config else math.inf
        if not isinstance(limit, (int, float)) or not limit > 0:
            raise DataError(f"max_pixels of the bundle {self.folder} is {limit}; give a number of pixels.")
        return limit

    @cached_property
    def mask_scale(self) -> int:
        """What class numbers are multiplied by in masks: ``scale`` of the bundle's SaveImaged, or 1."""
        steps = self.made("postprocessing").transforms
        scales: list[Any] = [step.saver.init_kwargs["scale"] for step in steps if isinstance(step, SaveImaged)]
        return scales[0] or 1 if scales else 1

    @cached_property
    def mpp(self) -> float | None:
        """At how many µm per pixel it takes slides; None if it takes none."""
        mpp = self.made("mpp") if "mpp" in self.config else None
        if mpp is not None and (not isinstance(mpp, (int, float)) or not 0 < mpp < math.inf):
            raise DataError(f"mpp of the bundle {self.folder} is {mpp}; give the µm that a pixel of its images has.")
        return mpp

    @property
    def label_values(self) -> list[Value]:
        """Which values, or colours, of the labels that it was trained on stand for class 0, 1, …; empty for masks."""
        values = self.metadata.get("label_values", [])
        if not isinstance(values, list) or not all(isinstance(value, int | str) for value in values):
            raise DataError(f"{self.folder / _METADATA} has {values} for label_values; list numbers or colours.")
        return values

    @cached_property
    def version(self) -> str:
        """Its own version."""
        return str(self.metadata.get("version", "unknown"))

    @cached_property
    def segments(self) -> list[Segment]:
        """Its classes in the codes of DICOM.

        Raises:
            SettingError: its metadata has none for a class.
        """
        from masksup_med.outputs.dicom_seg import Code, Segment

        codes: Any = self.metadata.get("dicom_segments")
        try:
            return [
                Segment(number, name, *(Code(*map(str, codes[str(number)][part])) for part in ("category", "type")))
                for number, name in self.classes.items()
            ]
        except (KeyError, TypeError, ValueError):
            file = self.folder / _METADATA
            raise SettingError(
                f"{file} has no codes for all classes in dicom_segments; add them as docs/formats.md shows, or leave "
                "out dicom-seg."
            ) from None

    def note(self, **entries: Any) -> None:
        """Put entries into its ``metadata.json``, in place of those of the same names; None takes one out."""
        self.metadata = {key: value for key, value in {**self.metadata, **entries}.items() if value is not None}
        with atomic_path(self.folder / _METADATA) as temporary:
            text = json.dumps(self.metadata, indent=4, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def made(self, key: str) -> Any:
        """Return what a setting describes: a network, a transform, a number.

        Raises:
            DataError: it cannot be made.
        """
        with self.followed(key):
            return self.config.get_parsed_content(key)

    @contextmanager
    def followed(self, what: str) -> Iterator[None]:
        """Say in one sentence that a setting cannot be followed, whatever MONAI or torch say about it."""
        try:
            with without_plugin_advice():
                yield
        except Exception as error:
            if own := MaskSupError.among(error):
                raise own from None
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            reason = str(cause).strip().partition("\n")[0]
            file = self.folder / "configs" / "inference.yaml"
            raise DataError(f"{file}: {what} cannot be made ({type(cause).__name__}: {reason}); repair it.") from error

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the file of weights."""
        return sha256_of(self.weights)

    @cached_property
    def settings_sha256(self) -> str:
        """SHA-256 of all settings that a prediction depends on: network, processing, and what they refer to."""
        return self._sha256_of_settings(_PROCESSING)

    @cached_property
    def network_sha256(self) -> str:
        """SHA-256 of the settings that its network depends on."""
        return self._sha256_of_settings(["network"])

    def _sha256_of_settings(self, keys: Iterable[str]) -> str:
        settings, wanted = {}, [key for key in keys if key in self.config]
        while wanted:
            key = wanted.pop()
            if key not in settings and key not in _PLACES and key in self.config:
                settings[key] = self.config.get(key)
                wanted += [reference.partition("#")[0] for reference in references(settings[key])]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _read_config(folder: Path) -> ConfigParser:
    parser, file = ConfigParser(), folder / "configs" / "inference.yaml"
    try:
        parser.read_config(str(file))
    except (OSError, ValueError, AttributeError, YAMLError) as error:  # MONAI expects settings by name
        raise DataError(f"{file} cannot be read ({' '.join(str(error).split())}); repair the bundle.") from error
    if absent := [key for key in _NEEDED if key not in parser]:
        raise DataError(f"{file} has no {' and no '.join(absent)}; a bundle's inference needs all of them.")
    parser["bundle_root"] = str(folder)
    return parser


def _read_metadata(folder: Path) -> tuple[dict[str, Any], dict[int, str]]:
    """All metadata, and the number and name of each class but the background."""
    file = folder / _METADATA
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
        names: Mapping[str, Any] = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        return metadata, {int(number): str(name) for number, name in sorted(names.items()) if int(number) > 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{file} does not name the classes in network_data_format/outputs/pred/channel_def"
        raise DataError(f"{message} ({error}); repair the bundle.") from error


@contextmanager
def without_plugin_advice() -> Iterator[None]:
    """Keep MONAI's LoadImage from telling users twice that it lacks a plugin for DICOM on GPUs."""
    logger = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "NvImgCodec")
            yield
    finally:
        logger.disabled = disabled
