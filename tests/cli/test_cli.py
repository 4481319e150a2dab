"""The command line, run as its users run it."""

import json
import subprocess
import sys

import pytest

from masksup_med.cli import main


def test_help_names_every_verb_without_importing_torch():
    code = "import sys, masksup_med.cli as c\ntry: c.main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert all(verb in result.stdout for verb in ("phantoms", "datalist", "bundle"))


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("masksup-med 0.")


@pytest.mark.parametrize("argv", [[], ["fly"], ["phantoms", "liver", "x"], ["datalist", "x"]])
def test_wrong_usage_is_code_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: masksup" in capsys.readouterr().err


def test_phantoms_then_datalist(tmp_path, capsys):
    assert main(["phantoms", "polyp", str(tmp_path / "p"), "--count", "5", "--size", "64", "80"]) == 0
    assert main(["datalist", str(tmp_path / "p"), "-o", str(tmp_path / "list.json"), "--validation", "0.4"]) == 0
    out = capsys.readouterr().out
    assert "training: 3 images in 3 groups" in out and "validation: 2 images in 2 groups" in out
    content = json.loads((tmp_path / "list.json").read_text())
    assert [len(content[name]) for name in ("training", "validation")] == [3, 2]
    assert content["training"][0]["image"].startswith("p/images/")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["phantoms", "polyp", "OUT", "--count", "0"], "count"),
        (["datalist", "/nowhere", "-o", "OUT/list.json"], "There is no folder /nowhere"),
        (["bundle", "copy", "liver", "OUT/b"], "liver is not a bundle"),
    ],
)
def test_user_errors_are_one_line_and_code_1(argv, message, tmp_path, capsys):
    assert main([arg.replace("OUT", str(tmp_path)) for arg in argv]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_bundles_are_listed_and_copied(tmp_path, capsys):
    assert main(["bundle", "list"]) == 0
    assert "gland_masksup" in capsys.readouterr().out
    assert main(["bundle", "copy", "gland_masksup", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "configs" / "train.yaml").is_file()
