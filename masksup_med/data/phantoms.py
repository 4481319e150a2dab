"""Generated images with labels: what the demonstration and the tests train on where no patient data may go.

Two tasks are drawn, after the two that MaskSup is measured on. Colour alone does not give the targets away in
either: a network has to learn shape and texture in their surroundings, as it must on real images. ::

    >>> image, mask = polyp_phantom((192, 240), np.random.default_rng(0))
    >>> image.shape, mask.shape
    ((192, 240, 3), (192, 240))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from masksup_med.data._gland_phantom import draw_tissue
from masksup_med.data._polyp_phantom import draw_colon
from masksup_med.errors import SettingError
from masksup_med.outputs.atomic import atomic_path

__all__ = ["TASKS", "gland_phantom", "polyp_phantom", "write_phantoms"]

_SHORTEST_SIDE = 64  # below it, nuclei and vessels are thinner than a pixel


def polyp_phantom(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a colonoscopy-like frame with no to three polyps.

    A polyp is a smooth bump as red, on average, as the mucosa around it: it shows by its shading and its texture.
    Folds, bubbles and flat patches of other colours are background.

    Args:
        size: height and width in pixels, 64 or more each.
        rng: where all chance comes from; a generator in the same state draws the same frame.

    Returns:
        The frame, ``(H, W, 3)`` uint8, and its mask, ``(H, W)`` uint8: 255 on polyps, 0 elsewhere.

    Raises:
        SettingError: when ``size`` cannot be drawn.
    """
    frame, polyps = draw_colon(_checked_size(size), rng)
    return frame, np.where(polyps, np.uint8(255), np.uint8(0))


def gland_phantom(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an H&E-like field of tissue with four to fifteen glands.

    A gland is its epithelium and its lumen. Tears, fat vacuoles and clusters of lymphocytes are background.

    Args:
        size: height and width in pixels, 64 or more each.
        rng: where all chance comes from; a generator in the same state draws the same field.

    Returns:
        The field, ``(H, W, 3)`` uint8, and its instances, ``(H, W)`` uint16: 1…n on the glands, each in one piece
        and some touching, 0 elsewhere.

    Raises:
        SettingError: when ``size`` cannot be drawn.
    """
    field, glands = draw_tissue(_checked_size(size), rng)
    return field, glands.astype(np.uint16)


TASKS: Mapping[str, Callable[[tuple[int, int], np.random.Generator], tuple[np.ndarray, np.ndarray]]] = MappingProxyType(
    {"polyp": polyp_phantom, "gland": gland_phantom}
)
"""What can be drawn: the name of a task, and the function that draws one image and its label."""


def write_phantoms(
    task: str, folder: str | os.PathLike, count: int, size: tuple[int, int] = (192, 240), seed: int = 0
) -> None:
    """Write phantoms as ``images/phantom_0000.png`` … and, of the same names, their labels in ``labels``.

    A label is an 8-bit PNG of what the drawing function returns: 0 and 255 for polyps, 0…n for glands.
    Phantoms that an earlier run left in ``folder`` are replaced; other files stay.

    Args:
        task: one of :data:`TASKS`.
        folder: where to write; made if it is not there.
        count: how many images, 1 or more. The first images of a seed are the same for every ``count``.
        size: height and width in pixels, 64 or more each.
        seed: another one gives other images.

    Raises:
        SettingError: when a setting cannot be used; nothing is written then.
    """
    draw = TASKS.get(task)
    if draw is None:
        raise SettingError(f"task is {task!r}; give one of {', '.join(TASKS)}.")
    if count < 1:
        raise SettingError(f"count is {count}; give the number of images to write, 1 or more.")
    if seed < 0:
        raise SettingError(f"seed is {seed}; give a whole number, 0 or more.")
    size = _checked_size(size)
    images, labels = (_emptied(Path(folder) / name) for name in ("images", "labels"))
    for index in range(count):
        image, label = draw(size, np.random.default_rng([seed, index]))
        _write_png(image, images / f"phantom_{index:04d}.png")
        _write_png(label.astype(np.uint8), labels / f"phantom_{index:04d}.png")


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < _SHORTEST_SIDE:
        raise SettingError(f"size is {size}; give height and width in pixels, {_SHORTEST_SIDE} or more each.")
    return size


def _emptied(folder: Path) -> Path:
    # A shorter run after a longer one, or one of the other task, must not leave pairs of both behind.
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("phantom_*.png"):
        left.unlink()
    return folder


def _write_png(array: np.ndarray, path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary)
