"""What happens around an engine's run: checkpoints, seeds, progress, tracking."""

from masksup_med.handlers.checkpoint import BestModelSaver, TrainingState, WeightsLoader, load_weights
from masksup_med.handlers.progress import Progress
from masksup_med.handlers.seed import EpochSeed
from masksup_med.handlers.tracking import MLflowTracker

__all__ = ["BestModelSaver", "EpochSeed", "MLflowTracker", "Progress", "TrainingState", "WeightsLoader", "load_weights"]
