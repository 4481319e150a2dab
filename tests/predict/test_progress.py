"""Progress: a bar on a terminal, plain lines elsewhere, and the items themselves untouched."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

import pytest

from masksup_med.predict import progress
from masksup_med.predict.progress import shown


class Clock:
    """A clock that is put forward by those who use it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def working(clock: Clock, count: int, seconds: float) -> Iterator[int]:
    for number in range(count):
        clock.seconds += seconds
        yield number


def test_a_line_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(shown(working(clock, 10, 4), 10)) == list(range(10))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "predict: 3 of 10 images, 0.2 images/s, 00:28 left",
        "predict: 6 of 10 images, 0.2 images/s, 00:16 left",
        "predict: 9 of 10 images, 0.2 images/s, 00:04 left",
    ]


def test_a_short_run_is_silent_and_a_long_image_is_no_reason_to_speak_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(shown(working(clock, 100, 0.09), 100)) == list(range(100))
    assert list(shown(working(clock, 1, 500), 1)) == [0]
    assert list(shown(iter(()), 0)) == []
    assert capsys.readouterr() == ("", "")


def test_rate_is_that_of_the_whole_run(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def uneven() -> Iterator[int]:
        yield from working(clock, 40, 0.25)
        yield from working(clock, 1, 10)
        yield from working(clock, 39, 0)

    list(shown(uneven(), 80))
    assert capsys.readouterr().err.splitlines() == [
        "predict: 40 of 80 images, 4.0 images/s, 00:10 left",
        "predict: 41 of 80 images, 2.0 images/s, 00:19 left",
    ]


def test_items_come_one_by_one() -> None:
    """Nothing is asked for before the one before it has been taken care of."""
    asked = []

    def items() -> Iterator[int]:
        for number in range(5):
            asked.append(number)
            yield number

    passed = shown(items(), 5)
    for number in range(3):
        assert next(passed) == number and asked == list(range(number + 1))


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(shown(iter(range(4)), 4)) == [0, 1, 2, 3]
    last = terminal.getvalue().rstrip().split("\r")[-1]
    assert re.match(r"predict: 100%.*\| 4/4 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+image/s\]", last), last


@pytest.mark.parametrize("terminal", [False, True])
def test_errors_come_through(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)

    def items() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    passed = shown(items(), 2)
    assert next(passed) == 1
    with pytest.raises(KeyboardInterrupt):
        next(passed)
