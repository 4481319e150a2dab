"""How readers say no: a reason and a remedy where the fault is found, the file's name where the user called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from masksup_med.errors import DataError, MaskSupError, MissingDataError

__all__ = ["COPY_AGAIN", "Refusal", "check_area", "check_volume", "naming", "too_large", "withheld"]

COPY_AGAIN = "copy it again from its source"
_LARGEST = 1 << 30


class Refusal(Exception):
    """A reason and a remedy, for :func:`naming` to put a file name to."""


def check_area(width: int, height: int) -> None:
    """Raise :class:`Refusal` for more pixels than Pillow's limit against files made to fill the memory."""
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise too_large(f"its {width} × {height} pixels exceed the limit of {Image.MAX_IMAGE_PIXELS}")


def check_volume(size: int) -> None:
    """Raise :class:`Refusal` for more bytes than may be in memory at once of a file whose pictures need all of them."""
    if size > _LARGEST:
        raise Refusal(f"its {size >> 20} MB do not fit in memory at once", "cut it into parts below 1024 MB")


def too_large(reason: str) -> Refusal:
    """Return the refusal of a picture over Pillow's limit."""
    return Refusal(reason, "cut it into tiles, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file")


@contextmanager
def withheld(reason: str, remedy: str = COPY_AGAIN) -> Iterator[None]:
    """Put a reason and a remedy in place of a library's error, whose text may quote the file: a patient's name, say.

    Python shows no trace of the error either. Serves as a decorator, too.
    """
    try:
        yield
    except Exception as error:  # decoders answer damaged bytes with nearly any class of error
        if isinstance(error, (Refusal, MemoryError)) or getattr(error, "errno", None) is not None:
            raise  # ours, or the system's: a disk that fails, no memory
        raise Refusal(reason, remedy) from None


@contextmanager
def naming(kind: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Re-raise whatever goes wrong inside as one sentence that names the file."""
    try:
        yield
    except MaskSupError:
        raise
    except FileNotFoundError as error:
        message = f"There is no {kind} file {Path(path)}; correct the path, or put the file there."
        raise MissingDataError(message) from error
    except Refusal as refusal:
        reason, remedy = refusal.args
        raise DataError(f"Cannot read {kind} {Path(path)}: {reason}; {remedy}.") from refusal.__cause__
    except MemoryError as error:
        message = (
            f"Cannot read {kind} {Path(path)}: it takes more memory than there is; {COPY_AGAIN}, or close programs."
        )
        raise DataError(message) from error
    except Exception as error:  # decoders answer damaged bytes with nearly any class of error
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"Cannot read {kind} {Path(path)}: {reason}; replace or repair it.") from error
