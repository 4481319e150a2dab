"""Which cells a grid has, and what each is compared with."""

from pathlib import Path

import pytest
import yaml

from masksup_med.bundle.location import overlays
from masksup_med.errors import MissingDataError, SettingError
from masksup_med.experiments.grid import read_grid

GRID = {
    "about": "a test",
    "data": {"glas": {"folders": "glas/train", "bundle": "polyp_masksup", "settings": {"max_epochs": 10}}},
    "axes": {"paradigm": ["baseline", "context", "masksup"], "masking": ["patch_low", "scribble_high"]},
    "baseline": {"paradigm": "baseline"},
    "seeds": [0, 4],
}


def written(folder: Path, **changes) -> Path:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return file


def test_baselines_do_not_depend_on_what_is_hidden(tmp_path):
    grid = read_grid(written(tmp_path))
    (part,) = grid.parts
    assert (grid.name, part.name, part.folders, grid.seeds) == ("mine", "glas", ("glas/train",), (0, 4))
    assert list(grid.cells(part)) == [
        "baseline",
        "context, patch_low",
        "context, scribble_high",
        "masksup, patch_low",
        "masksup, scribble_high",
    ]
    assert grid.baselines(part) == {name: "baseline" for name in grid.cells(part) if name != "baseline"}


def test_a_cell_has_the_settings_of_its_overlays(tmp_path):
    grid = read_grid(written(tmp_path, settings={"batch_size": 2, "max_epochs": 3}))
    settings = grid.cells(grid.parts[0])["context, scribble_high"].settings
    overlay = yaml.safe_load((overlays() / "masking" / "scribble_high.yaml").read_text())
    assert settings == {"batch_size": 2, "max_epochs": 10, "context_weight": 1.0, "similarity_weight": 0, **overlay}


def test_equal_compute_adds_longer_baselines(tmp_path):
    grid = read_grid(written(tmp_path, equal_compute=True))
    (part,) = grid.parts
    cells = grid.cells(part)
    assert list(cells)[-1] == "baseline, twice as long" and len(cells) == 6
    assert cells["baseline, twice as long"].settings == cells["baseline"].settings | {"max_epochs": 20}
    assert grid.baselines(part)["baseline, twice as long"] == "baseline"


def test_what_learns_twice_is_not_trained_longer(tmp_path):
    axes = {"paradigm": ["baseline", "mae", "masksup"]}
    (part,) = (grid := read_grid(written(tmp_path, axes=axes, equal_compute=True))).parts
    assert list(grid.cells(part)) == ["baseline", "mae", "masksup", "baseline, twice as long"]


def test_each_network_has_its_own_baseline(tmp_path):
    axes = {"network": ["unet", "fcn"], "paradigm": ["baseline", "masksup"]}
    grid = read_grid(written(tmp_path, axes=axes))
    assert grid.baselines(grid.parts[0]) == {"unet, masksup": "unet, baseline", "fcn, masksup": "fcn, baseline"}


def test_settings_may_stand_on_an_axis(tmp_path):
    axes = {
        "context": {"none": {"context_weight": 0, "similarity_weight": 0}, "some": {"context_weight": 0.5}, "one": None}
    }
    grid = read_grid(written(tmp_path, axes=axes, baseline={"context": "none"}))
    cells = grid.cells(grid.parts[0])
    assert cells["some"].settings == {"max_epochs": 10, "context_weight": 0.5}
    assert cells["one"].settings == {"max_epochs": 10}
    assert cells["some"].folder_name == "some" and grid.baselines(grid.parts[0]) == {"some": "none", "one": "none"}


@pytest.mark.parametrize("name", sorted(each.stem for each in (overlays() / "experiments").glob("*.yaml")))
def test_grids_that_come_with_the_package(name):
    grid = read_grid(overlays() / "experiments" / f"{name}.yaml")
    for part in grid.parts:
        cells, baselines = grid.cells(part), grid.baselines(part)
        assert set(baselines.values()) <= set(cells) - set(baselines)  # nothing is compared with what is compared
        assert set(baselines) | set(baselines.values()) == set(cells)
    assert len(grid.seeds) >= 3 and grid.about


BAD = {
    "no axes": ({"axes": None}, "axes: None"),
    "an empty axis": ({"axes": {"paradigm": []}}, "nothing for the axis paradigm"),
    "no such overlay": ({"axes": {"paradigm": ["maskup"]}}, "There is no paradigm maskup; choose one of baseline"),
    "no such axis": ({"axes": {"paradigms": ["masksup"]}}, "There is no paradigms masksup"),
    "a baseline elsewhere": ({"baseline": {"paradigm": "other"}}, "baseline paradigm: other, which is on no axis"),
    "a seed twice": ({"seeds": [1, 1]}, "seeds"),
    "no seeds": ({"seeds": []}, "seeds"),
    "a negative seed": ({"seeds": [-1]}, "seeds"),
    "a strange key": ({"networks": ["unet"]}, "needs data and axes, and takes"),
    "no folders": ({"data": {"glas": {"bundle": "polyp_masksup"}}}, "say its folders and bundle"),
    "a path for a name": ({"data": {"../glas": {"folders": "a", "bundle": "polyp_masksup"}}}, "plain name"),
    "a path for a value": ({"axes": {"a": {"../b": {}}}, "baseline": {}}, "plain name"),
    "no settings": ({"axes": {"a": {"b": 3}}, "baseline": {}}, "plain name, and settings"),
    "folds that seeds do not fill": (
        {"data": {"glas": {"folders": "a", "bundle": "polyp_masksup", "folds": 3}}, "seeds": [0, 1, 2, 3]},
        "has 4 seeds for folds: 3 of glas",
    ),
    "no folds": ({"data": {"glas": {"folders": "a", "bundle": "polyp_masksup", "folds": 0}}}, "for folds: 0"),
    "two names in one folder": ({"axes": {"a": {"b c": {}, "b_c": {}}}, "baseline": {}}, "told apart"),
    "no length": (
        {"equal_compute": True, "data": {"glas": {"folders": "a", "bundle": "polyp_masksup"}}},
        "say how long training is",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_grids_are_one_sentence(case, tmp_path):
    changes, message = BAD[case]
    with pytest.raises(SettingError, match=message) as caught:
        read_grid(written(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(MissingDataError, match=r"There is no grid .*mine\.yaml"):
        read_grid(tmp_path / "mine.yaml")
    with pytest.raises(MissingDataError, match="lungs is not a bundle"):
        read_grid(written(tmp_path, data={"a": {"folders": "a", "bundle": "lungs"}}))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(SettingError, match="no valid YAML"):
        read_grid(tmp_path / "bad.yaml")
