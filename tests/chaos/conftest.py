"""Fixtures of the chaos tests: a bundle, and pictures with what an undisturbed run makes of them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.pictures import BAD, WRITERS, write_pictures
from tests.chaos.runs import Run, masksup, start_server
from tests.chaos.trees import fingerprint, tree

OUTPUTS = "masks,overlays,probabilities"


class Work(NamedTuple):
    """Pictures, and what an undisturbed run makes of them."""

    inputs: Path
    bundle: Path
    undisturbed: dict[str, bytes]
    code: int
    seconds: float  # that it takes

    def arguments(self, out: Path, *more: str) -> list[str]:
        """Of the command line."""
        return ["predict", str(self.inputs), "-o", str(out), "--bundle", str(self.bundle), "--outputs", OUTPUTS, *more]

    def assert_completes(self, out: Path) -> None:
        """Check that the same command, undisturbed, brings a folder to what it should be."""
        outcome = masksup(self.arguments(out))
        assert outcome.code == self.code, outcome
        assert tree(out) == self.undisturbed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs Linux: a server of forks, tmpfs, pipes"))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for small pictures, with weights that nobody has trained, and tiles for more than 10,000 pixels."""
    start_server()
    from tests.chaos.bundles import untrained_bundle

    return untrained_bundle(tmp_path_factory.mktemp("bundle") / "untrained")


@pytest.fixture(scope="session")
def work(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Thirteen files of all kinds, one of which is no picture."""
    return _work(bundle, tmp_path_factory.mktemp("work"), len(WRITERS))


@pytest.fixture(scope="session")
def small_work(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Three files, one of which is no picture."""
    return _work(bundle, tmp_path_factory.mktemp("small"), 3)


@pytest.fixture(autouse=True)
def _inputs_stay_as_they_are(request: pytest.FixtureRequest):
    names = {"work", "small_work"} & set(request.fixturenames)
    folders = [folder for name in names for folder in request.getfixturevalue(name)[:2]]
    before = [fingerprint(folder) for folder in folders]
    yield
    assert [fingerprint(folder) for folder in folders] == before


def _work(bundle: Path, folder: Path, count: int) -> Work:
    work = Work(write_pictures(folder / "in", count), bundle, {}, 3, 0)
    masksup(work.arguments(folder / "first"))  # slower than the second
    start = time.monotonic()
    outcome = Run(work.arguments(folder / "undisturbed")).wait()
    seconds = time.monotonic() - start
    assert outcome.code == 3 and BAD in outcome.err, outcome
    undisturbed = tree(folder / "undisturbed")
    assert undisturbed == tree(folder / "first")
    return work._replace(undisturbed=undisturbed, seconds=seconds)
