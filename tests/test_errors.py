"""What a user sees of an error: one sentence, or the whole traceback when it is not theirs."""

import subprocess
import sys

import pytest

from masksup_med import errors


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"MaskSupError", "plain_errors"}))
def test_each_error_is_also_a_built_in_one(name):
    cls = getattr(errors, name)
    assert issubclass(cls, errors.MaskSupError)
    assert issubclass(cls, (ValueError, FileNotFoundError, RuntimeError))
    assert str(cls("Nothing at a; do b.")) == "Nothing at a; do b."


def crash(statement):
    code = f"from masksup_med.errors import *\nplain_errors()\n{statement}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("statement", "stderr"),
    [
        ("raise DataError('a is empty; fill it.')", "Error: a is empty; fill it.\n"),
        (
            "try: raise DataError('a is empty; fill it.')\nexcept DataError as e: raise RuntimeError('x') from e",
            "Error: a is empty; fill it.\n",
        ),
        ("dict().get(nothing=1)", "Traceback"),
        (
            "def f(a): pass\nf(b=1)",
            "Error: f() got an unexpected keyword argument 'b'; correct the setting of that name.\n",
        ),
        ("raise KeyError('bug')", "Traceback"),
    ],
)
def test_uncaught_error(statement, stderr):
    result = crash(statement)
    assert result.returncode == 1
    assert result.stderr == stderr or (stderr == "Traceback" and result.stderr.startswith(stderr))


def test_interrupt_says_how_to_go_on():
    result = crash("raise KeyboardInterrupt")
    assert result.returncode == -2 or result.returncode == 130
    assert result.stderr == "Interrupted. Training goes on from its last epoch with --resume True.\n"
