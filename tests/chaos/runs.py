"""Real processes that run ``masksup``: forks of a server that has imported torch and MONAI, started in milliseconds."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Outcome", "Run", "masksup", "start_server"]

_CONTEXT = multiprocessing.get_context("forkserver") if sys.platform == "linux" else None
_ROOT = Path(__file__).parents[2]
_LIMIT = 60  # seconds, after which a run is said to hang


class Outcome(NamedTuple):
    """What a process has left."""

    code: int  # negative: the signal that has killed it
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """What it has printed as JSON."""
        return json.loads(self.out)


class Run:
    """A process that runs ``masksup``, to be disturbed. As a context, it is over at the end.

    Args:
        arguments: of the command line.
        prepare: called in the process before; a function that can be pickled.
    """

    def __init__(self, arguments: list[str], prepare: Callable[[], None] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="masksup-run-")
        for name in ("out", "err"):
            Path(self._folder.name, name).touch()  # it can be killed before it is there
        self._process = _CONTEXT.Process(target=_run, args=(arguments, self._folder.name, prepare), daemon=True)
        self._process.start()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def wait_until(self, path: Path) -> None:
        """Wait until it has made a file."""
        end = time.monotonic() + _LIMIT
        while not path.exists():
            assert self._process.is_alive() and time.monotonic() < end, self.wait()
            time.sleep(0.005)

    def kill_after(self, seconds: float) -> Outcome:
        """Kill it after some time, if it is not through by then."""
        self._process.join(seconds)
        self._process.kill()
        return self.wait()

    def wait(self) -> Outcome:
        """Wait for its end."""
        self._process.join(_LIMIT)
        hangs = self._process.is_alive()
        if hangs:
            self._process.kill()
            self._process.join()
        out, err = (Path(self._folder.name, name).read_text(errors="replace") for name in ("out", "err"))
        self._folder.cleanup()
        assert not hangs, f"no end after {_LIMIT} s: {out}{err}"
        return Outcome(self._process.exitcode, out, err)


def masksup(arguments: list[str], prepare: Callable[[], None] | None = None) -> Outcome:
    """Run ``masksup`` in a process of its own to its end."""
    return Run(arguments, prepare).wait()


def start_server() -> None:
    """Let the server import what runs need, in the background."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *([before] if before else [])])
    try:
        _CONTEXT.set_forkserver_preload(["tests.chaos.warm"])
        multiprocessing.forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _run(arguments: list[str], folder: str, prepare: Callable[[], None] | None) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_APPEND), number)
    if prepare is not None:
        prepare()
    from masksup_med.cli import main

    sys.exit(main(arguments))
