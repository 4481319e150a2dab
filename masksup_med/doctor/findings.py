"""What was found when something was tried."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

__all__ = ["Absent", "Finding", "State", "private", "reason", "tried"]

State = Literal["ok", "missing", "broken"]
_LONGEST = 200  # letters of a reason


class Finding(NamedTuple):
    """Whether one thing works here."""

    name: str
    state: State
    detail: str = ""  # what there is, or what is wrong
    remedy: str = ""  # what mends it
    required: bool = False  # whether the program as such cannot do without it

    @property
    def fails(self) -> bool:
        """Whether something that is required does not work."""
        return self.required and self.state != "ok"


class Absent(Exception):
    """Something that was tried is not installed."""


def tried(name: str, job: Callable[[], str], needs: str = "", remedy: str = "", required: bool = False) -> Finding:
    """Try something, and say how it went, whatever is raised.

    Args:
        name: of what is tried.
        job: does it, and returns a detail.
        needs: the modules whose absence makes it missing rather than broken, separated by spaces.
        remedy: for when it does not work.
        required: whether the program cannot do without it.
    """
    try:
        return Finding(name, "ok", job(), "", required)
    except Absent as absence:
        return Finding(name, "missing", str(absence), remedy, required)
    except ModuleNotFoundError as error:
        if error.name in needs.split():
            return Finding(name, "missing", f"{error.name} is not installed", remedy, required)
        if error.name:  # of something else, which has a line, and a remedy, of its own
            return Finding(name, "broken", f"it needs {error.name}, which is not installed", "", required)
        return Finding(name, "broken", reason(error), remedy, required)
    except (Exception, SystemExit) as error:  # whatever packages do that are not as they should be
        return Finding(name, "broken", reason(error), remedy, required)


def reason(error: BaseException) -> str:
    """The first line of an error, with its kind where it does not speak for itself."""
    from masksup_med.errors import MaskSupError

    line = str(error).strip().partition("\n")[0]
    if isinstance(error, MaskSupError):
        return line
    return f"{type(error).__name__}: {line}"[:_LONGEST]


def private(value: Any) -> Any:
    """Take the home folder, and names of the user and the machine in paths, out of all text of nested data.

    Example::

        >>> private({"place": "/home/ada/venv", "other": "/scratch/ada/venv"})
        {'place': '~/venv', 'other': '/scratch/USER/venv'}
    """
    if isinstance(value, dict):
        return {private(key): private(item) for key, item in value.items()}
    if isinstance(value, list):
        return [private(item) for item in value]
    return _without_names(value) if isinstance(value, str) else value


def _without_names(text: str) -> str:
    for home in {os.path.expanduser("~"), os.path.realpath(os.path.expanduser("~"))}:
        if Path(home) != Path(home).parent:  # a container's user can have "/" for a home
            text = re.sub(re.escape(home.rstrip("/\\")) + r"(?![\w.-])", "~", text)
    for name, word in ((_user(), "USER"), (platform.node(), "HOST")):
        if name:
            text = re.sub(rf"(?<=[/\\]){re.escape(name)}(?![\w.-])", word, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return ""
