"""The grids that come with the package: every cell can be written as a bundle."""

import pytest
import yaml
from monai.bundle import ConfigParser

from masksup_med.bundle.location import overlays
from masksup_med.experiments.cell import write_cell
from masksup_med.experiments.grid import read_grid


@pytest.mark.parametrize("name", sorted(each.stem for each in (overlays() / "experiments").glob("*.yaml")))
def test_every_cell_has_the_settings_that_make_it(name, tmp_path):
    grid = read_grid(overlays() / "experiments" / f"{name}.yaml")
    for part in grid.parts:
        for cell in grid.cells(part).values():
            folder = tmp_path / part.name / cell.folder_name
            write_cell(folder, part, cell, 0, tmp_path / "split0.json")
            train = ConfigParser(ConfigParser.load_config_file(folder / "configs" / "train.yaml"))
            pretrain = yaml.safe_load((folder / "configs" / "pretrain.yaml").read_text())
            written = {key: (pretrain if key.startswith("pretrain") else train)[key] for key in cell.settings}
            assert written == cell.settings
