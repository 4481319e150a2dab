"""The bundles on real files, as their owners publish them: one short epoch, and masks for a folder."""

import shutil

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from masksup_med.bundle import find_bundle
from masksup_med.data import image_size, list_images, read_label

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("name", "folder", "settings"),
    [
        ("polyp_masksup", "cvc_clinicdb/original", {"image_size": [64, 64]}),
        ("polyp_masksup", "kvasir_seg/original_resolution", {"image_size": [64, 64]}),
        ("gland_masksup", "glas/original_layout", {"patch_size": [96, 96]}),
    ],
)
def test_train_and_infer(name, folder, settings, real_data, empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path)
    configs = find_bundle(name) / "configs"

    def run(file, **more):
        workflow = ConfigWorkflow(
            config_file=str(configs / file), workflow_type="train", logging_file=False, **settings, **more
        )
        workflow.initialize()
        workflow.run()
        return workflow

    training = run(
        "train.yaml",
        dataset_dir=str(real_data / folder),
        output_dir=str(tmp_path),
        ckpt_dir=str(tmp_path),
        max_epochs=1,
        val_interval=1,
    )
    assert 0 <= training.parser.get_parsed_content("validate#evaluator").state.best_metric <= 1
    images = real_data / folder
    images = images / "images" if (images / "images").is_dir() else images
    run(
        "inference.yaml",
        dataset_dir=str(images),
        output_dir=str(tmp_path / "masks"),
        ckpt_path=str(tmp_path / "model.pt"),
    )
    for item in list_images(images):
        mask = tmp_path / "masks" / (item["image"].rsplit("/", 1)[1].rsplit(".", 1)[0] + ".png")
        assert image_size(mask) == image_size(item["image"])
        assert set(np.unique(read_label(mask))) <= {0, 255}
