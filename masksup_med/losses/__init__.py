"""The MaskSup loss."""

from masksup_med.losses.masksup import MaskSupLoss, MaskSupTerms, ViewSimilarityLoss

__all__ = ["MaskSupLoss", "MaskSupTerms", "ViewSimilarityLoss"]
