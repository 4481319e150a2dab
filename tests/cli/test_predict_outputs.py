"""The command line names the outputs without importing what makes them."""

from __future__ import annotations

from masksup_med.cli import predict
from masksup_med.predict.results import OUTPUTS


def test_outputs_are_those_that_can_be_written() -> None:
    assert tuple(OUTPUTS) == predict._OUTPUTS
