"""Bundles that are opened, and predict in Python what `python -m monai.bundle run` writes."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from masksup_med.bundle import Bundle, Predictor
from masksup_med.errors import CheckpointError, DataError, MaskSupError, MissingDataError, SettingError
from tests.bundle.bundles import (
    HALF,
    INVERT,
    SAVE,
    SIGMOID,
    SMALL_UNET,
    TINY_UNET,
    Step,
    blank_copy,
    brightness_bundle,
    colours_bundle,
    compose,
    processing,
    stock_masks,
    write_bundle,
)

pytestmark = pytest.mark.filterwarnings("ignore")
POLYP_INFERENCE = Path("configs") / "inference.yaml"


def picture_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def shipped(folder: Path) -> Callable[[str], Path]:
    """A function that gives the shipped bundle of a task for small pictures, with weights that nobody has trained."""

    def bundle(task: str) -> Path:
        path = folder / f"shipped_{task}"
        if not path.exists():
            size = {"polyp": "image_size", "gland": "patch_size"}[task]
            blank_copy(f"{task}_masksup", path, **SMALL_UNET, **{size: [64, 64]})
            torch.manual_seed(0)
            torch.save(parser_of(path).get_parsed_content("network_def").state_dict(), path / "models" / "model.pt")
        return path

    return bundle


def parser_of(bundle: Path) -> Any:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle / POLYP_INFERENCE))
    return parser


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    return brightness_bundle(folder / "small", **processing())


def changed(bundle: Path, target: Path, change: Callable[[Step], Any]) -> Path:
    """A copy of a bundle with another inference.yaml."""
    shutil.copytree(bundle, target)
    config = yaml.safe_load((target / POLYP_INFERENCE).read_text(encoding="utf-8"))
    change(config)
    (target / POLYP_INFERENCE).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return target


def steps_of(config: Step, key: str = "postprocessing") -> list[Step]:
    return config[key]["transforms"]


# what a bundle says about itself


def test_a_bundle_is_opened_by_its_folder_or_name(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (small, str(small)):
        assert Bundle.open(place).folder == small
    monkeypatch.chdir(small.parent)
    assert Bundle.open(small.name).name == "small"
    monkeypatch.chdir(small)
    assert Bundle.open(".").name == "small"
    assert Bundle.open("polyp_masksup").name == "polyp_masksup"  # which comes with the package
    with pytest.raises(MissingDataError, match="liver is not a bundle"):
        Bundle.open("liver")


def test_classes_are_those_of_the_metadata_but_the_background(small: Path, folder: Path) -> None:
    assert Bundle.open(small).classes == {1: "bright"}
    assert Bundle.open(colours_bundle(folder / "colours")).classes == {1: "red", 2: "green"}
    many = write_bundle(folder / "many", classes=[f"class {number}" for number in range(1, 13)])
    assert Bundle.open(many).classes == {number: f"class {number}" for number in range(1, 13)}


def test_limit_of_pixels(small: Path, tmp_path: Path) -> None:
    assert Bundle.open(small).max_pixels == math.inf
    limited = changed(small, tmp_path / "a", lambda config: config.update(max_pixels="$@image_size[0] * 100"))
    assert Bundle.open(limited).max_pixels == 6400


PLAIN = {key: value for key, value in SAVE.items() if key != "scale"}


@pytest.mark.parametrize(
    ("last", "scale"),
    [([], 1), ([SAVE], 255), ([{**SAVE, "scale": 1}], 1), ([PLAIN], 1)],
    ids=["none", "255", "1", "plain"],
)
def test_scale_of_masks(small: Path, tmp_path: Path, last: list[Step], scale: int) -> None:
    bundle = changed(small, tmp_path / "a", lambda config: steps_of(config).extend(last))
    assert Bundle.open(bundle).mask_scale == scale


@pytest.mark.parametrize(
    ("change", "scale"),
    [
        (lambda config: steps_of(config).append({**SAVE, "scale": None}), 1),
        (lambda config: (config.update(grey=255), steps_of(config).append({**SAVE, "scale": "@grey"})), 255),
        (lambda config: steps_of(config).append({**SAVE, "_target_": "monai.transforms.SaveImaged"}), 255),
        (lambda config: config.update(last=compose(SIGMOID, INVERT, HALF, SAVE), postprocessing="@last"), 255),
    ],
    ids=["None", "a reference", "full name", "elsewhere"],
)
def test_scale_of_masks_however_it_is_written(
    small: Path, tmp_path: Path, change: Callable[[Step], Any], scale: int
) -> None:
    assert Bundle.open(changed(small, tmp_path / "a", change)).mask_scale == scale


# hashes: what a prediction depends on, and nothing else


def test_weights_hash(small: Path) -> None:
    content = (small / "models" / "model.pt").read_bytes()
    assert Bundle.open(small).weights_sha256 == hashlib.sha256(content).hexdigest()


MATTERS: dict[str, Callable[[Step], Any]] = {
    "image_size": lambda config: config.update(image_size=[64, 96]),
    "threshold": lambda config: steps_of(config)[2].update(threshold=0.4),
    "channels": lambda config: config["network_def"].update(channels=[4, 16]),
    "max_pixels": lambda config: config.update(max_pixels=1000),
    "scaling": lambda config: config["scale_intensity"].update(b_min=0),
    "inferer": lambda config: config.update(inferer={"_target_": "SlidingWindowInferer", "roi_size": [32, 32]}),
    "scale of masks": lambda config: steps_of(config)[3].update(scale=1),
    "what a reference of a reference says": lambda config: config.update(side=96, image_size=["@side", "@side"]),
}
MATTERS_NOT: dict[str, Callable[[Step], Any]] = {
    "device": lambda config: config.update(device="cuda:1"),
    "output_dir": lambda config: config.update(output_dir="/somewhere/else"),
    "dataset_dir": lambda config: config.update(dataset_dir="/somewhere/else"),
    "num_workers": lambda config: config.update(num_workers=4),
    "handlers": lambda config: config.update(handlers=[]),
    "something new": lambda config: config.update(remark="of no consequence"),
    "order of parameters": lambda config: config.update(network_def=dict(reversed(config["network_def"].items()))),
    "order of keys": lambda config: (items := list(config.items()), config.clear(), config.update(reversed(items))),
}


@pytest.fixture(scope="module")
def unet(folder: Path) -> Path:
    return write_bundle(folder / "unet")


@pytest.mark.parametrize("name", MATTERS)
def test_settings_hash_tells_what_matters(unet: Path, tmp_path: Path, name: str) -> None:
    before, after = Bundle.open(unet), Bundle.open(changed(unet, tmp_path / "a", MATTERS[name]))
    assert before.settings_sha256 != after.settings_sha256
    assert before.weights_sha256 == after.weights_sha256


def test_settings_hash_follows_references_to_their_end(unet: Path, tmp_path: Path) -> None:
    def side(value: int) -> Callable[[Step], Any]:
        return lambda config: config.update(side=value, sides=["@side", "@side"], image_size="@sides")

    hashes = {Bundle.open(changed(unet, tmp_path / f"{value}", side(value))).settings_sha256 for value in (64, 96)}
    assert len(hashes) == 2


@pytest.mark.parametrize("name", MATTERS_NOT)
def test_settings_hash_leaves_out_what_does_not_matter(unet: Path, tmp_path: Path, name: str) -> None:
    bundle = Bundle.open(changed(unet, tmp_path / "another place", MATTERS_NOT[name]))
    assert bundle.settings_sha256 == Bundle.open(unet).settings_sha256


def test_settings_hash_leaves_out_comments_and_the_device_it_ran_on(unet: Path, tmp_path: Path) -> None:
    shutil.copytree(unet, tmp_path / "a")
    file = tmp_path / "a" / POLYP_INFERENCE
    file.write_text("# a remark\n" + file.read_text(encoding="utf-8").replace("\n", "  # and another\n", 1), "utf-8")
    bundle = Bundle.open(tmp_path / "a")
    Predictor(bundle, "cpu")
    assert bundle.settings_sha256 == Bundle.open(unet).settings_sha256
    assert len(bundle.settings_sha256) == 64 and int(bundle.settings_sha256, 16)


# errors


def check_one_sentence(error: BaseException) -> None:
    text = str(error)
    assert "\n" not in text and text.endswith(".") and ". " not in text.replace("here. ", "")


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("models/model.pt", None, MissingDataError, "has no weights at .*; train it first"),
        ("models/model.pt", b"no weights", CheckpointError, r"Cannot read .*model\.pt"),
        ("configs/inference.yaml", None, DataError, r"inference\.yaml.*repair"),
        ("configs/inference.yaml", b"a: [", DataError, r"inference\.yaml cannot be read .*; repair the bundle"),
        ("configs/inference.yaml", b"a: 1", DataError, "has no device and no network and no ckpt_path"),
        ("configs/metadata.json", b"{", DataError, r"metadata\.json does not name the classes"),
        ("configs/metadata.json", b"[]", DataError, r"metadata\.json does not name the classes"),
        ("configs/metadata.json", b"\xff\xfe", DataError, r"metadata\.json does not name the classes"),
        ("configs/metadata.json", b'{"network_data_format": {}}', DataError, "channel_def"),
        pytest.param(
            "configs/inference.yaml", b"", DataError, "inference.yaml",
        ),
        pytest.param(
            "configs/inference.yaml", b"words", DataError, "inference.yaml",
        ),
    ],
)  # fmt: skip
def test_damaged_bundle(
    small: Path, tmp_path: Path, file: str, content: bytes | None, error: type[MaskSupError], message: str
) -> None:
    bundle = shutil.copytree(small, tmp_path / "bundle")
    (bundle / file).unlink()
    if content is not None:
        (bundle / file).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        Predictor(Bundle.open(bundle))
    if error is not CheckpointError:  # torch's own words are several
        check_one_sentence(caught.value)


def test_channel_def_of_other_things_is_refused(small: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(small, tmp_path / "bundle")
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text(encoding="utf-8"))
    for wrong in ({"one": "polyp"}, ["polyp"], None):
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = wrong
        file.write_text(json.dumps(metadata), encoding="utf-8")
        with pytest.raises(DataError, match="channel_def") as caught:
            Bundle.open(bundle)
        check_one_sentence(caught.value)


def test_weights_of_another_network_are_refused(small: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(small, tmp_path / "bundle")
    torch.save(torch.nn.Conv2d(3, 2, 1).state_dict(), bundle / "models" / "model.pt")
    with pytest.raises(CheckpointError, match=r"does not fit the network Conv2d: 'weight' is of shape \(2, 3, 1, 1\)"):
        Predictor(Bundle.open(bundle))


@pytest.mark.parametrize("device", ["toaster", "cuda:77", "meta", ""])
def test_unknown_device(small: Path, device: str) -> None:
    with pytest.raises(SettingError, match=f"There is no device {device} here; give cpu") as caught:
        Predictor(Bundle.open(small), device)
    check_one_sentence(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda config: steps_of(config, "preprocessing")[1].update(_target_="Unheard"), id="transform"),
        pytest.param(lambda config: steps_of(config, "preprocessing")[2].update(b_max="@nowhere"), id="reference"),
        pytest.param(lambda config: steps_of(config, "preprocessing")[2].update(colour=3), id="parameter"),
        pytest.param(lambda config: config["network_def"].update(colour=3), id="network"),
        pytest.param(lambda config: config.update(ckpt_path="$@nowhere"), id="ckpt_path"),
        pytest.param(lambda config: config.update(preprocessing=compose()), id="no preprocessing"),
        pytest.param(lambda config: config.update(max_pixels=0), id="max_pixels 0"),
        pytest.param(lambda config: config.update(max_pixels=None), id="max_pixels None"),
    ],
)  # fmt: skip
def test_bundle_that_cannot_be_followed(small: Path, tmp_path: Path, change: Callable[[Step], Any]) -> None:
    with pytest.raises(MaskSupError):
        Predictor(Bundle.open(changed(small, tmp_path / "a", change)))(picture_of(3, 3))


def test_transform_that_is_an_expression(small: Path, tmp_path: Path) -> None:
    """As MONAI allows; LinearProcessing does not know it and should leave it to MONAI."""
    flip = "$monai.transforms.Flipd('image', 0)"
    bundle = changed(small, tmp_path / "a", lambda config: steps_of(config, "preprocessing").insert(2, flip))
    picture = picture_of(5, 4)
    np.testing.assert_array_equal(
        Predictor(Bundle.open(bundle))(picture).classes, picture.sum(axis=-1, dtype=int) > 382
    )


# predictions


def test_three_lines_of_python(small: Path, tmp_path: Path) -> None:
    picture = picture_of(5, 9)
    Image.fromarray(picture).save(tmp_path / "frame.png")
    bundle = Bundle.open(small)
    predictor = Predictor(bundle)
    prediction = predictor(tmp_path / "frame.png")
    np.testing.assert_array_equal(prediction.classes, picture.sum(axis=-1, dtype=int) > 382)
    expected = 1 / (1 + np.exp(-20 * (picture.sum(axis=-1) / 127.5 - 3)))
    np.testing.assert_allclose(prediction.probability, expected, atol=1e-5)
    assert (prediction.classes.dtype, prediction.probability.dtype) == (np.uint8, np.float32)
    assert bundle.classes[1] == "bright"


def test_several_classes(folder: Path) -> None:
    predictor, picture = Predictor(Bundle.open(colours_bundle(folder / "three"))), picture_of(30, 40)
    prediction, order = predictor(picture), picture[..., [2, 0, 1]]
    np.testing.assert_array_equal(prediction.classes, order.argmax(axis=-1))
    powers = np.exp(4 * (order / 127.5 - 1))
    np.testing.assert_allclose(prediction.probability, (powers.max(axis=-1) / powers.sum(axis=-1)), atol=1e-5)


@pytest.mark.parametrize("task", ["polyp", "gland"])
def test_path_and_array_and_stock_bundle_give_the_same(
    shipped: Callable[[str], Path], phantoms: Callable[[str], Path], task: str, tmp_path: Path
) -> None:
    images = phantoms(task) / "images"
    predictor, stock = (
        Predictor(Bundle.open(shipped(task)), "cpu"),
        stock_masks(shipped(task), images, tmp_path / "masks"),
    )
    assert len(stock) == 10 and len({mask.tobytes() for mask in stock.values()}) == 10
    assert 0 < np.mean([*stock.values()]) < 255
    for name, mask in stock.items():
        path = images / f"{name}.png"
        by_path, by_text = predictor(path), predictor(str(path))
        by_array = predictor(np.asarray(Image.open(path)))
        for prediction in (by_path, by_text, by_array):
            np.testing.assert_array_equal(prediction.classes * np.uint8(255), mask)
            np.testing.assert_array_equal(prediction.probability, by_path.probability)


def test_place_and_neighbours_in_a_batch_change_no_bit(shipped: Callable[[str], Path]) -> None:
    predictor = Predictor(Bundle.open(shipped("polyp")), "cpu")
    images = [predictor.prepare(picture_of(50 + seed, 70, seed)).image for seed in range(4)]
    together = predictor.infer(images)
    assert together.shape == (4, 1, 1, 64, 64) and together.device.type == "cpu" and together.dtype == torch.float32
    for order in ([3, 2, 1, 0], [1, 1, 1, 1], [2, 0, 3, 3]):
        assert torch.equal(predictor.infer([images[number] for number in order]), together[order])
    alone = torch.stack([predictor.infer([image])[0] for image in images])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)  # another number at once may change the last digits


@pytest.mark.parametrize("task", ["polyp", "gland"])
def test_eight_threads_at_once(shipped: Callable[[str], Path], task: str) -> None:
    predictor = Predictor(Bundle.open(shipped(task)), "cpu")
    pictures = [picture_of(40 + 7 * (seed % 5), 30 + 11 * (seed % 3), seed) for seed in range(32)]

    def predict(picture: np.ndarray) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        prepared = predictor.prepare(picture)
        prediction = predictor.finish(prepared, logits_of(prepared.image))
        return prepared.image, prediction.classes, prediction.probability

    def logits_of(image: torch.Tensor) -> torch.Tensor:
        return image.sum(0, keepdim=True)[None]  # the network is in one thread alone

    expected = [predict(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(predict, pictures * 4))
    for one, other in zip(found, expected * 4, strict=True):
        assert torch.equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])


def test_prepare_infer_and_finish_are_the_call(shipped: Callable[[str], Path]) -> None:
    predictor, picture = Predictor(Bundle.open(shipped("gland")), "cpu"), picture_of(61, 83)
    prepared = predictor.prepare(picture)
    prediction = predictor.finish(prepared, predictor.infer([prepared.image])[0])
    np.testing.assert_array_equal(prediction.probability, predictor(picture).probability)
    np.testing.assert_array_equal(prediction.classes, prediction.probability >= 0.5)


def test_which_inferers_take_whole_pictures(shipped: Callable[[str], Path]) -> None:
    assert Predictor(Bundle.open(shipped("polyp")), "cpu").takes_whole_pictures
    assert not Predictor(Bundle.open(shipped("gland")), "cpu").takes_whole_pictures


@pytest.mark.parametrize("device", [None, "auto", "cpu"])
def test_device(shipped: Callable[[str], Path], device: str | None) -> None:
    predictor = Predictor(Bundle.open(shipped("polyp")), device)
    assert predictor.device.type == ("cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda")
    assert next(predictor.network.parameters()).device.type == predictor.device.type
    assert not predictor.network.training


def test_pictures_that_are_views_are_not_changed(small: Path) -> None:
    whole = picture_of(20, 30)
    view, before = whole[2:17:3, ::-2], whole.copy()
    np.testing.assert_array_equal(Predictor(Bundle.open(small))(view).classes, view.sum(axis=-1, dtype=int) > 382)
    np.testing.assert_array_equal(whole, before)


def test_unreadable_images_are_the_readers_sentences(small: Path, tmp_path: Path) -> None:
    predictor = Predictor(Bundle.open(small))
    with pytest.raises(MissingDataError, match=r"There is no image file .*a\.png"):
        predictor(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"Cannot read image .*a\.png: it is no PNG"):
        predictor(tmp_path / "a.png")


def test_weights_are_those_of_the_bundle_whatever_was_opened_before(tmp_path: Path) -> None:
    first, second = (write_bundle(tmp_path / name, TINY_UNET) for name in ("first", "second"))
    torch.manual_seed(1)
    other = {key: torch.randn_like(value) for key, value in torch.load(second / "models" / "model.pt").items()}
    torch.save(other, second / "models" / "model.pt")
    picture = picture_of(40, 40)
    maps = [Predictor(Bundle.open(bundle))(picture).probability for bundle in (first, second, first)]
    np.testing.assert_array_equal(maps[0], maps[2])
    assert np.abs(maps[0] - maps[1]).max() > 0.01
