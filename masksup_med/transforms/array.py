"""Hide part of an image: random transforms over the masks of :mod:`masksup_med.transforms.masks`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.networks.layers import GaussianFilter
from monai.transforms import Randomizable, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from PIL import Image

from masksup_med.errors import DataError, MissingDataError, SettingError
from masksup_med.transforms.masks import block_mask, patch_mask, ratio_range, scribble_mask

__all__ = ["RandBlockMask", "RandFileMask", "RandMask", "RandPatchMask", "RandScribbleMask", "fill_hidden"]

_FILLS = ("mean", "noise", "blur")
_BLUR = 1 / 16  # standard deviation, of the shorter image side
_MASK_SUFFIXES = {".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff"}


class RandMask(Randomizable, Transform, ABC):
    """Base of the transforms that hide a random part of an image.

    Called with a channel-first image ``(C, H, W[, D])``, returns a pair: the image with the hidden part filled,
    of the same type and shape, and ``hidden``, boolean of shape ``(1, H, W[, D])``, true where it was hidden.
    The image that comes in is left as it is.

    Args:
        ratio: share of the pixels to hide: a number, a pair (lowest, highest) to draw from for every image, or
            a level: ``"low"`` (0.01–0.10), ``"medium"`` (0.25–0.35), ``"high"`` (0.50–0.60).
        fill: what stands in the hidden part: a number, or ``"mean"``, ``"noise"`` or ``"blur"``,
            see :func:`fill_hidden`. The default 0 is mid-grey for images scaled to -1…1.

    Raises:
        SettingError: when ``ratio`` or ``fill`` cannot be used.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (MONAI's way to declare it)

    def __init__(self, ratio: float | str | Sequence[float], fill: float | str = 0.0) -> None:
        self.ratio = ratio_range(ratio)
        if isinstance(fill, str) and fill not in _FILLS:
            raise SettingError(f"fill is {fill!r}; give a number or one of {', '.join(_FILLS)}.")
        self.fill = fill

    @abstractmethod
    def draw(self, spatial_size: Sequence[int], ratio: float) -> torch.Tensor:
        """Return a boolean tensor of shape ``spatial_size`` that hides ``ratio`` of it."""

    def randomize(self, data: Sequence[int]) -> None:
        """Draw the mask for an image of spatial size ``data``."""
        self.hidden = self.draw(tuple(data), self.R.uniform(*self.ratio))[None]

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> tuple[NdarrayOrTensor, NdarrayOrTensor]:
        """Return the image with a part hidden, and what was hidden; ``randomize=False`` repeats the last mask."""
        if randomize:
            self.randomize(img.shape[1:])
        image = convert_to_tensor(img, track_meta=False)
        hidden = self.hidden.to(image.device)
        masked = fill_hidden(image, hidden, self.fill, self.R)
        return convert_to_dst_type(masked, img)[0], convert_to_dst_type(hidden, img, dtype=torch.bool)[0]

    def hide_batch(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hide another part of each image of a batch, as calls with one after the other would.

        Args:
            images: (B, C, H, W[, D]).

        Returns:
            Images with a part hidden, and what was hidden, boolean, (B, 1, H, W[, D]).
        """
        if isinstance(self.fill, str):
            masked, parts = zip(*map(self, images), strict=True)
            return torch.stack(masked), torch.stack(parts)
        size = tuple(images.shape[2:])
        hidden = torch.stack([self.draw(size, self.R.uniform(*self.ratio))[None] for _ in images]).to(images.device)
        return fill_hidden(images, hidden, self.fill, self.R), hidden


class RandPatchMask(RandMask):
    """Hide square patches of a regular grid; see :func:`~masksup_med.transforms.masks.patch_mask`.

    Args:
        ratio, fill: as in :class:`RandMask`.
        patch_size: side of a patch in pixels.
    """

    def __init__(self, ratio: float | str | Sequence[float], patch_size: int = 16, fill: float | str = 0.0) -> None:
        super().__init__(ratio, fill)
        self.patch_size = patch_size

    def draw(self, spatial_size: Sequence[int], ratio: float) -> torch.Tensor:
        """Return a random patch mask."""
        return patch_mask(spatial_size, ratio, self.patch_size, self.R)


class RandBlockMask(RandMask):
    """Hide rectangular blocks of patches; see :func:`~masksup_med.transforms.masks.block_mask`.

    Args:
        ratio, fill: as in :class:`RandMask`.
        patch_size: side of the patches that blocks are made of, in pixels.
    """

    def __init__(self, ratio: float | str | Sequence[float], patch_size: int = 16, fill: float | str = 0.0) -> None:
        super().__init__(ratio, fill)
        self.patch_size = patch_size

    def draw(self, spatial_size: Sequence[int], ratio: float) -> torch.Tensor:
        """Return a random block mask."""
        return block_mask(spatial_size, ratio, self.patch_size, self.R)


class RandScribbleMask(RandMask):
    """Hide under free-form strokes; see :func:`~masksup_med.transforms.masks.scribble_mask`.

    Args:
        ratio, fill: as in :class:`RandMask`.
    """

    def draw(self, spatial_size: Sequence[int], ratio: float) -> torch.Tensor:
        """Return a random scribble mask."""
        return scribble_mask(spatial_size, ratio, self.R)


class RandFileMask(RandMask):
    """Hide 2D images under masks read from a folder, such as NVIDIA's irregular masks or Quick Draw's.

    Every file is binarised at half of white. A file whose own hole ratio lies within ``ratio`` is drawn for each
    image, turned by quarter turns and flipped at random, and resized to the image without interpolation.

    Args:
        mask_dir: folder of mask images.
        hole: colour of the part to hide: ``"white"`` (NVIDIA) or ``"black"`` (Quick Draw).
        ratio, fill: as in :class:`RandMask`.

    Raises:
        MissingDataError: when the folder holds no mask file, or none whose hole ratio lies within ``ratio``.
        DataError: when a file cannot be read as an image.
    """

    def __init__(
        self,
        mask_dir: str | os.PathLike,
        ratio: float | str | Sequence[float],
        hole: str = "white",
        fill: float | str = 0.0,
    ) -> None:
        super().__init__(ratio, fill)
        if hole not in ("white", "black"):
            raise SettingError(f"hole is {hole!r}; say whether the part to hide is 'white' or 'black'.")
        self.hole = hole
        files = sorted(f for f in Path(mask_dir).glob("*") if f.suffix.lower() in _MASK_SUFFIXES)
        if not files:
            raise MissingDataError(f"No mask image in {mask_dir}; give a folder of PNG, BMP, JPEG or TIFF files.")
        ratios = {file: float(self._read(file).mean()) for file in files}
        self.files = [file for file, share in ratios.items() if self.ratio[0] <= share <= self.ratio[1]]
        if not self.files:
            raise MissingDataError(
                f"No mask in {mask_dir} hides {self.ratio[0]} to {self.ratio[1]} of its pixels: its {len(files)} "
                f"files hide {min(ratios.values()):.2f} to {max(ratios.values()):.2f}; change ratio or hole."
            )

    def draw(self, spatial_size: Sequence[int], ratio: float) -> torch.Tensor:
        """Return a random file's mask; its own hole ratio stands, ``ratio`` is not used."""
        holes = np.rot90(self._read(self.files[self.R.randint(len(self.files))]), self.R.randint(4))
        if self.R.rand() < 0.5:
            holes = holes[:, ::-1]
        rows, columns = (np.arange(new) * old // new for new, old in zip(spatial_size, holes.shape, strict=True))
        return torch.from_numpy(holes[np.ix_(rows, columns)])

    def _read(self, file: Path) -> np.ndarray:
        try:
            with Image.open(file, formats=["PNG", "BMP", "JPEG", "TIFF"]) as image:
                white = np.asarray(image.convert("L")) > 127
        except (OSError, Image.DecompressionBombError) as error:
            raise DataError(f"Cannot read mask {file}: {error}; remove it or mend it.") from error
        return white if self.hole == "white" else ~white


def fill_hidden(
    image: torch.Tensor, hidden: torch.Tensor, fill: float | str, random_state: np.random.RandomState
) -> torch.Tensor:
    """Return a copy of ``image`` with the hidden part filled.

    Args:
        image: ``(C, H, W[, D])``; for a number, batches will do, too.
        hidden: boolean, ``(1, H, W[, D])``.
        fill: a number; ``"mean"``: each channel's mean over what stays visible; ``"noise"``: Gaussian noise of
            that mean and the visible part's standard deviation; ``"blur"``: the image smoothed by a Gaussian of
            1/16 of the shorter side.
        random_state: draws the noise.

    Returns:
        Tensor of ``image``'s shape and type.
    """
    value: Any = fill
    if fill == "blur":
        smooth = GaussianFilter(image.ndim - 1, sigma=_BLUR * min(image.shape[1:]))
        whole = image.float()[None]
        value = (smooth(whole) / smooth(torch.ones_like(whole[:, :1])))[0]  # the filter takes the outside for 0
    elif isinstance(fill, str):
        visible = image.float().flatten(1)[:, ~hidden.flatten()]
        shape = (-1, *[1] * (image.ndim - 1))
        value = visible.mean(1).reshape(shape)
        if fill == "noise":
            noise = random_state.standard_normal(tuple(image.shape)).astype(np.float32)
            value = value + visible.std(1).reshape(shape) * torch.from_numpy(noise).to(image.device)
    if not image.is_floating_point():
        info = torch.iinfo(image.dtype)
        value = torch.as_tensor(value).round().clamp(info.min, info.max)
    return torch.where(hidden, torch.as_tensor(value, device=image.device).to(image.dtype), image)
