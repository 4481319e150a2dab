"""The bundle that is written: whole, of one mind in all its files, and silent on other people's data."""

import itertools
import json
import re

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from masksup_med.bundle.location import find_bundle, overlay_names
from masksup_med.bundle.metadata import format_faults, identity_faults, key_faults, package_faults
from masksup_med.errors import SettingError
from masksup_med.train.choices import Wishes, choose
from masksup_med.train.compose import compose
from tests.train.made import drawn, noise, squares, surveyed, write

ONE, SEVERAL = drawn("lesion"), drawn("vein", "artery", kind="values", values=(0, 127, 255))
COLOURS = drawn("vein", "artery", kind="values", values=("000000", "ff0000", "0000ff"))
ONE_BY_VALUE = drawn("vein", kind="values", values=(0, 7))
LABELS = {"one": ONE, "several": SEVERAL, "colours": COLOURS, "one by value": ONE_BY_VALUE}
DIAMETERS = {"whole": 40, "patches": 3}
CONFIGS = ("train.yaml", "pretrain.yaml", "inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml")


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    image, label = (str(write(folder / f"{name}.png", pixels)) for name, pixels in (("i", noise(0)), ("l", squares(1))))
    return {name: [{"image": image, "label": label, "group": "a"}] for name in ("training", "validation")}


@pytest.fixture
def composed(lists, tmp_path):
    """A function that writes a bundle and returns its settings, by file."""

    def make(labels=ONE, diameter=40, levels=(0, 255), **wishes):
        shares = (1 - 0.1 * len(labels.names), *[0.1] * len(labels.names))
        seen = surveyed(diameter=diameter, drawn=labels, shares=shares, levels=levels)
        base, choices = choose(seen, 10, Wishes(**wishes))
        compose(tmp_path / "mine", "mine", base, labels, choices, Wishes(**wishes), lists)
        return {file: yaml.safe_load((tmp_path / "mine" / "configs" / file).read_text()) for file in CONFIGS}

    return make


def channels(labels):
    return 1 if len(labels.names) == 1 else len(labels.names) + 1


@pytest.mark.parametrize("labels", [ONE, SEVERAL], ids=["one", "several"])
@pytest.mark.parametrize("network", overlay_names("network"))
def test_every_network_is_the_same_in_both_configs_and_can_be_made(network, labels, composed):
    configs = composed(labels, network=network)
    definition = configs["train.yaml"]["network_def"]
    assert definition == configs["inference.yaml"]["network_def"]
    assert definition["out_channels"] == channels(labels)
    with torch.device("meta"):
        made = ConfigParser({"imports": ["$import masksup_med"], "network_def": definition})
        made = made.get_parsed_content("network_def")
        assert made.eval()(torch.zeros(1, 3, 128, 128)).shape == (1, channels(labels), 128, 128)


@pytest.mark.parametrize(
    ("paradigm", "diameter", "labels"), itertools.product(overlay_names("paradigm"), DIAMETERS, LABELS)
)
def test_every_paradigm_is_followed(paradigm, diameter, labels, composed):
    configs = composed(LABELS[labels], DIAMETERS[diameter], paradigm=paradigm)
    train, inference = configs["train.yaml"], configs["inference.yaml"]
    weights = [train[f"{name}_weight"] > 0 for name in ("segmentation", "context", "similarity")]
    assert weights == [True, paradigm in ("context", "masksup"), paradigm == "masksup"]
    size = "image_size" if diameter == "whole" else "patch_size"
    assert train[size] == inference[size] and all(side % 32 == 0 and side >= 64 for side in train[size])
    assert train.get("pixel_scale") == inference.get("pixel_scale")
    assert train["dataset_dir"] == "$@bundle_root + '/configs/datalist.json'"


def transforms(steps):
    return {step["_target_"]: step for step in steps if isinstance(step, dict)}


@pytest.mark.parametrize("diameter", DIAMETERS)
@pytest.mark.parametrize("labels", LABELS)
def test_labels_are_read_and_decided_on_as_they_are_drawn(labels, diameter, composed):
    labels = LABELS[labels]
    configs = composed(labels, DIAMETERS[diameter])
    train, steps = configs["train.yaml"], transforms(configs["inference.yaml"]["postprocessing"]["transforms"])
    several, by_value = len(labels.names) > 1, labels.kind == "values"
    assert ("ClassFileReader" in str(train["load"])) == by_value
    assert ("ForegroundLabeld" in str(train["load"])) != by_value
    assert train.get("label_values") == (list(labels.values) or None)
    assert ("softmax" in train["loss"]["segmentation_loss"]) == several
    assert steps["Activationsd"].get("softmax", False) == several
    assert steps["AsDiscreted"].get("argmax", False) == several
    assert ("threshold" in steps["AsDiscreted"]) != several and ("scale" in steps["SaveImaged"]) != several
    if several:
        assert train["classes"] == channels(labels)
    metadata = json.loads((configs_of(composed) / "metadata.json").read_text())
    assert metadata.get("label_values", []) == list(labels.values)


def configs_of(composed):
    return composed.__closure__[1].cell_contents / "mine" / "configs"


def test_intensities_are_the_same_in_both_configs(composed):
    configs = composed(levels=(20, 90))
    assert configs["train.yaml"]["scale_intensity"] == configs["inference.yaml"]["scale_intensity"]
    assert configs["train.yaml"]["scale_intensity"]["a_max"] in (88, 89, 90)


@pytest.mark.parametrize("diameter", DIAMETERS)
@pytest.mark.parametrize("labels", LABELS)
def test_metadata_has_no_fault(labels, diameter, composed):
    composed(LABELS[labels], DIAMETERS[diameter])
    metadata = json.loads((configs_of(composed) / "metadata.json").read_text())
    faults = [*key_faults(metadata), *identity_faults(metadata, "mine"), *format_faults(metadata)]
    assert [*faults, *package_faults(metadata)] == []
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == channels(LABELS[labels])
    assert set(LABELS[labels].names) <= set(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())


FOREIGN = re.compile(
    r"polyp|gland|colon|tissue|frame|endoscop|patholog|histolog|mucosa|kvasir|clinicdb|glas\b|H&E", re.IGNORECASE
)


@pytest.mark.parametrize("diameter", DIAMETERS)
@pytest.mark.parametrize("labels", LABELS)
def test_no_word_of_other_data_is_left(labels, diameter, composed):
    composed(LABELS[labels], DIAMETERS[diameter])
    folder = configs_of(composed).parent
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name not in ("LICENSE", "datalist.json")
    )
    assert {path.name for path in files} == {*CONFIGS, "metadata.json", "logging.conf", "data_license.txt"}
    found = {path.name: FOREIGN.findall(path.read_text(encoding="utf-8")) for path in files}
    assert not any(found.values()), found


@pytest.mark.parametrize("diameter", DIAMETERS)
def test_headers_name_the_bundle(diameter, composed):
    composed(diameter=DIAMETERS[diameter])
    for file in CONFIGS:
        header = (configs_of(composed) / file).read_text().partition("\n\n")[0]
        assert f"mine/configs/{'train.yaml' if file != 'inference.yaml' else file}" in header
        assert "masksup/" not in header and "bundles/" not in header


def test_the_datalist_moves_with_the_data(lists, composed):
    composed()
    written = json.loads((configs_of(composed) / "datalist.json").read_text())
    assert not written["training"][0]["image"].startswith("/")
    assert (configs_of(composed) / written["training"][0]["image"]).resolve().samefile(lists["training"][0]["image"])


@pytest.mark.parametrize(
    "wishes", [{"network": "u_net"}, {"paradigm": "mask"}, {"network": ""}, {"network": "../paradigm/baseline"}]
)
def test_what_there_is_not_is_refused(wishes, composed):
    with pytest.raises(SettingError, match=f"There is no {next(iter(wishes))}"):
        composed(**wishes)


@pytest.mark.parametrize("name", ["no", "1e3", "a: b", "# b", 'it\'s "so"', "Läsion", "null", "{x}"])
def test_names_of_any_kind_come_back(name, composed):
    labels = drawn(name, "other", kind="values", values=(0, 1, 2))
    composed(labels)
    metadata = json.loads((configs_of(composed) / "metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {
        "0": "background",
        "1": name,
        "2": "other",
    }


@pytest.mark.parametrize(
    "values", [("00e100", "001234", "123456"), ("000000", "0000ff", "112233"), ("1e1000", "000000", "ffffff")]
)
def test_colours_that_look_like_numbers_stay_colours(values, composed):
    configs = composed(drawn("a", "b", kind="values", values=values))
    assert configs["train.yaml"]["label_values"] == list(values)


@pytest.mark.parametrize("diameter", DIAMETERS.values(), ids=DIAMETERS)
def test_what_was_found_out_about_the_base_is_not_inherited(diameter, composed, tmp_path):
    inference = composed(diameter=diameter)["inference.yaml"]
    metadata = json.loads((tmp_path / "mine" / "configs" / "metadata.json").read_text())
    base = find_bundle("polyp_masksup" if "image_size" in inference else "gland_masksup") / "configs"
    noted = {"weights_sha256", "quality"}
    assert noted <= json.loads((base / "metadata.json").read_text()).keys() and not noted & metadata.keys()
    assert yaml.safe_load((base / "inference.yaml").read_text())["temperature"] != 1
    assert inference["temperature"] == 1 and metadata["eval_metrics"] == {}
