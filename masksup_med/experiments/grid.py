"""A grid of trainings that differ in one thing or another: which cells it has, and what each is compared with.

A grid is a YAML file::

    about: what the context branch adds, and what the agreement of the views adds to that
    data:
      glas:                       # a name
        folders: glas/train       # data sets, below the folder that --data names
        bundle: gland_masksup     # a bundle's name, or its folder
        settings: {max_epochs: 200}
        folds: 3                  # each third is held out by every third seed; without, all seeds share one split
    axes:                         # every value of one with every value of the others
      paradigm: [baseline, masksup]                  # overlays, configs/paradigm/baseline.yaml
      weight: {half: {context_weight: 0.5}, one: {}} # or settings with a name
    baseline: {paradigm: baseline}                   # what the others are compared with
    seeds: [0, 1, 2]
    equal_compute: true           # adds baselines that are trained twice as long, as they see each image once
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from masksup_med.bundle.location import find_bundle, overlay
from masksup_med.errors import MissingDataError, SettingError

__all__ = ["Cell", "Grid", "Part", "read_grid"]

Settings = dict[str, Any]

_KEYS = {"about", "data", "settings", "axes", "baseline", "seeds", "equal_compute"}
_NAME = re.compile(r"[\w.][\w. %+-]*")
_LONGER = "twice as long"
_HIDING = "masking"  # the axis that means nothing without a masked view


class Part(NamedTuple):
    """What a grid's cells are trained on, and as which bundle."""

    name: str
    folders: tuple[str, ...]  # below the folder of data sets
    bundle: Path
    settings: Settings
    folds: int  # 1 for one split that all seeds share


class Cell(NamedTuple):
    """Trainings that differ in their seed only."""

    values: tuple[str, ...]  # one of each axis that matters here
    settings: Settings

    @property
    def name(self) -> str:
        """The values in one line."""
        return ", ".join(self.values)

    @property
    def folder_name(self) -> str:
        """The values as part of a path."""
        return "-".join(self.values).replace(" ", "_").lower()


class Grid(NamedTuple):
    """What is to be trained."""

    name: str
    about: str
    parts: tuple[Part, ...]
    settings: Settings
    axes: dict[str, dict[str, Settings]]  # settings by value
    baseline: dict[str, str]  # value by axis
    seeds: tuple[int, ...]
    equal_compute: bool

    def cells(self, part: Part) -> dict[str, Cell]:
        """The cells of a part by their names, each once, in the order of the axes."""
        names = itertools.product(*self.axes.values())
        cells = [self._cell(part, dict(zip(self.axes, values, strict=True))) for values in names]
        longer = [_twice_as_long(cell) for cell in cells if self.equal_compute and _sees_once(cell.settings)]
        return {cell.name: cell for cell in (*cells, *longer)}

    def baselines(self, part: Part) -> dict[str, str]:
        """The name of the cell that each cell is compared with, by its own name; baselines themselves have none."""
        found = {}
        for values in itertools.product(*self.axes.values()):
            chosen = dict(zip(self.axes, values, strict=True))
            cell, baseline = self._cell(part, chosen), self._cell(part, chosen | self.baseline)
            if cell.name != baseline.name:
                found[cell.name] = baseline.name
            if self.equal_compute and _sees_once(cell.settings):
                found[_twice_as_long(cell).name] = baseline.name
        return found

    def _cell(self, part: Part, values: Mapping[str, str]) -> Cell:
        chosen = [(axis, value, self.axes[axis][value]) for axis, value in values.items()]
        settings = _merged([self.settings, part.settings, *(each for *_, each in chosen)])
        if not _has_masked_view(settings):
            chosen = [each for each in chosen if each[0] != _HIDING]
            settings = _merged([self.settings, part.settings, *(each for *_, each in chosen)])
        return Cell(tuple(value for _, value, _ in chosen), settings)


def read_grid(file: str | os.PathLike[str]) -> Grid:
    """Read a grid.

    Raises:
        MissingDataError: there is no such file, bundle or overlay.
        SettingError: the file says something that a grid cannot.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise MissingDataError(f"There is no grid {path}; give one such as configs/experiments/masking.yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is no valid YAML ({' '.join(str(error).split())}); mend it.") from error
    if not isinstance(content, dict) or not {"data", "axes"} <= content.keys() <= _KEYS:
        raise SettingError(f"{path} needs data and axes, and takes {', '.join(sorted(_KEYS))}; nothing else.")
    grid = Grid(
        path.stem,
        str(content.get("about", "")),
        tuple(_part(path, name, given) for name, given in _mapping(path, content, "data").items()),
        _mapping(path, content, "settings"),
        {str(axis): _values(path, str(axis), given) for axis, given in _mapping(path, content, "axes").items()},
        {str(axis): str(value) for axis, value in _mapping(path, content, "baseline").items()},
        tuple(content.get("seeds", (0,))),
        bool(content.get("equal_compute", False)),
    )
    _check(path, grid)
    return grid


def _mapping(path: Path, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise SettingError(f"{path} has {key}: {value!r}; give names with values.")
    return value


def _part(path: Path, name: str, given: Any) -> Part:
    needed, known = {"folders", "bundle"}, {"folders", "bundle", "settings", "folds"}
    if not _NAME.fullmatch(name) or not isinstance(given, dict) or not needed <= given.keys() <= known:
        raise SettingError(f"{path} has the data {name!r}; give it a plain name, and say its folders and bundle.")
    folders = [given["folders"]] if isinstance(given["folders"], str) else given["folders"]
    bundle = find_bundle(given["bundle"]).resolve()
    return Part(name, tuple(map(str, folders)), bundle, _mapping(path, given, "settings"), given.get("folds", 1))


def _values(path: Path, axis: str, given: Any) -> dict[str, Settings]:
    """Settings by value: those of overlays, or those that stand there."""
    if isinstance(given, list) and given:
        values = {str(value): overlay(axis, str(value)) for value in given}
    elif isinstance(given, dict) and given:
        values = {str(value): settings or {} for value, settings in given.items()}
    else:
        raise SettingError(f"{path} has nothing for the axis {axis}; list overlays, or names with settings.")
    for value, settings in values.items():
        if not _NAME.fullmatch(value) or not isinstance(settings, dict):
            raise SettingError(f"{path} has the value {value!r} on the axis {axis}; give a plain name, and settings.")
    return values


def _check(path: Path, grid: Grid) -> None:
    seeds = grid.seeds
    if not seeds or len(set(seeds)) < len(seeds) or not all(isinstance(each, int) and each >= 0 for each in seeds):
        raise SettingError(f"{path} has the seeds {list(seeds)}; give different whole numbers from 0.")
    for axis, value in grid.baseline.items():
        if value not in grid.axes.get(axis, {}):
            raise SettingError(f"{path} has the baseline {axis}: {value}, which is on no axis; correct it.")
    for part in grid.parts:
        if not isinstance(part.folds, int) or part.folds < 1 or len(seeds) % part.folds:
            raise SettingError(
                f"{path} has {len(seeds)} seeds for folds: {part.folds!r} of {part.name}; give as many seeds as folds, "
                "or twice as many and so on, so that each fold is held out as often."
            )
        if grid.equal_compute and "max_epochs" not in grid.settings | part.settings:
            raise SettingError(
                f"{path} wants equal compute; say how long training is, as in settings: max_epochs: 100."
            )
        names = [cell.folder_name for cell in grid.cells(part).values()]
        if len(set(names)) < len(names):
            raise SettingError(f"{path} has cells that cannot be told apart by name; give values other names.")


def _merged(all_settings: Iterable[Settings]) -> Settings:
    merged: Settings = {}
    for settings in all_settings:
        merged |= settings
    return merged


def _has_masked_view(settings: Settings) -> bool:
    """Whether a training with these settings shows the network a second view; a bundle's own settings do."""
    return any(settings.get(key, 1) for key in ("context_weight", "similarity_weight"))


def _sees_once(settings: Settings) -> bool:
    """Whether each image is seen once in an epoch, and not before either, by a masked autoencoder."""
    return not _has_masked_view(settings) and not settings.get("initial_weights")


def _twice_as_long(cell: Cell) -> Cell:
    return Cell((*cell.values, _LONGER), cell.settings | {"max_epochs": 2 * cell.settings["max_epochs"]})
