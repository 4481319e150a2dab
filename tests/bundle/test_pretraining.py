"""Learning without labels, then with them: what pretrain.yaml does, and what it takes up again."""

import shutil

import pytest
import torch
from mlflow import MlflowClient
from monai.bundle import ConfigWorkflow

from masksup_med.bundle import bundle_names, overlays
from masksup_med.errors import MaskSupError, MissingDataError
from masksup_med.train import workflow
from tests.bundle.bundles import blank_copy
from tests.bundle.test_runs import SMALL, SMALL_NETWORK, TINY_NETWORK

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=bundle_names())
def bundle(request, tmp_path, empty_store):
    """A copy of a bundle with an MLflow store."""
    folder = blank_copy(request.param, tmp_path / "copy" / request.param)
    (folder / "eval").mkdir()
    shutil.copy(empty_store, folder / "eval")
    return folder


def run(bundle, *files, **settings):
    done = ConfigWorkflow(
        config_file=[str(bundle / "configs" / "train.yaml"), str(overlays() / SMALL_NETWORK), *map(str, files)],
        workflow_type="train",
        logging_file=False,
        **{**SMALL[bundle.name], **TINY_NETWORK, "batch_size": 4, "max_epochs": 2, **settings},
    )
    done.initialize()
    done.run()
    done.finalize()
    return done


def pretrain(bundle, data, **settings):
    return run(bundle, bundle / "configs" / "pretrain.yaml", dataset_dir=str(data), **settings)


def test_without_labels_then_with_them(bundle, phantoms):
    data = phantoms(bundle.name.split("_")[0])
    done = pretrain(bundle, data / "images")
    assert len(done.parser.get_parsed_content("images")) == 10
    assert done.parser.get_parsed_content("pretrain#trainer").state.metrics["train_loss"] > 0
    learnt = torch.load(bundle / "models" / "pretrained.pt")

    # Steps of no length: the weights stay those that training began with.
    mae = overlays() / "paradigm" / "mae.yaml"
    begun = run(bundle, mae, dataset_dir=str(data), max_epochs=1, learning_rate=0.0).parser
    state = begun.get_parsed_content("network").state_dict()
    same = [key for key, value in learnt.items() if torch.equal(state[key], value)]
    assert {key for key in learnt if key not in same} == {
        key for key in learnt if learnt[key].shape != state[key].shape
    }
    assert len(same) > len(learnt) / 2
    client = MlflowClient(f"sqlite:///{bundle}/eval/mlruns.db")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [(each.data.tags["kind"], each.data.params["datalist/training"]) for each in runs] == [
        ("train", "8"),
        ("pretrain", "10"),
    ]
    assert {each.info.status for each in runs} == {"FINISHED"}


def test_of_a_data_set_only_training_images_are_seen(bundle, phantoms):
    done = pretrain(bundle, phantoms(bundle.name.split("_")[0]), max_epochs=1)
    assert len(done.parser.get_parsed_content("images")) == 8


def test_interrupted_and_resumed(bundle, phantoms):
    data = phantoms(bundle.name.split("_")[0])
    pretrain(bundle, data, max_epochs=3)
    whole = torch.load(bundle / "models" / "pretrained.pt")
    state = bundle / "eval" / "pretraining.pt"
    state.unlink()

    pretrain(bundle, data, max_epochs=3, **{"pretrain#trainer#max_epochs": 1})
    pretrain(bundle, data, max_epochs=3, resume=True)
    resumed = torch.load(bundle / "models" / "pretrained.pt")
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())


def test_no_weights_yet(bundle, phantoms):
    with pytest.raises(RuntimeError) as caught:
        run(bundle, overlays() / "paradigm" / "mae.yaml", dataset_dir=str(phantoms(bundle.name.split("_")[0])))
    assert isinstance(MaskSupError.among(caught.value), MissingDataError)


def test_a_bundle_says_what_its_training_consists_of(bundle):
    assert [stage.part for stage in workflow.stages(bundle)] == ["train"]
    file = bundle / "configs" / "train.yaml"
    file.write_text(file.read_text().replace("initial_weights: null", "initial_weights: elsewhere/model.pt"))
    assert [stage.part for stage in workflow.stages(bundle)] == ["train"]
    text = file.read_text().replace("elsewhere/model.pt", "$@bundle_root + '/models/pretrained.pt'")
    file.write_text(text)
    assert [stage.part for stage in workflow.stages(bundle)] == ["pretrain", "train"]
    assert workflow.progress(bundle, workflow.PRETRAINING) == workflow.progress(bundle)
