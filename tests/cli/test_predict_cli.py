"""The arguments of `masksup predict`: what is refused before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from masksup_med.cli import main

HEAVY = ("torch", "monai", "skimage", "matplotlib", "nibabel", "pydicom", "mlflow")
AFTERWARDS = f"""
import sys
from masksup_med.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("imported:", *(name for name in {HEAVY!r} if name in sys.modules))
sys.exit(code)
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", AFTERWARDS, *argv], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("argv", [["--help"], ["predict", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    result = run(*argv)
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().endswith("imported:")
    assert "predict" in result.stdout and "usage: masksup" in result.stdout
    if "predict" in argv:
        for word in ("INPUT", "--output", "--bundle", "--device", "--batch-size", "--workers", "--outputs",
                     "--overwrite", "--json", "--dry-run", "Exit codes"):  # fmt: skip
            assert word in result.stdout


def test_wrong_paths_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    result = run("predict", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out"), "--bundle", "polyp_masksup")
    assert result.returncode == 1
    assert result.stderr == f"Error: There is no file or folder {tmp_path / 'nowhere'}; correct the path.\n"
    assert result.stdout == "imported:\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: INPUT, -o/--output, --bundle"),
        (["in"], "required: -o/--output, --bundle"),
        (["in", "-o", "out"], "required: --bundle"),
        (["-o", "out", "--bundle", "b"], "required: INPUT"),
        (["in", "-o", "out", "--bundle", "b", "--batch-size", "0"], "--batch-size: 0 is no whole number from 1 on"),
        (["in", "-o", "out", "--bundle", "b", "--batch-size", "many"], "many is no whole number from 1 on"),
        (["in", "-o", "out", "--bundle", "b", "--batch-size=-1"], "-1 is no whole number from 1 on"),
        (["in", "-o", "out", "--bundle", "b", "--workers", "0"], "--workers: 0 is no whole number from 1 on"),
        (["in", "-o", "out", "--bundle", "b", "--workers", "1.5"], "1.5 is no whole number from 1 on"),
        (["in", "-o", "out", "--bundle", "b", "--workers", "²"], "² is no whole number from 1 on"),
        (["in", "-o", "out", "--bundle", "b", "--outputs", "mask"], "mask is none of masks, overlays, probabilities"),
        (["in", "-o", "out", "--bundle", "b", "--outputs", "masks,"], "nothing is none of masks"),
        (["in", "-o", "out", "--bundle", "b", "--outputs", ""], "nothing is none of masks"),
        (["in", "-o", "out", "--bundle", "b", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_usage_is_code_2(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["predict", *argv])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("usage: masksup") and message in err
    assert list(tmp_path.iterdir()) == []
