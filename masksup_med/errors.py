"""What can go wrong, each with its remedy.

Every error a user can cause is a :class:`MaskSupError` whose message is one sentence: what is wrong, where,
and what to do. Each class is also the built-in error that a Python programmer would expect to catch.
"""

from __future__ import annotations

import sys
from types import TracebackType

from masksup_med.elastic import end_together, no_more_signals, words_of_loss

__all__ = ["CheckpointError", "DataError", "MaskSupError", "MissingDataError", "SettingError", "plain_errors"]


class MaskSupError(Exception):
    """Base of all errors that masksup-med raises on purpose."""

    @staticmethod
    def among(error: BaseException | None) -> MaskSupError | None:
        """Return the first of them among an error and its causes, as MONAI wraps errors in its own; None without."""
        while error is not None and not isinstance(error, MaskSupError):
            error = error.__cause__
        return error


class SettingError(MaskSupError, ValueError):
    """A setting has a value, or a name, that cannot be used."""


class DataError(MaskSupError, ValueError):
    """A file was found, but its content cannot be used."""


class MissingDataError(MaskSupError, FileNotFoundError):
    """A file or folder that is needed is not there, or holds nothing usable."""


class CheckpointError(MaskSupError, RuntimeError):
    """A checkpoint cannot be read, or does not fit the network it is loaded into."""


def plain_errors() -> None:
    """From now on, end the program on a user's error with its sentence and exit code 1, without a traceback.

    Bundles call this first, because ``python -m monai.bundle`` shows what it does not catch. Under ``torchrun``, the
    loss of another process is told by a sentence, too.
    """
    sys.excepthook = _show
    end_together()


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    no_more_signals()
    sentence = _sentence(error)
    if sentence is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(sentence, file=sys.stderr, flush=True)


def _sentence(error: BaseException | None) -> str | None:
    """Return what to tell the user about an error or any of its causes; None for one that is not theirs."""
    while error is not None:
        if isinstance(error, MaskSupError):
            return f"Error: {error}"
        if isinstance(error, KeyboardInterrupt):
            return "Interrupted. Training goes on from its last epoch with --resume True."
        if lost := words_of_loss(error):
            return lost
        if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
            return f"Error: {error}; correct the setting of that name."
        error = error.__cause__ or error.__context__
    return None
