"""`masksup predict` begins without what it does not use, and predicts what it predicts otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.bundle.bundles import LOAD, SCALE, Step, processing, write_bundle

pytestmark = pytest.mark.filterwarnings("ignore")

IMPORT = """
import sys
from importlib import import_module
from pathlib import Path
from masksup_med.cli.quick import _UNUSED, import_monai
import_monai(Path(sys.argv[1]))
print("monai" in sys.modules, sorted(set(_UNUSED) & set(sys.modules)))
for name in sys.argv[2:]:
    assert import_module(name) is sys.modules[name]
"""
PREDICT = """
import sys
from masksup_med.cli import main
own_process, sys.argv = sys.argv[1] == "own", ["masksup", "predict", *sys.argv[2:]]
assert main(None if own_process else sys.argv[1:]) == 0
print(sorted({"ignite", "matplotlib", "mlflow", "pandas", "torch", "torchvision"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return write_bundle(folder / "plain")


@pytest.fixture(scope="module")
def images(folder: Path) -> Path:
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / "images" / f"{number}.png")
    return folder / "images"


def python(code: str, *arguments: object) -> str:
    """The last line that code prints, in a process of its own."""
    fonts = matplotlib.get_cachedir()
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLCONFIGDIR": fonts},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_what_is_left_out_can_be_imported_afterwards(plain: Path) -> None:
    assert python(IMPORT, plain, "ignite", "nibabel", "scipy.signal", "pydicom") == "True []"


FLIP = {"_target_": "Flipd", "keys": "image", "spatial_axis": 0}
OTHERS: dict[str, Step] = {
    "another transform": processing(before=(LOAD, {"_target_": "EnsureChannelFirstd", "keys": "image"}, FLIP, SCALE)),
    "by its full name": {"inferer": {"_target_": "monai.inferers.SimpleInferer"}},
    "in an expression": {"inferer": "$monai.inferers.SimpleInferer()"},
    "somebody else's": {"inferer": {"_target_": "scripts.Inferer"}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_bundle_that_names_other_parts_gets_all(folder: Path, name: str) -> None:
    """That is, nothing is imported yet, and what imports MONAI later imports it as it is."""
    bundle = write_bundle(folder / name.replace(" ", "_"), **OTHERS[name])
    assert python(IMPORT.partition("for name")[0], bundle).startswith("False")


@pytest.mark.slow
def test_predictions_are_the_same_and_only_a_process_of_its_own_is_quick(
    plain: Path, images: Path, tmp_path: Path
) -> None:
    loaded = {}
    for way in ("own", "called"):
        loaded[way] = python(
            PREDICT, way, images, "-o", tmp_path / way, "--bundle", plain, "--outputs", "probabilities"
        )
    assert loaded["own"] == "['torch']"
    assert "'ignite'" in loaded["called"] and "'matplotlib'" in loaded["called"]
    for path in images.iterdir():
        own, called = (
            np.asarray(Image.open(tmp_path / way / "probabilities" / path.name)) for way in ("own", "called")
        )
        assert own.any()
        np.testing.assert_array_equal(own, called)


@pytest.mark.parametrize("name", ["polyp_masksup", "gland_masksup"])
def test_shipped_bundles_are_quick(name: str) -> None:
    from masksup_med.bundle.location import find_bundle
    from masksup_med.cli import quick

    text = (find_bundle(name) / "configs" / "inference.yaml").read_text(encoding="utf-8")
    named = {each for each in quick._TARGET.findall(text) if not each.startswith("masksup_med.")}
    assert named and named <= quick._KNOWN and "monai" not in text.replace("monai.bundle run", "")
