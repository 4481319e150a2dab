"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: ``MASKSUP_DATA``, or ``../shared/data`` beside the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MASKSUP_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder
