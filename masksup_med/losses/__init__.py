"""The MaskSup loss, and that of masked autoencoders."""

from masksup_med.losses.masksup import MaskSupLoss, MaskSupTerms, ViewSimilarityLoss
from masksup_med.losses.reconstruction import ReconstructionLoss

__all__ = ["MaskSupLoss", "MaskSupTerms", "ReconstructionLoss", "ViewSimilarityLoss"]
