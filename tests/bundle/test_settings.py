"""Settings of a running bundle, and refusal of unknown ones."""

import json

import pytest
from monai.bundle import ConfigWorkflow

from masksup_med.bundle import running_root, running_settings
from masksup_med.errors import SettingError

TRAIN = """
imports:
  - $import masksup_med
initialize:
  - $masksup_med.bundle.check_settings(@bundle_root)
run:
  - $@settings
bundle_root: $masksup_med.bundle.running_root()
settings: $masksup_med.bundle.running_settings()
max_epochs: 3
train:
  batch_size: 2
  layer: {_target_: torch.nn.Linear, in_features: 2, out_features: 1}
  twice: $2 * @train#batch_size
"""


@pytest.fixture
def workflow(tmp_path):
    configs = tmp_path / "tiny" / "configs"
    configs.mkdir(parents=True)
    (configs / "train.yaml").write_text(TRAIN)
    (configs / "metadata.json").write_text(json.dumps({"version": "0"}))

    def make(overlay="", **override):
        files = [str(configs / "train.yaml")]
        if overlay:
            (tmp_path / "overlay.yaml").write_text(overlay)
            files.append(str(tmp_path / "overlay.yaml"))
        return ConfigWorkflow(config_file=files, workflow_type="train", logging_file=False, **override)

    return make


def test_root_is_the_bundles_folder_wherever_it_is_run_from(workflow, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    running = workflow()
    running.initialize()
    assert running.parser.get_parsed_content("bundle_root") == str(tmp_path / "tiny")


def test_settings_have_overlays_and_overrides_merged(workflow):
    running = workflow("train#batch_size: 7\n", max_epochs=5)
    running.initialize()
    (settings,) = running.run()
    assert settings["max_epochs"] == 5
    assert settings["train"]["batch_size"] == 7
    assert settings["train"]["layer"]["in_features"] == 2
    assert "_meta_" not in settings


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("max_epoch: 5\n", "Unknown setting max_epoch for the bundle tiny: did you mean max_epochs?"),
        ("train#batchsize: 5\n", "Unknown setting train#batchsize for the bundle tiny: did you mean train#batch_size?"),
        ("zzz: 1\n", "the known ones are"),
    ],
)
def test_unknown_setting_is_refused_with_the_nearest_known_one(workflow, overlay, message):
    with pytest.raises(RuntimeError) as caught:
        workflow(overlay).initialize()
    cause = caught.value.__cause__
    assert isinstance(cause, SettingError)
    assert message in str(cause)


@pytest.mark.parametrize(
    "overlay",
    [
        "max_epochs: 5\n",
        "helper: 5\nmax_epochs: '@helper'\n",  # new, but used
        "helper: 5\nmax_epochs: $@helper + 1\n",
        "train#layer: {_target_: torch.nn.Conv2d, in_channels: 1, out_channels: 1, kernel_size: 1}\n",
        "train#layer#bias: false\n",  # arguments belong to the component, which checks them itself
        "+train: {batch_size: 4}\n",
    ],
)
def test_known_or_used_settings_pass(workflow, overlay):
    workflow(overlay).initialize()


def test_nothing_is_running_outside_a_bundle():
    assert running_root() == "."
    assert running_settings() == {}
