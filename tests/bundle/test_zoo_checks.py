"""The checks of MONAI's model zoo (ci/verify_bundle.py and its unit tests), over every shipped bundle."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata

from masksup_med.bundle import bundle_names, find_bundle

pytestmark = [pytest.mark.parametrize("name", bundle_names()), pytest.mark.filterwarnings("ignore")]
SCHEMA = Path(__file__).with_name("metadata_schema.json")


def configs(name, *files):
    return [str(find_bundle(name) / "configs" / file) for file in files]


def metadata(name):
    return json.loads(Path(configs(name, "metadata.json")[0]).read_text())


def test_files_of_a_bundle_are_there(name):
    expected = {
        "LICENSE", "docs/README.md", "docs/data_license.txt", "configs/metadata.json", "configs/logging.conf",
        "configs/train.yaml", "configs/evaluate.yaml", "configs/inference.yaml", "configs/multi_gpu_train.yaml",
    }  # fmt: skip
    root = find_bundle(name)
    assert {file for file in expected if not (root / file).is_file()} == set()


def test_metadata_follows_the_schema_and_is_consistent(name, tmp_path):
    (tmp_path / "schema.json").write_bytes(SCHEMA.read_bytes())  # what is there is not downloaded
    verify_metadata(meta_file=configs(name, "metadata.json"), filepath=str(tmp_path / "schema.json"))
    content = metadata(name)
    assert content["name"] == name
    assert content["version"] in content["changelog"]


def test_metadata_names_the_tested_versions(name):
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    tested = dict(line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    content = metadata(name)
    wanted = {"monai": content["monai_version"], "torch": content["pytorch_version"], "numpy": content["numpy_version"]}
    wanted |= {k: v for k, v in content["required_packages_version"].items() if k != "masksup-med"}
    assert wanted == {package: tested[package] for package in wanted}


@pytest.mark.parametrize("file", ["train.yaml", "inference.yaml"])
def test_network_takes_and_gives_what_the_metadata_says(name, file):
    verify_net_in_out("network_def", meta_file=configs(name, "metadata.json"), config_file=configs(name, file))


def test_network_is_the_same_in_training_and_inference(name):
    train, inference = (ConfigParser.load_config_file(file) for file in configs(name, "train.yaml", "inference.yaml"))
    assert {key: value for key, value in train["network_def"].items() if key != "weights"} == inference["network_def"]


def test_export_to_torchscript_gives_the_same_output(name, tmp_path):
    parser = ConfigParser()
    parser.read_config(configs(name, "inference.yaml"))
    network = parser.get_parsed_content("network_def").eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    ckpt_export(
        "network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=configs(name, "metadata.json")[0],
        config_file=configs(name, "inference.yaml")[0],
        key_in_ckpt="",
    )
    scripted, _, _ = load_net_with_metadata(str(tmp_path / "model.ts"))
    image = torch.rand(2, 3, 64, 96)
    torch.testing.assert_close(scripted(image), network(image))


@pytest.mark.parametrize(
    ("kind", "files"),
    [("train", ["train.yaml"]), ("eval", ["train.yaml", "evaluate.yaml"]), ("infer", ["inference.yaml"])],
)
def test_properties_of_all_workflows(name, kind, files, tmp_path, phantoms):
    folder = phantoms(name.split("_")[0])
    if kind == "eval":  # MONAI has no properties for evaluation beside training's; these are what inference shares
        kind = "train"
    workflow = ConfigWorkflow(
        config_file=configs(name, *files),
        workflow_type=kind,
        logging_file=False,
        dataset_dir=str(folder / "images" if kind == "infer" else folder),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
