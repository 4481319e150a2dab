"""Finding and copying the bundles that come with the package."""

import json

import pytest

from masksup_med.bundle import bundle_names, copy_bundle, find_bundle, overlays
from masksup_med.errors import MissingDataError, SettingError


def test_shipped_bundles_are_found_by_name():
    assert bundle_names() == ["gland_masksup", "polyp_masksup"]
    assert (find_bundle("gland_masksup") / "configs" / "train.yaml").is_file()
    assert (overlays() / "paradigm" / "baseline.yaml").is_file()


def test_copy_is_a_bundle_of_its_own(tmp_path):
    copy = copy_bundle("polyp_masksup", tmp_path / "mine")
    assert find_bundle(copy) == copy
    metadata, original = (
        json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        for folder in (copy, find_bundle("polyp_masksup"))
    )
    assert metadata == {**original, "name": "mine"} and original["name"] == "polyp_masksup"
    assert list(metadata) == list(original)
    with pytest.raises(SettingError, match="mine exists"):
        copy_bundle("polyp_masksup", tmp_path / "mine")


def test_unknown_bundle_names_the_known_ones(tmp_path):
    with pytest.raises(MissingDataError, match="gland_masksup, polyp_masksup"):
        find_bundle(tmp_path)
