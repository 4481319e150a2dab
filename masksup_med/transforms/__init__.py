"""Hiding (random masks, and MONAI transforms that apply them), augmentation of batches, labels, temperature."""

from masksup_med.transforms.array import (
    RandBlockMask,
    RandFileMask,
    RandMask,
    RandPatchMask,
    RandScribbleMask,
    fill_hidden,
)
from masksup_med.transforms.batch import RandBatchAffined, RandBatchGammad, RandBatchIntensityd
from masksup_med.transforms.dictionary import (
    RandBlockMaskD,
    RandBlockMaskd,
    RandBlockMaskDict,
    RandFileMaskD,
    RandFileMaskd,
    RandFileMaskDict,
    RandMaskd,
    RandPatchMaskD,
    RandPatchMaskd,
    RandPatchMaskDict,
    RandScribbleMaskD,
    RandScribbleMaskd,
    RandScribbleMaskDict,
)
from masksup_med.transforms.label import (
    ForegroundLabel,
    ForegroundLabelD,
    ForegroundLabeld,
    ForegroundLabelDict,
)
from masksup_med.transforms.masks import LEVELS, block_mask, patch_mask, ratio_range, scribble_mask
from masksup_med.transforms.temperature import (
    TemperatureScaling,
    TemperatureScalingD,
    TemperatureScalingd,
    TemperatureScalingDict,
)

__all__ = [
    "LEVELS",
    "ForegroundLabel",
    "ForegroundLabelD",
    "ForegroundLabelDict",
    "ForegroundLabeld",
    "RandBatchAffined",
    "RandBatchGammad",
    "RandBatchIntensityd",
    "RandBlockMask",
    "RandBlockMaskD",
    "RandBlockMaskDict",
    "RandBlockMaskd",
    "RandFileMask",
    "RandFileMaskD",
    "RandFileMaskDict",
    "RandFileMaskd",
    "RandMask",
    "RandMaskd",
    "RandPatchMask",
    "RandPatchMaskD",
    "RandPatchMaskDict",
    "RandPatchMaskd",
    "RandScribbleMask",
    "RandScribbleMaskD",
    "RandScribbleMaskDict",
    "RandScribbleMaskd",
    "TemperatureScaling",
    "TemperatureScalingD",
    "TemperatureScalingDict",
    "TemperatureScalingd",
    "block_mask",
    "fill_hidden",
    "patch_mask",
    "ratio_range",
    "scribble_mask",
]
