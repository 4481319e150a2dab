"""The studies of a server: MONAI Label's folder of images and labels, which no name leaves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag

from masksup_med.data.decode import image_size, read_image
from masksup_med.errors import MissingDataError, SettingError
from masksup_med.label.annotations import read_annotation
from masksup_med.label.guard import check_name
from masksup_med.outputs.overlay import write_picture

__all__ = ["SUFFIXES", "Studies"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_TAGS = tuple(tag.value for tag in DefaultLabelTag)


class Studies(LocalDatastore):
    """Images in a folder, and their labels as PNG files of class numbers, of each image's own size.

    Args:
        folder: of the images; labels go to ``labels/final`` in it.
        names: of the classes, from 1.
        watch: whether to notice images and labels that others put there.
    """

    def __init__(self, folder: str, names: Mapping[int, str], watch: bool) -> None:
        self._names = names
        _refuse_alike(Path(folder))
        patterns = [f"*{each}" for suffix in SUFFIXES for each in (suffix, suffix.upper())]
        super().__init__(folder, extensions=patterns, auto_reload=watch)

    def path_of(self, image: str) -> Path:
        """The file of an image.

        Raises:
            MissingDataError: there is no such image.
        """
        uri = self.get_image_uri(image)
        if not uri:
            raise MissingDataError(f"There is no image {image!r}; GET /datastore/?output=all lists those there are.")
        return Path(uri)

    def unlabelled(self) -> dict[str, Path]:
        """Images without a final label, by name."""
        return {name: self.path_of(name) for name in self.get_unlabeled_images()}

    def labelled(self) -> list[tuple[Path, Path]]:
        """Images with a final label, and the label."""
        return [(Path(each["image"]), Path(each["label"])) for each in self.datalist()]

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take in an image.

        Raises:
            SettingError: its name is no plain one, or is taken.
            DataError: it cannot be read.
        """
        check_name(image_id)
        if Path(image_filename).suffix.lower() not in SUFFIXES:
            raise SettingError(f"Images are {', '.join(SUFFIXES)} files; save it as one of these.")
        if self.get_image_uri(image_id):
            raise SettingError(f"There is an image {image_id!r} already; remove it first, or choose another name.")
        read_image(image_filename)
        return str(super().add_image(image_id, image_filename, image_info))

    def remove_image(self, image_id: str) -> None:
        """Refuse: images stay where they are.

        Raises:
            SettingError: always.
        """
        raise SettingError("Images are not removed by request; move the file out of the studies' folder.")

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Take in a label of any format that :func:`~masksup_med.label.annotations.read_annotation` reads.

        Raises:
            MissingDataError: there is no such image.
            SettingError: the tag is not one of MONAI Label's.
            DataError: the label does not fit the image.
        """
        if label_tag not in _TAGS:
            raise SettingError(f"There is no tag {label_tag!r}; labels are {' or '.join(_TAGS)}.")
        classes = read_annotation(label_filename, image_size(self.path_of(image_id)), self._names)
        with tempfile.TemporaryDirectory() as folder:
            picture = os.path.join(folder, "label.png")
            write_picture(picture, classes)
            return str(super().save_label(image_id, picture, label_tag, label_info))


def _refuse_alike(folder: Path) -> None:
    """Refuse files that MONAI Label would take for one, because only their suffix differs."""
    seen: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            other = seen.setdefault(path.stem, path.name)
            if other != path.name:
                raise SettingError(f"{folder} has {other} and {path.name}; rename one, so that labels tell them apart.")
