"""Find the images that a user has named: in files, and in folders with their sub-folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from masksup_med.errors import MissingDataError, SettingError
from masksup_med.predict.contents import Contents, contents_of, is_dicom_file

__all__ = ["Found", "Inputs", "find_images"]

_SUFFIXES = (".bmp", ".dcm", ".jpeg", ".jpg", ".nii", ".nii.gz", ".png", ".svs", ".tif", ".tiff")
_LEVELS = "levels of DICOM slides"


class Found(NamedTuple):
    """An image, or what stands in the place of one."""

    key: str  # by which results name it: its relative path, and the frame's number where a file holds several
    path: Path
    problem: str = ""  # why it can be no image, if that is clear before it is read
    kind: str = "picture"  # or dicom, nifti, slide
    frame: int | None = None  # its number in a file that holds several, from 1
    frames: int = 1  # that the file holds

    @property
    def file(self) -> str:
        """The key without the frame's number."""
        return self.key if self.frame is None else self.key.rpartition("/")[0]

    def of_file(self) -> list[Found]:
        """All images of its file, itself among them."""
        if self.frame is None:
            return [self]
        digits = len(self.key) - len(self.file) - 1
        return [self._replace(key=f"{self.file}/{n:0{digits}}", frame=n) for n in range(1, self.frames + 1)]


class Inputs(NamedTuple):
    """What there is to predict, in the order of the keys, and what was left out."""

    images: list[Found]
    left_out: Counter[str]  # other files in the folders, by suffix


def find_images(inputs: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str]) -> Inputs:
    """Find images.

    Files are taken whatever their names. In folders and sub-folders, those with an image's suffix are, and DICOM
    files; hidden files and folders, and the output folder, are passed over. Frames and slices of one file are images
    of their own, ``cine.dcm/012``; the levels of a slide are one. Keys are relative to the one folder that was named,
    or that holds all files that were; if there are several, they begin with as much of the folders' paths as tells
    them apart.

    Raises:
        MissingDataError: an input is not there, or there is not one image.
        SettingError: an input lies in the output folder.
    """
    output, paths = os.path.realpath(output_dir), [Path(os.path.abspath(Path(path).expanduser())) for path in inputs]
    for path in paths:
        if not os.path.lexists(path):
            raise MissingDataError(f"There is no file or folder {path}; correct the path.")
        if _inside(os.path.realpath(path), output):
            raise SettingError(f"{path} lies in the output folder {output_dir}; name another folder for the results.")
    left_out, images = Counter[str](), dict[Path, tuple[Path, Found]]()
    for path in paths:
        root = path if path.is_dir() else path.parent
        for found in _walk(path, output, left_out) if path.is_dir() else [Found(path.name, path, _problem(path))]:
            images.setdefault(found.path, (root, found))
    files = _looked_into([(root, found) for root, found in images.values()], left_out)
    if not files:
        others = f" There are {left_out.total()} files of other kinds." if left_out else ""
        raise MissingDataError(
            f"{' and '.join(map(str, paths))}: no PNG, JPEG, BMP, TIFF, NIfTI or DICOM image; "
            f"name the folder that holds the images.{others}"
        )
    return Inputs(sorted(_named(files)), left_out)


def _looked_into(files: Sequence[tuple[Path, Found]], left_out: Counter[str]) -> list[tuple[Path, Found]]:
    """All images in the files; of those that make up a slide, the finest level stands for it."""
    images: list[tuple[Path, Found]] = []
    slides: dict[tuple[Path, str], list[tuple[int, Path, Found]]] = {}
    for root, found in files:
        contents = Contents() if found.problem else contents_of(found.path)
        if contents.series:
            levels = slides.setdefault((found.path.parent, contents.series), [])
            levels.append((contents.width, root, found._replace(kind=contents.kind)))
        else:
            image = found._replace(kind=contents.kind, frames=contents.frames)
            if contents.frames > 1:
                image = image._replace(key=f"{found.key}/{1:0{len(str(contents.frames))}}", frame=1)
            images += [(root, each) for each in image.of_file()]
    for levels in slides.values():
        _, root, finest = max(levels, key=lambda level: level[0])
        images.append((root, finest))
        if len(levels) > 1:
            left_out[_LEVELS] += len(levels) - 1
    return images


def _named(images: Sequence[tuple[Path, Found]]) -> list[Found]:
    """Put before the keys the last parts of the folders they are relative to, as few as tell all apart."""
    roots = list(dict.fromkeys(root for root, _ in images))
    for count in range(max(len(root.parts) for root in roots)):
        prefixes = {root: PurePath(*root.parts[1:][-count:] if count else ()) for root in roots}
        keys = [(prefixes[root] / found.key).as_posix() for root, found in images]
        if len(set(prefixes.values())) == len(roots) and len(set(keys)) == len(keys):
            break
    return [found._replace(key=key) for key, (_, found) in zip(keys, images, strict=True)]


def _walk(root: Path, output: str, left_out: Counter[str]) -> Iterator[Found]:
    """Images below a folder, with keys relative to it; an explicit stack, since folders may lie a thousand deep."""
    stack = [(root, frozenset({os.path.realpath(root)}))]
    while stack:
        folder, above = stack.pop()
        try:
            entries = sorted(os.listdir(folder))
        except OSError as error:
            yield _found(root, folder, f"is a folder that cannot be opened ({error.strerror}); allow reading it")
            continue
        for name in entries:
            path = folder / name
            if name.startswith("."):
                continue
            if os.path.isdir(path):
                real = os.path.realpath(path)
                if real in above:
                    yield _found(root, path, "is a link to a folder that it lies in; remove the link")
                elif not _inside(real, output):
                    stack.append((path, above | {real}))
            elif name.lower().endswith(_SUFFIXES) or not os.path.lexists(path) or is_dicom_file(path):
                yield _found(root, path, _problem(path))  # if it does not exist, its path may be too long
            else:
                left_out[path.suffix.lower() or "no suffix"] += 1
        if not entries and folder.suffix.lower() in _SUFFIXES:
            yield _found(root, folder, "is an empty folder, not an image; remove or rename it")


def _found(root: Path, path: Path, problem: str) -> Found:
    return Found(path.name if path == root else path.relative_to(root).as_posix(), path, problem)


def _problem(path: Path) -> str:
    """Why a path can be no image: opening a pipe, for one, would wait for ever."""
    try:
        regular = path.is_file()
        there = regular or path.exists()
    except OSError as error:
        return f"cannot be opened ({error.strerror}); allow reading it"
    if there:
        return "" if regular else "is no file but a device, pipe or socket; remove it"
    if path.is_symlink():
        return "is a link that leads to no file; restore the file, or remove the link"
    return "is gone; put it back, or leave it out"


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
