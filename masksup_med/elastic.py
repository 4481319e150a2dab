"""The end of a training in several processes when one of them is lost: soon, and with a sentence."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from types import FrameType

__all__ = ["end_together", "no_more_signals", "words_of_loss"]

_LOST = (
    "Error: Another process of this training was lost{}; the log above or torchrun's root cause below says what ended "
    "it, and --resume True goes on from the last epoch."
)
_STOPPED = ", or torchrun was stopped"
_GRACE = 5.0  # seconds; enough to close a run in MLflow, and torchrun kills after 30


class _Told(BaseException):
    """``torchrun`` ends this process; not an Exception, which others would catch on its way up."""


def end_together() -> None:
    """Under ``torchrun``, end soon and with a sentence when it says that another process of the training was lost.

    It says so by SIGTERM, which would end this process without a word and leave its MLflow run open. The main thread
    cannot hear it while it waits for the lost process inside NCCL; then a second thread ends this one after a while.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    hears, tells = os.pipe()
    os.set_blocking(tells, False)
    threading.Thread(target=_end_later, args=(hears,), daemon=True).start()
    signal.signal(signal.SIGTERM, _end_now)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)


def no_more_signals() -> None:
    """Let nothing come between an error and its sentence."""
    if signal.getsignal(signal.SIGTERM) is _end_now:
        signal.signal(signal.SIGTERM, lambda *_: None)


def words_of_loss(error: BaseException) -> str | None:
    """What to tell the user of an error that comes of the loss of another process; None of all others."""
    if isinstance(error, _Told):
        return _LOST.format(_STOPPED)
    # told by its name, as to import torch takes seconds
    of_torch = type(error).__module__ == "torch.distributed" and type(error).__name__.startswith("Dist")
    if of_torch or (isinstance(error, RuntimeError) and "/gloo/" in str(error)):
        return _LOST.format(f" ({_first_sentence(error)})")
    return None


def _end_now(number: int, frame: FrameType | None) -> None:
    if sys.exc_info()[0] is None:  # else another error is on its way up already, and ends this process as well
        raise _Told


def _end_later(hears: int) -> None:
    while os.read(hears, 1) != bytes([signal.SIGTERM]):
        pass
    time.sleep(_GRACE)
    print(_LOST.format(_STOPPED), file=sys.stderr, flush=True)
    os._exit(1)


def _first_sentence(error: BaseException) -> str:
    """What an error says, without the place in its source and without advice."""
    return re.sub(r"^\[\S+\] ", "", str(error)).split("\n")[0].split(". ")[0]
