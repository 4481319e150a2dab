"""The results of each image in the output folder: where they go, and whether those that are there still hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from masksup_med.bundle import Bundle
from masksup_med.handlers.provenance import sha256_of
from masksup_med.outputs.overlay import write_picture
from masksup_med.predict.manifest import Line, Manifest

__all__ = ["OUTPUTS", "Results"]

OUTPUTS = {"masks": ".png", "overlays": ".jpg", "probabilities": ".png"}


class Results:
    """Results of one bundle in one folder. Its methods may be called from several threads.

    Args:
        output_dir: the folder.
        manifest: of the folder.
        bundle: that predicts.
        names: of the results of each image, without suffix.
        outputs: which of :data:`OUTPUTS` are wanted.
    """

    def __init__(
        self, output_dir: Path, manifest: Manifest, bundle: Bundle, names: Mapping[str, str], outputs: Sequence[str]
    ) -> None:
        self.output_dir = output_dir
        self.manifest = manifest
        self.bundle = bundle
        self._names = names
        self._outputs = outputs

    def identity(self, sha256: str | None) -> Line:
        """What decides whether a result still holds, for an input with this hash."""
        return {
            "input_sha256": sha256,
            "settings_sha256": self.bundle.settings_sha256,
            "weights_sha256": self.bundle.weights_sha256,
        }

    def are_done(self, key: str, sha256: str) -> bool:
        """Whether an image is done: the same input, settings and weights, and all results are on disk as written."""
        line = self.manifest.get(key) or {}
        if any(line.get(name) != value for name, value in {**self.identity(sha256), "status": "done"}.items()):
            return False
        return all(_is_file(self.output_dir / path, line["outputs"].get(path)) for path in self.paths(key).values())

    def paths(self, key: str) -> dict[str, str]:
        """Where the results of an image go, relative to the folder, by kind."""
        return {kind: f"{kind}/{self._names[key]}{OUTPUTS[kind]}" for kind in self._outputs}

    def write(self, key: str, draw: Mapping[str, Callable[[], NDArray[Any]]]) -> dict[str, str]:
        """Write the wanted results; return the SHA-256 of each file by its path in the folder.

        Args:
            key: the image.
            draw: makes the picture of each kind.
        """
        paths = self.paths(key)
        try:
            return {path: write_picture(self.output_dir / path, draw[kind]()) for kind, path in paths.items()}
        except BaseException:  # all of them, or none
            for path in paths.values():
                _remove(self.output_dir / path)
            raise

    def former(self, key: str) -> dict[str, str]:
        """The results that the image's line in the manifest names."""
        folders = tuple(f"{kind}/" for kind in OUTPUTS)
        outputs = (self.manifest.get(key) or {"outputs": {}})["outputs"]
        # a manifest can come from anywhere
        return {path: sha for path, sha in outputs.items() if path.startswith(folders) and ".." not in Path(path).parts}

    def remove_former(self, key: str, but: Collection[str] = ()) -> None:
        """Remove the results that the image's line in the manifest names, but for some."""
        for path in self.former(key).keys() - set(but):
            _remove(self.output_dir / path)


def _remove(path: Path) -> None:
    with suppress(OSError):  # not there, or no longer a file
        path.unlink()


def _is_file(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and path.is_file() and sha256_of(path) == sha256
