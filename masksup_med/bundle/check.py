"""What MONAI's model zoo asks of a bundle, and what people who get one rely on; checked without a network.

Example::

    for finding in check_bundle(Path("my_polyps")):
        print(finding.name, finding.fault or "ok")
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from monai.bundle.scripts import _get_fake_input_shape
from monai.utils.enums import BundlePropertyConfig

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.metadata import format_faults, identity_faults, key_faults, package_faults
from masksup_med.bundle.predictor import Predictor
from masksup_med.data.phantoms import polyp_phantom, write_phantoms
from masksup_med.errors import DataError, MaskSupError
from masksup_med.handlers.provenance import sha256_of
from masksup_med.networks.weights import load_weights

__all__ = ["Finding", "check_bundle"]

_METADATA = "configs/metadata.json"
_INFERENCE = "configs/inference.yaml"
_TRAIN = "configs/train.yaml"
_WEIGHTS = "models/model.pt"
_FILES = (_METADATA, _INFERENCE, _TRAIN, "LICENSE", "docs/README.md", "docs/data_license.txt")

_LARGEST = 25_000_000  # bytes of a file that the zoo takes
_HOME = re.compile(r"(?<![\w.~-])(?:[A-Za-z]:)?[/\\]+(?:(?:home|Users)[/\\]+\w[^\s'\"/\\]*|root(?=[/\\]))")
_PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt"}
_PICKLE_STARTS = {bytes([0x80, protocol]) for protocol in range(2, 6)}
_TOLERANCE = 1e-5  # of TorchScript


class Finding(NamedTuple):
    """What a check has found."""

    name: str
    fault: str = ""  # what is wrong, where, and what to do; empty if nothing is wrong

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.fault


class _Check(NamedTuple):
    name: str
    faults: Callable[[Path], Iterable[str]]  # sentences about what is wrong in a bundle's folder
    after: tuple[str, ...] = ()  # checks that must have passed, or this one could not run
    files: tuple[str, ...] = ()  # that must be there for the same reason


def check_bundle(folder: Path) -> Iterator[Finding]:
    """Check a bundle, one thing after another; whatever it holds, nothing is raised.

    What cannot be checked because of an earlier fault is left out.

    Args:
        folder: of the bundle. Its configs are followed, which can run any code that stands in them.
    """
    passed: set[str] = set()
    for check in _CHECKS:
        if passed.issuperset(check.after) and all((folder / file).is_file() for file in check.files):
            finding = Finding(check.name, " ".join(_faults(check, folder)))
            passed |= {check.name} if finding.ok else set()
            yield finding


def _faults(check: _Check, folder: Path) -> Iterator[str]:
    try:
        with _quiet():
            yield from check.faults(folder)
    except (Exception, SystemExit) as error:  # of any kind: a bundle can name anything
        yield _sentence(error) or f"This cannot be checked ({_reason(error)}); repair the bundle."


def _files(folder: Path) -> Iterator[str]:
    if absent := [file for file in _FILES if not (folder / file).is_file()]:
        yield f"There is no {' and no '.join(absent)} in {folder}; add what is missing."
    if not (folder / _WEIGHTS).is_file():
        yield f"There are no weights, {_WEIGHTS}; train it first."


def _syntax(folder: Path) -> Iterator[str]:
    for file in (_METADATA, *(str(path.relative_to(folder)) for path in sorted(folder.glob("configs/*.yaml")))):
        if (folder / file).is_file():
            with _explained(f"{file} cannot be read", "repair it"):
                content = ConfigParser.load_config_file(folder / file)
            if not isinstance(content, dict):
                yield f"{file} holds no settings by name; repair it."


def _network(folder: Path) -> Iterator[str]:
    files = [file for file in (_INFERENCE, _TRAIN) if (folder / file).is_file()]
    for file in files:
        with _explained(f"network_def of {file} is not what {_METADATA} says", "change one of them"):
            verify_net_in_out("network_def", str(folder / _METADATA), str(folder / file), device="cpu")
    definitions = [_without_start(ConfigParser.load_config_file(folder / file)["network_def"]) for file in files]
    if definitions[0] != definitions[-1]:
        yield f"network_def of {_INFERENCE} and of {_TRAIN} are not the same; copy the one that the weights are of."


def _without_start(definition: Any) -> Any:
    """A network's definition without the weights that it starts from, which only training needs."""
    return {k: v for k, v in definition.items() if k != "weights"} if isinstance(definition, dict) else definition


def _torchscript(folder: Path) -> Iterator[str]:
    parser = _parser(folder)
    network = parser.get_parsed_content("network_def").eval()
    image = torch.rand(_get_fake_input_shape(parser))  # of the shape that MONAI checks the network with
    with torch.no_grad(), _explained("The network is none for TorchScript", "take one that torch.jit.script takes"):
        scripted, plain = torch.jit.script(network)(image), network(image)
    if not torch.allclose(scripted, plain, rtol=_TOLERANCE, atol=_TOLERANCE):
        difference = (scripted - plain).abs().max()
        yield f"In TorchScript the network answers otherwise, by up to {difference:.2g}; take one that does not."


def _properties(folder: Path) -> Iterator[str]:
    for kind, file in (("infer", _INFERENCE), ("train", _TRAIN)):
        if (folder / file).is_file():
            with _explained(f"{file} is not as MONAI expects it", 'refer to parts as in "@postprocessing"'):
                wrong = _initialized(_Unbuilt, folder / file, kind).check_properties()
            if wrong:
                yield f"{file} lacks, or does not refer to, {', '.join(wrong)}; put them where MONAI looks for them."
    with TemporaryDirectory() as pictures, _explained(f"The evaluator of {_INFERENCE} cannot be made", "repair it"):
        write_phantoms("polyp", pictures, count=1, size=(64, 64))
        places = {"dataset_dir": f"{pictures}/images", "output_dir": f"{pictures}/masks", "device": "cpu"}
        _ = _initialized(ConfigWorkflow, folder / _INFERENCE, "infer", **places).evaluator  # made, not only there


class _Unbuilt(ConfigWorkflow):
    """Looks its properties up without making them, for which a training would need its data."""

    def _get_property(self, name: str, property: dict) -> Any:
        if property[BundlePropertyConfig.ID] not in self.parser:
            raise AttributeError(name)  # which counts as missing, where MONAI's own KeyError would end the check
        return self.parser[property[BundlePropertyConfig.ID]]


def _initialized(workflow: type[ConfigWorkflow], file: Path, kind: str, **settings: str) -> ConfigWorkflow:
    """A workflow ready but for its ``initialize``, which changes its program: its seeds, how its errors show."""
    made = workflow(str(file), logging_file=False, init_id="nothing", workflow_type=kind, **settings)
    made.initialize()
    return made


def _weights(folder: Path) -> Iterator[str]:
    load_weights(folder / _WEIGHTS, _parser(folder).get_parsed_content("network_def"))
    digest, passport = sha256_of(folder / _WEIGHTS), "models/model.json"
    for file in (_METADATA, passport):
        if (folder / file).is_file():
            with _explained(f"{file} cannot be read", "repair it"):
                wanted = ConfigParser.load_config_file(folder / file).get("weights_sha256", digest)
            if wanted != digest:
                yield f"{_WEIGHTS} does not have the weights_sha256 in {file}; get the right file or train again."


def _prediction(folder: Path) -> Iterator[str]:
    bundle, (picture, _) = Bundle(folder), polyp_phantom((192, 240), np.random.default_rng(0))
    classes = Predictor(bundle, "cpu")(picture).classes
    if classes.shape != picture.shape[:2]:
        yield f"The mask of a picture of shape {picture.shape[:2]} has the shape {classes.shape}; repair {_INFERENCE}."
    if unknown := sorted({int(number) for number in np.unique(classes)} - {0, *bundle.classes}):
        numbers = ", ".join(map(str, unknown))
        yield f"A mask has class numbers without a name, {numbers}; add them to {_METADATA}, or repair {_INFERENCE}."


def _content(folder: Path) -> Iterator[str]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        file = path.relative_to(folder).as_posix()
        if file.startswith("eval/"):  # what trainings leave, which is not part of the bundle, and not copied with it
            continue
        if (size := path.stat().st_size) > _LARGEST:
            yield f"{file} has {size / 1e6:.1f} MB, and the zoo takes {_LARGEST / 1e6:.0f}; put it elsewhere."
        if not re.fullmatch(r"models/[^/]+\.pt", file) and _is_pickle(path):
            yield f"{file} is a pickle, which can run code when it is opened; take it out of the bundle."
        if path.suffix in {".yaml", ".yml", ".json"} and (home := _HOME.search(path.read_text("utf-8", "replace"))):
            yield f"{file} names the home folder {home.group()}; write a path that others have, too."


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix in _PICKLES or file.read(2) in _PICKLE_STARTS


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _METADATA).read_text(encoding="utf-8"))


def _parser(folder: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(folder / _INFERENCE))
    parser.read_meta(str(folder / _METADATA))
    return parser


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Say of any error where it came from and what to do."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise DataError(_sentence(error) or f"{what} ({_reason(error)}); {remedy}.") from error


def _sentence(error: BaseException | None) -> str:
    """What the project itself says about an error or one of its causes."""
    return str(MaskSupError.among(error) or "")


def _reason(error: BaseException) -> str:
    """The first line of what was at the bottom of an error, which MONAI wraps in others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MONAI and torch from talking between the lines of a report."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


_CHECKS = (
    _Check("files", _files),
    _Check("syntax", _syntax),
    _Check("metadata", lambda folder: key_faults(_read(folder)), ("syntax",), (_METADATA,)),
    _Check("name and version", lambda folder: identity_faults(_read(folder), folder.resolve().name), ("metadata",)),
    _Check("data format", lambda folder: format_faults(_read(folder)), ("metadata",)),
    _Check("packages", lambda folder: package_faults(_read(folder)), ("metadata",)),
    _Check("network", _network, ("data format",), (_INFERENCE,)),
    _Check("TorchScript", _torchscript, ("network",)),
    _Check("properties", _properties, ("network",)),
    _Check("weights", _weights, ("network",), (_WEIGHTS,)),
    _Check("prediction", _prediction, ("weights",)),
    _Check("content", _content),
)
