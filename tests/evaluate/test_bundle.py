"""`masksup evaluate --bundle` and `masksup occlusion`: the bundle predicts as its own inference.yaml does."""

import json

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from masksup_med.bundle import Bundle, Predictor, copy_bundle
from masksup_med.bundle.processing import Prediction, Prepared
from masksup_med.cli import main
from masksup_med.data import read_label
from masksup_med.errors import DataError
from masksup_med.evaluate.hiding import RATIOS
from masksup_med.evaluate.occlusion import measure_occlusion
from masksup_med.evaluate.predict import labelled_cases
from tests.bundle.bundles import SMALL_UNET, blank_copy, colours_bundle
from tests.evaluate.masks import read_rows, without_plots

SMALL = {"polyp": {"image_size": [64, 64]}, "gland": {"patch_size": [64, 64]}}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A function that gives a bundle for small pictures, with weights that nobody has trained."""
    folder = tmp_path_factory.mktemp("bundles")

    def bundle(task):
        path = folder / task
        if not path.exists():
            config = blank_copy(f"{task}_masksup", path, **SMALL_UNET, **SMALL[task]) / "configs" / "inference.yaml"
            parser = ConfigParser()
            parser.read_config(str(config))
            torch.manual_seed(0)
            network = parser.get_parsed_content("network_def")
            torch.save(network.state_dict(), path / "models" / "model.pt")
        return path

    return bundle


@pytest.fixture(scope="module")
def datalist(phantoms, tmp_path_factory):
    """A function that gives the datalist of a task's phantoms."""

    def datalist(task):
        path = tmp_path_factory.mktemp("lists") / f"{task}.json"
        assert main(["datalist", str(phantoms(task)), "-o", str(path), "--validation", "0.4"]) == 0
        return path

    return datalist


@pytest.mark.parametrize("task", ["polyp", "gland"])
def test_predicts_and_evaluates(bundles, datalist, phantoms, task, tmp_path):
    out = tmp_path / "out"
    arguments = ["--bundle", str(bundles(task)), "--datalist", str(datalist(task)), "--split", "validation"]
    assert main(["evaluate", *arguments, "-o", str(out), "--task", task, "--device", "cpu"]) == 0
    results = json.loads((out / "metrics.json").read_text())
    assert results["images"] == 4 and not results["grouped"] and results["counts"]["missing_predictions"] == 0
    assert "ece" in results["metrics"]
    written = sorted(path.name for path in (out / "predictions").iterdir())
    assert len(written) == 4 and written == sorted(path.name for path in (out / "probabilities").iterdir())
    # the same masks as `python -m monai.bundle run`
    workflow = ConfigWorkflow(
        config_file=str(bundles(task) / "configs" / "inference.yaml"),
        workflow_type="infer",
        logging_file=False,
        dataset_dir=str(phantoms(task) / "images"),
        output_dir=str(tmp_path / "monai"),
    )
    workflow.initialize()
    workflow.run()
    for name in written:
        ours, theirs = read_label(out / "predictions" / name), read_label(tmp_path / "monai" / name)
        probability = read_label(out / "probabilities" / name)
        assert np.array_equal(ours, theirs)
        assert probability.dtype == np.uint16
        assert np.array_equal(ours > 0, probability > 32767)
    # and the same figures as from those masks
    again = evaluate_files(out / "predictions", phantoms(task), tmp_path, "--task", task)
    assert again == {name: value for name, value in values(results).items() if name not in ("ece", "brier")}


def test_pranet_takes_the_map_not_the_mask(bundles, datalist, phantoms, tmp_path):
    out, protocol = tmp_path / "out", ("--task", "polyp", "--protocol", "pranet")
    arguments = ["--bundle", str(bundles("polyp")), "--datalist", str(datalist("polyp")), "--split", "validation"]
    with without_plots():
        assert main(["evaluate", *arguments, "-o", str(out), *protocol]) == 0
    found = values(json.loads((out / "metrics.json").read_text()))
    assert found == evaluate_files(out / "probabilities", phantoms("polyp"), tmp_path, *protocol)
    assert found != evaluate_files(out / "predictions", phantoms("polyp"), tmp_path, *protocol)


def values(results):
    return {name: metric["value"] for name, metric in results["metrics"].items()}


def evaluate_files(pred, phantoms, folder, *arguments):
    """The values for predictions in files, against the phantoms' labels."""
    labels = folder / "labels"
    labels.mkdir(exist_ok=True)
    for path in pred.iterdir():
        (labels / path.name).write_bytes((phantoms / "labels" / path.name).read_bytes())
    out = folder / "again"
    with without_plots():
        assert main(["evaluate", "--pred", str(pred), "--label", str(labels), "-o", str(out), *arguments]) == 0
    return values(json.loads((out / "metrics.json").read_text()))


def test_occlusion(bundles, datalist, tmp_path, capsys):
    arguments = ["--bundle", str(bundles("polyp")), "--datalist", str(datalist("polyp")), "--split", "validation"]
    assert main(["occlusion", *arguments, "-o", str(tmp_path)]) == 0
    printed, results = capsys.readouterr().out, json.loads((tmp_path / "occlusion.json").read_text())
    rows = read_rows(tmp_path / "occlusion.csv")
    assert len(rows) == 4 * 2 * len(RATIOS)
    for kind, curve in results["hidings"].items():
        of_kind = np.array([float(row["iou"]) for row in rows if row["hiding"] == kind]).reshape(4, len(RATIOS))
        assert curve["iou"] == pytest.approx(of_kind.mean(axis=0).tolist())
        assert curve["area"] == pytest.approx(np.trapezoid(of_kind.mean(axis=0), dx=0.1) / 0.9)
        assert curve["area_interval"][0] <= curve["area"] <= curve["area_interval"][1]
        assert f"{kind}: area {curve['area']:.4f}" in printed
    patch, scribble = results["hidings"]["patch"], results["hidings"]["scribble"]
    assert patch["iou"][0] == scribble["iou"][0] and patch["iou"] != scribble["iou"]


class Brightness(Predictor):
    """In place of a network: what is bright is foreground, so that it finds exactly what it sees."""

    def __init__(self, bundle):
        self.bundle = bundle

    def prepare(self, picture):
        return Prepared(torch.from_numpy((picture[..., 0].T > 0) * 2.0 - 1)[None], None)

    def infer(self, images):
        return torch.stack(images)

    def finish(self, prepared, logits):
        seen = logits[0].numpy().T
        return Prediction((seen > 0).astype(np.uint8), seen)


def test_occlusion_of_a_network_without_any_idea_of_shape(bundles, datalist, tmp_path):
    """One that finds what it sees falls off as what is hidden grows: its area is half of 1 and a bit."""
    cases = [case._replace(image=case.label) for case in labelled_cases(datalist("gland"), "training")]
    curve = measure_occlusion(Brightness(Bundle.open(bundles("polyp"))), cases, tmp_path)["hidings"]
    for kind in ("patch", "scribble"):
        assert curve[kind]["iou"] == pytest.approx([1 - ratio for ratio in RATIOS], abs=0.1)
        assert curve[kind]["area"] == pytest.approx(0.55, abs=0.03)


def test_occlusion_hides_the_same_again(bundles, datalist, tmp_path):
    cases = labelled_cases(datalist("polyp"), "validation")[:1]
    predictor = Predictor(Bundle.open(bundles("polyp")))
    results = [measure_occlusion(predictor, cases, tmp_path, seed) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]
    assert results[0]["hidings"]["patch"]["area_interval"] is None  # of one image there is none


def test_names_and_groups_hold_no_more_of_a_path_than_needed(phantoms, tmp_path):
    folder = phantoms("polyp")
    items = [
        {
            "image": str(folder / "images" / f"phantom_000{n}.png"),
            "label": str(folder / "labels" / f"phantom_000{n}.png"),
        }
        for n in range(3)
    ]
    (tmp_path / "list.json").write_text(json.dumps({"test": items}))
    cases = labelled_cases(tmp_path / "list.json", "test")
    assert [case.name for case in cases] == ["phantom_0000", "phantom_0001", "phantom_0002"]
    assert [case.group for case in cases] == [case.name for case in cases]
    (tmp_path / "list.json").write_text(json.dumps({"test": [*items, items[0]]}))
    with pytest.raises(DataError, match=r"phantom_0000\.png is in the list test of .* twice"):
        labelled_cases(tmp_path / "list.json", "test")


def test_labels_are_not_overwritten(bundles, phantoms, tmp_path, capsys):
    image, label = (phantoms("polyp") / part / "phantom_0000.png" for part in ("images", "labels"))
    own = tmp_path / "predictions" / "phantom_0000.png"
    own.parent.mkdir()
    own.write_bytes(label.read_bytes())
    (tmp_path / "list.json").write_text(json.dumps({"test": [{"image": str(image), "label": str(own)}]}))
    arguments = ["--bundle", str(bundles("polyp")), "--datalist", str(tmp_path / "list.json"), "-o", str(tmp_path)]
    assert main(["evaluate", *arguments, "--task", "polyp"]) == 1
    assert "is an image or label of the datalist" in capsys.readouterr().err
    assert own.read_bytes() == label.read_bytes()


@pytest.mark.parametrize(("text", "message"), [("a: [", "cannot be read"), ("a: 1", "has no device and no network")])
def test_damaged_bundle(datalist, text, message, tmp_path, capsys):
    bundle = copy_bundle("polyp_masksup", tmp_path / "bundle")
    (bundle / "configs" / "inference.yaml").write_text(text)
    arguments = ["--bundle", str(bundle), "--datalist", str(datalist("polyp")), "--split", "validation"]
    assert main(["occlusion", *arguments, "-o", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--bundle", "liver"], "liver is not a bundle"),
        (["--bundle", "blank"], "has no weights at"),
        (["--split", "test"], "no images for test"),
        (["--datalist", "none.json"], "There is no datalist"),
        (["--device", "cuda:77"], "There is no device cuda:77"),
        (["--device", "toaster"], "There is no device toaster"),
    ],
)
@pytest.mark.parametrize("verb", [["evaluate", "--task", "polyp"], ["occlusion"]])
def test_errors_are_one_sentence(bundles, datalist, verb, change, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blank_copy("polyp_masksup", tmp_path / "blank")
    arguments = ["--bundle", str(bundles("polyp")), "--datalist", str(datalist("polyp")), "--split", "validation"]
    assert main([*verb, *arguments, "-o", str(tmp_path / "out"), *change]) == 1
    err = capsys.readouterr().err
    assert "Error: " in err and message in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_damaged_image_is_the_readers_sentence(bundles, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"Cannot read image .*a\.png: it is no PNG"):
        Predictor(Bundle.open(bundles("polyp")))(tmp_path / "a.png")


BLUE_RED_GREEN = np.array([[0, 0, 255], [255, 0, 0], [0, 255, 0]], np.uint8)  # classes 0, 1 and 2


def of_classes(folder, values):
    """A bundle that knows its classes, and the arguments to evaluate it on what it gets right, but for one pixel."""
    bundle = colours_bundle(folder / "bundle")
    file = bundle / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "label_values": values}))
    classes = np.repeat(np.repeat([[0, 1], [2, 0]], 32, 0), 32, 1)
    for number in range(2):
        Image.fromarray(BLUE_RED_GREEN[classes]).save(folder / f"image{number}.png")
        label = classes.copy()
        label[0, 0] = number  # in the second picture, of another class
        Image.fromarray(np.array([[10, 20, 30], [255, 0, 0], [7, 7, 7]], np.uint8)[label]).save(
            folder / f"c{number}.png"
        )
        Image.fromarray(np.array([50, 90, 60], np.uint8)[label]).save(folder / f"n{number}.png")
    kind = "c" if isinstance(values[0], str) else "n"
    items = [{"image": str(folder / f"image{n}.png"), "label": str(folder / f"{kind}{n}.png")} for n in range(2)]
    (folder / "list.json").write_text(json.dumps({"validation": items}))
    arguments = ["--bundle", str(bundle), "--datalist", str(folder / "list.json"), "--split", "validation"]
    return [*arguments, "-o", str(folder / "out"), "--device", "cpu"]


@pytest.mark.parametrize("values", [[50, 90, 60], ["0a141e", "ff0000", "070707"]], ids=["numbers", "colours"])
def test_a_bundle_knows_its_classes_and_what_stands_for_them(tmp_path, values):
    assert main(["evaluate", *of_classes(tmp_path, values), "--task", "semantic"]) == 0
    results = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert results["counts"]["missing_predictions"] == 0 and results["images"] == 2
    found = json.dumps(results)
    assert "background" in found and "red" in found and "green" in found
    pixels = 2 * 64 * 64
    (accuracy,) = {value["value"] for key, value in results["metrics"].items() if "pixel_accuracy" in key}
    assert accuracy == pytest.approx((pixels - 1) / pixels, abs=1e-6)


def test_a_value_that_the_bundle_does_not_know(tmp_path, capsys):
    assert main(["evaluate", *of_classes(tmp_path, [50, 91, 60]), "--task", "semantic"]) == 1
    assert "n0.png has the value 90 at 1024 pixels" in capsys.readouterr().err


def test_a_bundle_whose_classes_are_not_listed(tmp_path, capsys):
    arguments = of_classes(tmp_path, [50, 90, 60])
    file = tmp_path / "bundle" / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "label_values": 3}))
    assert main(["evaluate", *arguments, "--task", "semantic"]) == 1
    assert "has 3 for label_values; list numbers or colours" in capsys.readouterr().err
