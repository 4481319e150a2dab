"""`masksup doctor`, in this environment and in ones that are made to lack something."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from masksup_med.cli import doctor
from masksup_med.doctor import decoders, examine, features, machine, packages
from masksup_med.doctor.findings import Finding, private, tried
from masksup_med.errors import DataError
from masksup_med.telemetry import silence
from tests.bundle.bundles import blank_copy, brightness_bundle

STATES = {"ok", "missing", "broken"}
SECTIONS = ["packages", "devices", "runtimes", "features", "bundles"]


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add(parser.add_subparsers(required=True))
    args = parser.parse_args(["doctor", *argv])
    return args.run(args)


@pytest.fixture(scope="module", autouse=True)
def silent() -> None:
    silence()


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    return examine()


@pytest.fixture
def found(here: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was found here, to be changed; the verb finds the same."""
    copy = json.loads(json.dumps(here))
    monkeypatch.setattr("masksup_med.doctor.examine", lambda bundle: copy)
    return copy


def test_the_verb_is_cheap_until_it_runs() -> None:
    code = "import sys, masksup_med.cli.doctor; assert not {'torch', 'masksup_med.doctor'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_document_is_stable(here: dict[str, Any]) -> None:
    assert list(here) == ["ok", "system", *SECTIONS]
    assert list(here["system"]) == ["masksup_med", "location", "python", "system", "cores", "memory_gib"]
    for section in SECTIONS:
        for row in here[section].values():
            assert list(row) == ["state", "detail", "remedy", "required"]
            assert row["state"] in STATES


def test_what_is_required_works_here(here: dict[str, Any]) -> None:
    assert here["ok"]
    assert here["devices"]["cpu"]["state"] == "ok"
    for name in ("training and evaluation", "NIfTI in and out", "DICOM in, not compressed", "ImageNet encoders"):
        assert here["features"][name] == {**here["features"][name], "state": "ok", "required": True}
    assert set(here["bundles"]) >= {"gland_masksup", "polyp_masksup"}


def test_packages_are_those_that_the_metadata_names(here: dict[str, Any]) -> None:
    assert here["packages"]["torch"]["detail"].startswith(metadata.version("torch"))
    assert "highdicom" in here["packages"] and not here["packages"]["highdicom"]["required"]
    assert not {"pytest", "ruff", "masksup-med"} & set(here["packages"])


def test_the_text_says_it_in_words(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert out.startswith("masksup-med 0.") and out.endswith("All that is required works.\n")
    assert re.search(r"^  ok +cpu +\w+; bf16: ", out, re.MULTILINE)
    assert re.search(rf"numpy\s+{re.escape(metadata.version('numpy'))}", out)
    assert max(map(len, out.splitlines())) < 160


def test_json_is_what_was_found_and_names_nobody(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out) == found
    home, names = os.path.expanduser("~"), {getpass.getuser(), platform.node()}
    assert home == "/" or home + "/" not in out
    assert not any(f"/{name}/" in out for name in names if name)


def test_something_required_that_is_broken_is_code_1(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    found["ok"] = False
    found["packages"]["scipy"] |= {"state": "broken", "detail": "1.2, where >=1.11 is needed", "remedy": "pip install"}
    assert run() == 1
    out = capsys.readouterr().out
    assert re.search(r"^  broken +scipy +1\.2, where >=1\.11 is needed; pip install$", out, re.MULTILINE)
    assert out.endswith("Does not work, and is required: scipy.\n")


def test_nothing_is_written(tmp_path: Path) -> None:
    """Nor sent: ONNX Runtime and OpenVINO put an identifier into the home folder before they send anything."""
    code = """
from masksup_med import telemetry
from masksup_med.doctor import machine
telemetry.silence()
print(*(each.state for each in machine.check_runtimes()))
"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "feature", "extra"),
    [
        ("highdicom", "DICOM segmentations out", "dicom"),
        ("openslide", "slides", "slides"),
        ("onnx", "exporting", "onnx"),
        ("onnxruntime", "prediction by onnx", "onnx"),
        ("openvino", "prediction by openvino", "openvino"),
    ],
)
def test_a_missing_extra_is_no_failure(module: str, feature: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    findings = {each.name: each for each in features.check_features(machine.check_runtimes())}
    expected = (feature, "missing", f"{module} is not installed", f"pip install 'masksup-med[{extra}]'", False)
    assert findings[feature]._replace(detail=f"{module} is not installed") == expected
    assert not any(each.fails for each in findings.values())


@pytest.mark.parametrize(
    ("plugins", "missing"),
    [
        ({"pydicom", "pillow"}, ["12-bit and lossless JPEG", "JPEG-LS"]),
        ({"pydicom", "pyjpegls"}, ["8-bit JPEG", "12-bit and lossless JPEG", "JPEG 2000"]),
        ({"pydicom", "pylibjpeg"}, []),
    ],
    ids=["pillow", "pyjpegls", "pylibjpeg"],  # not those of sets, which have no order
)
def test_decoders(plugins: set[str], missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom import uid
    from pydicom.pixels import get_decoder

    for name in (name for compression in decoders.COMPRESSIONS for name in compression.syntaxes):
        decoder = get_decoder(getattr(uid, name))
        left = {label: plugin for label, plugin in decoder._available.items() if label in plugins}
        monkeypatch.setattr(decoder, "_available", left)
    findings = {each.name: each for each in features.check_features(machine.check_runtimes())}
    assert [name for name, each in findings.items() if each.state != "ok"] == [f"DICOM in, {name}" for name in missing]
    assert all(findings[f"DICOM in, {name}"].remedy == "pip install 'masksup-med[dicom]'" for name in missing)
    assert ("Pillow alone" in findings["DICOM in, JPEG 2000"].detail) == ("pillow" in plugins)


def test_torch_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (cpu,) = machine.check_devices()
    assert (cpu.state, cpu.fails) == ("missing", True)
    assert machine.check_runtimes()[0].fails


def test_a_wrong_result_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda image, weight: torch.zeros(1))
    assert machine.check_devices()[0].detail == "RuntimeError: a convolution gives 0.0 instead of 36"


def test_versions_below_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(packages.metadata, "version", lambda name: "0.1" if name == "scipy" else real(name))
    finding = next(each for each in packages.check_packages() if each.name == "scipy")
    assert finding == ("scipy", "broken", "0.1, where >=1.11 is needed", "pip install 'scipy>=1.11'", True)


def test_packages_that_are_not_there_or_do_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("tqdm", "highdicom"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    real = metadata.version
    monkeypatch.setattr(packages.metadata, "version", version)
    monkeypatch.setitem(sys.modules, "fire", None)
    findings = {each.name: each for each in packages.check_packages()}
    assert (findings["tqdm"].state, findings["tqdm"].fails) == ("missing", True)
    assert (findings["highdicom"].state, findings["highdicom"].fails) == ("missing", False)
    assert findings["highdicom"].remedy == "pip install 'masksup-med[dicom]'"
    assert findings["fire"].fails and "force-reinstall" in findings["fire"].remedy


def test_torchvision_that_needs_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_torchvision_stands_alone", lambda: False)
    findings = {each.name: each for each in packages.check_packages()}
    for name in ("timm", "torchvision"):
        assert findings[name].state == "ok" and "copes with it" in findings[name].detail


def test_a_library_that_is_lacking_is_broken() -> None:
    def fail() -> str:
        raise ModuleNotFoundError("Couldn't locate OpenSlide shared library.")

    expected = "ModuleNotFoundError: Couldn't locate OpenSlide shared library."
    assert tried("slides", fail, "openslide", "mend it") == Finding("slides", "broken", expected, "mend it")


def test_what_lacks_something_else_names_it() -> None:
    def fail() -> str:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    assert tried("timm", fail, "timm", "mend it") == Finding("timm", "broken", "it needs torch, which is not installed")


def test_errors_of_users_are_sentences() -> None:
    def fail() -> str:
        raise DataError("It is broken; repair it.")

    assert tried("it", fail).detail == "It is broken; repair it."


def test_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(platform, "node", lambda: "engine")
    given = {"a": ["/home/ada/x", 1, None], "b": "in /net/engine/ada/y, /home/adam", "c": "ada's engine/ada"}
    assert private(given) == {
        "a": ["~/x", 1, None],
        "b": "in /net/HOST/USER/y, /home/adam",
        "c": "ada's engine/USER",
    }


class TestBundle:
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Look at nothing else."""
        for place in ("packages.check_packages", "features.check_features", "bundles.check_bundles"):
            monkeypatch.setattr(f"masksup_med.doctor.{place}", lambda *_: [])

    def test_that_works(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from masksup_med.bundle import Bundle
        from masksup_med.inferers.runtimes.export import export

        folder = brightness_bundle(tmp_path / "bright", mpp=0.5)
        export(Bundle.open(folder), "onnx")
        assert run(str(folder), "--json") == 0
        bundle = json.loads(capsys.readouterr().out)["bundle"]
        assert {row["state"] for row in bundle.values()} == {"ok"}
        assert bundle["opens"]["detail"] == "bright 0.1.0: bright"
        assert bundle["weights fit, and it predicts"]["detail"].startswith("0.000 M parameters")
        assert bundle["slides"]["detail"] == "0.5 µm per pixel"
        assert bundle["DICOM codes"]["detail"] == "Polyp of colon"
        assert bundle["export onnx"]["detail"] == "fp32"

    def test_that_offers_nothing_else(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = brightness_bundle(tmp_path / "bright")
        change(folder, dicom_segments=None, exports={"onnx": {"precision": "fp32"}})
        assert run(str(folder)) == 0
        out = capsys.readouterr().out
        for line in (
            r"missing +slides +it has no mpp; ",
            r"missing +DICOM codes",
            r"broken +export onnx +The bundle bright has no",
        ):
            assert re.search(rf"^  {line}", out, re.MULTILINE), line

    def test_without_weights(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(str(blank_copy("polyp_masksup", tmp_path / "blank"))) == 1
        out = capsys.readouterr().out
        assert "train it first." in out and out.endswith("Does not work, and is required: opens.\n")

    def test_whose_weights_do_not_fit(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        import torch

        folder = brightness_bundle(tmp_path / "bright")
        torch.save(torch.nn.Conv2d(3, 2, 1).state_dict(), folder / "models" / "model.pt")
        assert run(str(folder)) == 1
        assert re.search(r"^  broken +weights fit, and it predicts  ", capsys.readouterr().out, re.MULTILINE)

    def test_that_does_not_exist(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("liver", "--json") == 1
        row = json.loads(capsys.readouterr().out)["bundle"]["opens"]
        assert row["state"] == "broken" and row["detail"].startswith("liver is not a bundle: give a folder")


def change(folder: Path, **entries: Any) -> None:
    file = folder / "configs" / "metadata.json"
    content = {**json.loads(file.read_text(encoding="utf-8")), **entries}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")
