"""The command line, run as its users run it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from masksup_med.cli import main
from masksup_med.networks import NETWORKS


def test_help_names_every_verb_without_importing_torch():
    code = "import sys, masksup_med.cli as c\ntry: c.main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert all(verb in result.stdout for verb in ("phantoms", "datalist", "bundle", "networks"))


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


def test_networks_are_timed(monkeypatch, capsys):
    monkeypatch.setattr("masksup_med.networks.NETWORKS", {"unet": NETWORKS["unet"]})
    assert main(["networks"]) == 0
    out, err = capsys.readouterr()
    assert "measure: 100%" in err
    line = next(line for line in out.splitlines() if line.startswith("| `unet`"))
    name, parameters, forward, *_ = (cell.strip() for cell in line.strip("|").split("|"))
    assert (name, parameters) == ("`unet`", "3.136 M") and float(forward.removesuffix(" ms")) > 0


def test_reference_is_what_the_command_prints(monkeypatch, capsys):
    monkeypatch.setattr("masksup_med.cli.networks._milliseconds", lambda network: 0)
    main(["networks"])

    def lasting(text):  # all but the measured times, the machine, and the width of columns
        text = re.sub(r"\d+ ms|torch \S+ on \d+ threads", "", text.replace("\n", " "))
        return re.sub(r"[- ]+", " ", text).strip()

    reference = Path(__file__).parents[2] / "docs" / "reference" / "networks.md"
    assert lasting(reference.read_text(encoding="utf-8")) == lasting(capsys.readouterr().out)
