"""The tasks there are, one file each, and the protocols that each can be evaluated by."""

from masksup_med.evaluate.figures import Protocol
from masksup_med.evaluate.tasks import gland, polyp, semantic

__all__ = ["TASKS"]

TASKS: dict[str, dict[str, Protocol]] = {
    "polyp": polyp.PROTOCOLS,
    "gland": gland.PROTOCOLS,
    "semantic": semantic.PROTOCOLS,
}
