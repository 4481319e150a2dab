"""Training engines."""

from masksup_med.engines.trainer import MaskSupTrainer
from masksup_med.engines.views import PrepareImages, PrepareViews

__all__ = ["MaskSupTrainer", "PrepareImages", "PrepareViews"]
