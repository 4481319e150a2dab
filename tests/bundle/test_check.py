"""`masksup bundle check`: sound bundles pass, and each check has bundles that fail it."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import verify_metadata

from masksup_med.bundle import bundle_names, find_bundle
from masksup_med.bundle.check import Finding, check_bundle
from masksup_med.cli import main
from masksup_med.handlers.provenance import sha256_of
from tests.bundle.bundles import HALF, INVERT, SIGMOID, TINY_UNET, colours_bundle, compose, write_bundle

CHECKS = [
    "files", "syntax", "metadata", "name and version", "data format", "packages", "network", "TorchScript",
    "properties", "weights", "prediction", "content",
]  # fmt: skip
CONV = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}
IMAGE = ("network_data_format", "inputs", "image")
PRED = ("network_data_format", "outputs", "pred")


class Listing(torch.nn.Conv2d):
    def forward(self, x: torch.Tensor) -> Any:
        return [super().forward(x)]


class Unscriptable(torch.nn.Conv2d):
    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[0])


class Other(torch.nn.Module):
    """In TorchScript it answers otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = self.layer(x)
        return answer + 0.25 if torch.jit.is_scripting() else answer


def sound_bundle(folder: Path, network: dict[str, Any] = CONV, **settings: Any) -> Path:
    """A bundle of polyp_masksup's name whose training and inference have the same small network."""
    folder = write_bundle(folder / "polyp_masksup", network, **settings)
    change(folder / "configs" / "train.yaml", ("network_def",), network)
    return folder


def change(file: Path, place: tuple[str, ...], value: Any) -> None:
    """Put a value into a file of settings; None takes out what is there."""
    config = yaml.load(file.read_text(), yaml.CSafeLoader)  # which reads JSON, too
    *parents, last = place
    inner = config
    for key in parents:
        inner = inner[key]
    inner[last] = value
    if value is None:
        del inner[last]
    file.write_text(json.dumps(config) if file.suffix == ".json" else yaml.dump(config, Dumper=yaml.CSafeDumper))


def fault(folder: Path, name: str) -> str:
    """What one check finds; the ones after it do not run."""
    return next(finding.fault for finding in check_bundle(folder) if finding.name == name)


def names(folder: Path) -> list[str]:
    return [finding.name for finding in check_bundle(folder)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def metadata(bundle: Path) -> Callable[..., str]:
    """A function that changes the metadata and gives what a check finds."""

    def change_and_check(check: str, place: tuple[str, ...], value: Any) -> str:
        change(bundle / "configs" / "metadata.json", place, value)
        return fault(bundle, check)

    return change_and_check


def test_a_sound_bundle_passes_all_checks(tmp_path: Path) -> None:
    hook, disabled = sys.excepthook, logging.root.manager.disable
    assert list(check_bundle(sound_bundle(tmp_path, TINY_UNET))) == [Finding(name) for name in CHECKS]
    assert (sys.excepthook, logging.root.manager.disable) == (hook, disabled)


@pytest.mark.parametrize("name", bundle_names())
def test_what_is_shipped_passes_all_checks(name: str, tmp_path: Path) -> None:
    assert list(check_bundle(find_bundle(name))) == [Finding(name) for name in CHECKS]

    # The stand-in for MONAI's schema, which is stricter, says the same of the metadata.
    shutil.copy(Path(__file__).with_name("metadata_schema.json"), tmp_path / "schema.json")
    verify_metadata(str(find_bundle(name) / "configs" / "metadata.json"), str(tmp_path / "schema.json"))


def test_absent_files(bundle: Path) -> None:
    for file in ("LICENSE", "docs/data_license.txt"):
        (bundle / file).unlink()
    assert (
        fault(bundle, "files") == f"There is no LICENSE and no docs/data_license.txt in {bundle}; add what is missing."
    )


def test_a_bundle_without_a_training_is_checked_as_far_as_it_goes(bundle: Path) -> None:
    (bundle / "configs" / "train.yaml").unlink()
    assert [finding.name for finding in check_bundle(bundle) if not finding.ok] == ["files"]
    assert names(bundle) == CHECKS


def test_an_empty_folder(tmp_path: Path) -> None:
    assert names(tmp_path) == ["files", "syntax", "content"]
    assert "no configs/metadata.json and no configs/inference.yaml" in fault(tmp_path, "files")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("metadata.json", "{", "configs/metadata.json cannot be read (JSONDecodeError: Expecting property"),
        ("metadata.json", "[1]", "configs/metadata.json holds no settings by name; repair it."),
        ("metadata.json", "[" * 100_000, "configs/metadata.json cannot be read (RecursionError"),
        ("inference.yaml", "a: [1", "configs/inference.yaml cannot be read (ParserError: while parsing"),
        ("train.yaml", "", "configs/train.yaml holds no settings by name; repair it."),
        ("evaluate.yaml", b"\xff\xfe\x00", "configs/evaluate.yaml cannot be read ("),
    ],
)
def test_files_that_cannot_be_read(bundle: Path, file: str, text: str | bytes, said: str) -> None:
    (bundle / "configs" / file).write_bytes(text.encode() if isinstance(text, str) else text)
    assert fault(bundle, "syntax").startswith(said)
    assert names(bundle) == ["files", "syntax", "content"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("intended_use", None, "There is no intended_use in configs/metadata.json; add what is missing."),
        ("authors", ["me"], 'authors in configs/metadata.json is ["me"]; make it text.'),
        ("references", "none", 'references in configs/metadata.json is "none"; make it a list.'),
        ("changelog", [], "changelog in configs/metadata.json is []; make it an object."),
        ("references", ["a", {}], "references in configs/metadata.json holds {}; make it text."),
    ],
)
def test_keys_of_the_metadata(metadata: Callable[..., str], key: str, value: Any, said: str) -> None:
    assert metadata("metadata", (key,), value) == said


def test_what_needs_sound_metadata_is_left_out(bundle: Path) -> None:
    change(bundle / "configs" / "metadata.json", ("changelog",), None)
    assert names(bundle) == ["files", "syntax", "metadata", "content"]


def test_name_and_version(metadata: Callable[..., str]) -> None:
    said = "The changelog in configs/metadata.json has no version 0.2.0; say there what is new in it."
    assert metadata("name and version", ("version",), "0.2.0") == said
    other = "configs/metadata.json names the bundle other, and its folder is polyp_masksup; rename one of them."
    assert metadata("name and version", ("name",), "other") == f"{said} {other}"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (IMAGE, None, "There is no network_data_format/inputs/image in configs/metadata.json; add it."),
        (PRED[:2], "pred", "There is no network_data_format/outputs/pred in configs/metadata.json; add it."),
        ((*PRED, "num_channels"), True, "num_channels in network_data_format/outputs/pred in configs/metadata.json is"),
        ((*IMAGE, "value_range"), None, "There is no value_range in network_data_format/inputs/image"),
        (
            (*IMAGE, "value_range"),
            [0, "1"],
            "value_range in network_data_format/inputs/image in configs/metadata.json h",
        ),
        (
            (*PRED, "spatial_shape"),
            [[]],
            "spatial_shape in network_data_format/outputs/pred in configs/metadata.json h",
        ),
        ((*IMAGE, "is_patch_data"), "no", "is_patch_data in network_data_format/inputs/image"),
        ((*PRED, "channel_def"), {"0": "polyp"}, "channel_def in network_data_format/outputs/pred"),
        ((*PRED, "num_channels"), 3, "channel_def in network_data_format/outputs/pred"),
        ((*PRED, "num_channels"), 10**15, "channel_def in network_data_format/outputs/pred"),
        ((*IMAGE, "channel_def"), {}, "channel_def in network_data_format/inputs/image"),
    ],
)
def test_data_format(metadata: Callable[..., str], place: tuple[str, ...], value: Any, said: str) -> None:
    assert metadata("data format", place, value).startswith(said)


def test_several_classes_have_a_channel_each(tmp_path: Path) -> None:
    bundle = colours_bundle(tmp_path / "polyp_masksup")
    said = fault(bundle, "data format")
    assert said.endswith("names 0, 1, 2, and num_channels is 1; name 0 to 1.")
    change(bundle / "configs" / "metadata.json", (*PRED, "num_channels"), 3)
    assert fault(bundle, "data format") == ""


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("pytorch_version", "99.0", "torch is 2."),
        ("monai_version", "newest", "configs/metadata.json asks for 'monai' in version 'newest', which cannot be;"),
        (
            "required_packages_version",
            {"no-such-package": "1.0"},
            "no-such-package, of which configs/metadata.json asks",
        ),
        ("required_packages_version", {"pillow": 9}, "configs/metadata.json asks for 'pillow' in version 9, which"),
        ("required_packages_version", {"": "1"}, "configs/metadata.json asks for '' in version '1', which"),
    ],
)
def test_packages(metadata: Callable[..., str], key: str, value: Any, said: str) -> None:
    assert metadata("packages", (key,), value).startswith(said)


def test_older_packages_may_be_asked_for(metadata: Callable[..., str]) -> None:
    assert metadata("packages", ("numpy_version",), "1.26") == ""


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({**CONV, "in_channels": 4}, "RuntimeError: Given groups=1"),
        ({**CONV, "out_channels": 2}, "ValueError: output channel number `2` doesn't match: `1`."),
        ({**CONV, "out_channels": "@nothing"}, "nothing"),
        ({**CONV, "depth": 2}, "TypeError: "),
        ({**CONV, "_target_": "no.such.Network"}, "no.such.Network"),
        ({**CONV, "_target_": f"{__name__}.Listing"}, "AttributeError: 'list' object has no attribute 'shape'"),
        ("$exit()", "SystemExit: "),
        (3, "AttributeError: 'int' object has no attribute 'to'"),
        (None, "'network_def'"),
    ],
)
def test_networks_that_are_not_what_the_metadata_say(bundle: Path, network: Any, said: str) -> None:
    for file in ("inference.yaml", "train.yaml"):
        change(bundle / "configs" / file, ("network_def",), network)
    found = fault(bundle, "network")
    assert found.startswith("network_def of configs/inference.yaml is not what configs/metadata.json says (")
    assert said in found and found.endswith("); change one of them.") and "\n" not in found


def test_what_needs_a_network_is_left_out(bundle: Path) -> None:
    change(bundle / "configs" / "inference.yaml", ("network_def",), 3)
    assert names(bundle) == [*CHECKS[:7], "content"]


def test_networks_of_training_and_inference_differ(bundle: Path) -> None:
    change(bundle / "configs" / "train.yaml", ("network_def", "padding"), 0)
    said = "network_def of configs/inference.yaml and of configs/train.yaml are not the same;"
    assert fault(bundle, "network").startswith(said)


def test_networks_that_torchscript_does_not_take(tmp_path: Path) -> None:
    bundle = sound_bundle(tmp_path, {**CONV, "_target_": f"{__name__}.Unscriptable"})
    found = fault(bundle, "TorchScript")
    assert found.startswith("The network is none for TorchScript (NotSupportedError: Compiled functions can't take")


def test_networks_that_torchscript_changes(tmp_path: Path) -> None:
    bundle = sound_bundle(tmp_path, {"_target_": f"{__name__}.Other"})
    said = "In TorchScript the network answers otherwise, by up to 0.25; take one that does not."
    assert fault(bundle, "TorchScript") == said


@pytest.mark.parametrize(
    ("file", "place", "value", "said"),
    [
        ("inference", ("dataset",), None, "lacks, or does not refer to, dataset; put"),
        ("train", ("train", "trainer"), None, "lacks, or does not refer to, trainer, max_epochs; put"),
        ("train", ("validate", "evaluator", "inferer"), "@other", "lacks, or does not refer to, val_inferer; put"),
        ("train", ("train", "handlers"), ["@tracker"], "is not as MONAI expects it (TypeError: "),
        (
            "inference",
            ("evaluator", "postprocessing"),
            compose(SIGMOID),
            "is not as MONAI expects it (AttributeError: ",
        ),
        ("inference", ("evaluator", "no_such"), 1, "cannot be made (TypeError: "),
        ("inference", ("inferer",), {"_target_": "NoInferer"}, "cannot be made (ModuleNotFoundError: "),
    ],
)
def test_properties(bundle: Path, file: str, place: tuple[str, ...], value: Any, said: str) -> None:
    change(bundle / "configs" / f"{file}.yaml", place, value)
    assert f"configs/{file}.yaml {said}" in fault(bundle, "properties")


def test_weights_of_another_network(bundle: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, bundle / "models" / "model.pt")
    assert "does not fit the network Conv2d: 'weight' is of shape (2,)" in fault(bundle, "weights")
    assert names(bundle) == [name for name in CHECKS if name != "prediction"]


def test_weights_that_run_code(bundle: Path) -> None:
    torch.save(torch.nn.Conv2d(3, 1, 1), bundle / "models" / "model.pt")
    assert fault(bundle, "weights").startswith(f"Cannot read {bundle / 'models' / 'model.pt'} as a checkpoint: ")


@pytest.mark.parametrize("file", ["configs/metadata.json", "models/model.json"])
def test_a_flipped_byte_in_the_weights(bundle: Path, file: str) -> None:
    weights = bundle / "models" / "model.pt"
    (bundle / "models" / "model.json").write_text("{}")
    change(bundle / file, ("weights_sha256",), sha256_of(weights))
    assert fault(bundle, "weights") == ""

    numbers = torch.load(weights, weights_only=True)["weight"].numpy().tobytes()
    content = bytearray(weights.read_bytes())
    content[content.index(numbers)] ^= 1  # which torch itself does not notice
    weights.write_bytes(content)
    said = f"models/model.pt does not have the weights_sha256 in {file}; get the right file or train again."
    assert fault(bundle, "weights") == said


THREEFOLD = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda mask: mask * 3"}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((SIGMOID, HALF), "The bundle polyp_masksup turns a picture of 240 × 192 into one of 64 × 64 pixels; repair"),
        ((SIGMOID, INVERT), "The bundle's postprocessing has no AsDiscreted, which decides; repair its inference"),
        (
            (SIGMOID, INVERT, {**HALF, "threshold": 0.0}, THREEFOLD),
            "A mask has class numbers without a name, 3; add them to configs/metadata.json, or repair",
        ),
    ],
)
def test_bundles_that_do_not_predict(tmp_path: Path, steps: tuple[Any, ...], said: str) -> None:
    bundle = sound_bundle(tmp_path, postprocessing=compose(*steps))
    assert fault(bundle, "prediction").startswith(said)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("docs/raw.dat", b"\x80\x04]\x94.", "docs/raw.dat is a pickle, which can run code when it is opened; take"),
        ("models/state.pkl", b"", "models/state.pkl is a pickle"),
        ("docs/model.pt", b"PK", "docs/model.pt is a pickle"),
        ("eval/checkpoint.pt", b"PK", ""),
        ("models/best.pt", b"PK", ""),
        ("configs/a.yaml", b"dir: /home/ada/data", "configs/a.yaml names the home folder /home/ada; write a path"),
        ("configs/a.yaml", b"dir: 'file:///Users/ada'", "configs/a.yaml names the home folder ///Users/ada;"),
        ("models/a.json", rb'{"a": "C:\\Users\\ada\\x"}', r"models/a.json names the home folder C:\\Users\\ada;"),
        ("configs/a.yaml", b"dir: /root/data", "configs/a.yaml names the home folder /root;"),
        ("configs/a.yaml", b"see: https://x.org/home/ada and ~/home/ada, /rooted/a, root/b", ""),
        ("docs/README.md", b"/home/ada", ""),
    ],
)
def test_content(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(content)
    found = fault(tmp_path, "content")
    assert found.startswith(said) and bool(found) == bool(said)


def test_large_files(tmp_path: Path) -> None:
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(25_000_000)
    assert fault(tmp_path, "content") == ""
    with (tmp_path / "large.bin").open("ab") as file:
        file.truncate(25_500_000)
    assert fault(tmp_path, "content") == "large.bin has 25.5 MB, and the zoo takes 25; put it elsewhere."


def test_command_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "check", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["polyp_masksup", *(f"  ok  {name}" for name in CHECKS)]

    (tmp_path / "empty").mkdir()
    assert main(["bundle", "check", str(tmp_path / "empty"), str(bundle)]) == 1
    found = capsys.readouterr()
    lines = found.out.splitlines()
    assert lines[0] == "empty" and lines[1].startswith("  no  files: There is no configs/metadata.json and no ")
    assert lines[2:5] == ["  ok  syntax", "  ok  content", "polyp_masksup"] and not found.err

    assert main(["bundle", "check", str(bundle), "no_such"]) == 1
    found = capsys.readouterr()
    assert found.err.startswith("Error: no_such is not a bundle:") and not found.out
