"""Nothing that is used here tells anyone, and nothing is left in the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from masksup_med.bundle import Bundle
from masksup_med.inferers.runtimes.export import export
from tests.bundle.bundles import brightness_bundle

pytestmark = pytest.mark.filterwarnings("ignore")

OPEN_BOTH = """
import sys
from pathlib import Path
import torch
from masksup_med.inferers.runtimes.onnx_runtime import OnnxRuntime
from masksup_med.inferers.runtimes.openvino_runtime import OpenvinoRuntime
for kind, name in ((OnnxRuntime, "model.onnx"), (OpenvinoRuntime, "model.xml")):
    kind(Path(sys.argv[1], name), "fp32", torch.device("cpu"))(torch.zeros(1, 3, 32, 32))
assert sys.modules["openvino_telemetry"] is None
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def python(code: str, home: Path, *arguments: object) -> str:
    """Run code at home, without the switches of this process."""
    kept = {key: value for key, value in os.environ.items() if "TELEMETRY" not in key and key != "DO_NOT_TRACK"}
    kept = {key: value for key, value in kept.items() if not key.startswith("XDG_")}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**kept, "HOME": str(home), "OMP_NUM_THREADS": "1", "MPLCONFIGDIR": matplotlib.get_cachedir()},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_engines_leave_nothing_at_home(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    folder = brightness_bundle(tmp_path / "bright")
    for form in ("onnx", "openvino"):
        export(Bundle.open(folder), form)
    python(OPEN_BOTH, home, folder / "models")
    assert not [*home.rglob("*")]


def test_what_users_have_switched_themselves_stays(home: Path) -> None:
    code = (
        "import os; os.environ['DO_NOT_TRACK'] = 'yes'; from masksup_med.telemetry import silence; silence(); "
        "print(os.environ['DO_NOT_TRACK'], os.environ['ORT_DISABLE_TELEMETRY'], os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    )
    assert python(code, home).split() == ["yes", "1", "true"]


def test_an_openvino_that_is_there_keeps_its_telemetry_package(home: Path) -> None:
    code = (
        "import sys, types; sys.modules['openvino'] = types.ModuleType('openvino'); "
        "from masksup_med.telemetry import silence; silence(); print('openvino_telemetry' in sys.modules)"
    )
    assert python(code, home).strip() == "False"
