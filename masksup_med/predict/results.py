"""The results of each image in the output folder: where they go, and whether those that are there still hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from masksup_med.bundle import Bundle
from masksup_med.handlers.provenance import sha256_of
from masksup_med.predict.discovery import Found
from masksup_med.predict.manifest import Line, Manifest

__all__ = ["OUTPUTS", "Results"]

# By what the image is from. DICOM segmentations and NIfTI masks are of whole files, the others of each picture.
OUTPUTS: dict[str, dict[str, str]] = {
    "masks": {"picture": ".png", "dicom": ".png", "nifti": ".nii.gz", "slide": ".ome.tif"},
    "overlays": dict.fromkeys(("picture", "dicom", "nifti", "slide"), ".jpg"),
    "probabilities": dict.fromkeys(("picture", "dicom", "nifti"), ".png"),
    "disagreement": dict.fromkeys(("picture", "dicom", "nifti"), ".png"),
    "polygons": dict.fromkeys(("picture", "dicom", "nifti", "slide"), ".geojson"),
    "dicom-seg": {"dicom": ".dcm"},
}
_OF_FILES = {("masks", "nifti"), ("dicom-seg", "dicom")}
_Write = Callable[[Path], str | None]  # writes a file, and may return its SHA-256


class Results:
    """Results of one bundle in one folder. Its methods may be called from several threads.

    Args:
        output_dir: the folder.
        manifest: of the folder.
        bundle: that predicts.
        names: of the results of each image, without suffix.
        outputs: which of :data:`OUTPUTS` are wanted.
        deidentify: whether DICOM segmentations are without attributes of the patient.
        views: in which each image is looked at, in words; none if it is only looked at as it is.
        average: whether the mean of the views decides what is found.
    """

    def __init__(
        self,
        output_dir: Path,
        manifest: Manifest,
        bundle: Bundle,
        names: Mapping[str, str],
        outputs: Sequence[str],
        deidentify: bool = False,
        views: str = "",
        average: bool = False,
    ) -> None:
        self.output_dir = output_dir
        self.manifest = manifest
        self.bundle = bundle
        self._names = names
        self._outputs = outputs
        self._deidentify = deidentify
        self._views = {"views": views, "averaged": average} if views else {}
        self._files_done: dict[tuple[str, str], bool] = {}
        self._lock = threading.Lock()

    def identity(self, found: Found, sha256: str | None) -> Line:
        """What decides whether the results of an image still hold, for a file with this hash.

        Results that say how far views are apart hold where that is not asked, too, unless their mean has decided.
        """
        segmented = "dicom-seg" in self.paths_of_file(found)
        return {
            "input_sha256": sha256,
            **self._model(),
            **({"deidentified": self._deidentify} if segmented else {}),
            **self._views,
        }

    def _model(self) -> Line:
        return {"settings_sha256": self.bundle.settings_sha256, "weights_sha256": self.bundle.weights_sha256}

    def are_done(self, found: Found, sha256: str) -> bool:
        """Whether an image is done: the same input, settings and weights, and all results are on disk as written.

        Images of one file with results of the whole file are done together, or none of them is; that is looked at once
        in a run, for the first of them.
        """
        if not self.paths_of_file(found):
            return self._is_done(found, sha256)
        with self._lock:
            if (found.file, sha256) not in self._files_done:
                done = all(self._is_done(image, sha256) for image in found.of_file())
                self._files_done[found.file, sha256] = done
            return self._files_done[found.file, sha256]

    def _is_done(self, found: Found, sha256: str) -> bool:
        line = self.manifest.get(found.key) or {}
        if not self._views and line.get("averaged"):
            return False
        if any(line.get(name) != value for name, value in {**self.identity(found, sha256), "status": "done"}.items()):
            return False
        paths = {**self.paths(found), **self.paths_of_file(found)}.values()
        return all(_is_file(self.output_dir / path, line["outputs"].get(path)) for path in paths)

    def of_these_views(self) -> Iterator[Line]:
        """The lines of images that were looked at in the same views by the same model."""
        wanted = {**self._views, **self._model()}
        for line in self.manifest.lines() if self._views else ():
            if line["status"] == "done" and all(line.get(name) == value for name, value in wanted.items()):
                yield line

    def paths(self, found: Found) -> dict[str, str]:
        """Where the results of an image go, relative to the folder, by kind."""
        return self._paths(found.key, found.kind, of_file=False)

    def paths_of_file(self, found: Found) -> dict[str, str]:
        """Where the results of an image's whole file go."""
        return self._paths(found.file, found.kind, of_file=True)

    def _paths(self, key: str, kind: str, of_file: bool) -> dict[str, str]:
        suffixes = {output: OUTPUTS[output].get(kind) for output in self._outputs}
        return {
            output: f"{output}/{self._names[key]}{suffix}"
            for output, suffix in suffixes.items()
            if suffix is not None and ((output, kind) in _OF_FILES) == of_file
        }

    def write(self, paths: Mapping[str, str], write: Mapping[str, _Write]) -> dict[str, str]:
        """Write results, all of them or none; return the SHA-256 of each file by its path in the folder.

        Args:
            paths: where they go, by kind.
            write: writes a file of each kind.
        """
        try:
            return {path: _written(write[kind], self.output_dir / path) for kind, path in paths.items()}
        except BaseException:
            self.remove(paths.values())
            raise

    def former(self, key: str) -> dict[str, str]:
        """The results that the image's line in the manifest names."""
        folders = tuple(f"{kind}/" for kind in OUTPUTS)
        outputs = (self.manifest.get(key) or {"outputs": {}})["outputs"]
        # a manifest can come from anywhere
        return {path: sha for path, sha in outputs.items() if path.startswith(folders) and ".." not in Path(path).parts}

    def remove_former(self, key: str, but: Collection[str] = ()) -> None:
        """Remove the results that the image's line in the manifest names, but for some."""
        self.remove(self.former(key).keys() - set(but))

    def remove(self, paths: Collection[str]) -> None:
        """Remove results."""
        for path in paths:
            with suppress(OSError):  # not there, or no longer a file
                (self.output_dir / path).unlink()


def _written(write: _Write, path: Path) -> str:
    return write(path) or sha256_of(path)


def _is_file(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and path.is_file() and sha256_of(path) == sha256
