"""A function run in a copy of this process, where it may be killed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import torch


def exit_code_of(function: Callable[[], object], said: Path) -> int:
    """How the copy ends: 0 when the function returns, 1 when it raises, minus a signal that kills it.

    Args:
        function: to run.
        said: file for what it prints.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open(said, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            torch.set_num_threads(1)  # torch's pool of threads is not there in a fork
            function()
            code = 0
        except BaseException:
            said.write_text(traceback.format_exc())
        finally:
            os._exit(code)  # else the tests would go on twice
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
