"""Exported files of a bundle: where they lie, and whether they are what was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from masksup_med.bundle.bundle import Bundle
from masksup_med.errors import DataError, MissingDataError
from masksup_med.handlers.provenance import sha256_of

__all__ = ["FILES", "checked", "exports_of", "path_of"]

#: Names in ``models/`` by the form of an export; the first is the one to open.
FILES = {"onnx": ("model.onnx",), "torchscript": ("model.ts",), "openvino": ("model.xml", "model.bin")}


def path_of(bundle: Bundle, form: str) -> Path:
    """Where a bundle's exported network lies, or would lie."""
    return bundle.folder / "models" / FILES[form][0]


def exports_of(bundle: Bundle) -> dict[str, Any]:
    """What the metadata say about each exported network, by its form."""
    exports = bundle.metadata.get("exports")
    return exports if isinstance(exports, dict) else {}


def checked(bundle: Bundle, form: str) -> dict[str, Any]:
    """What the metadata say about an exported network, after a look at its files.

    Raises:
        MissingDataError: there is none, or a file of it is missing.
        DataError: it was exported from other weights or another network, or a file is not the one that was exported.
    """
    entry: Any = exports_of(bundle).get(form)
    again = f"run `masksup export {bundle.folder} --to {form}`"
    if not isinstance(entry, dict) or not path_of(bundle, form).is_file():
        raise MissingDataError(f"The bundle {bundle.name} has no network for {form}; {again}.")
    if (entry.get("weights_sha256"), entry.get("network_sha256")) != (bundle.weights_sha256, bundle.network_sha256):
        raise DataError(f"The network of {bundle.name} for {form} was exported before the bundle changed; {again}.")
    hashes = entry["sha256"] if isinstance(entry.get("sha256"), dict) else {}
    for name in FILES[form]:
        file = path_of(bundle, form).with_name(name)
        if not file.is_file() or sha256_of(file) != hashes.get(name):
            raise DataError(f"{file} is not the file that was exported; {again}.")
    return entry
