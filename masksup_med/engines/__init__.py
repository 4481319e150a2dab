"""Training engines."""

from masksup_med.engines.trainer import MaskSupTrainer

__all__ = ["MaskSupTrainer"]
