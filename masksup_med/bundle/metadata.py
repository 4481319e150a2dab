"""What must stand in a bundle's ``metadata.json``: the keys that every bundle of MONAI's model zoo has.

The functions yield a sentence for each fault: what is wrong, where, and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any

from packaging.version import InvalidVersion, Version

__all__ = ["format_faults", "identity_faults", "key_faults", "package_faults"]

_FILE = "configs/metadata.json"
_KEYS: Mapping[str, type] = {
    **dict.fromkeys(["schema", "version", "monai_version", "pytorch_version", "numpy_version", "name", "task"], str),
    **dict.fromkeys(["description", "authors", "copyright", "data_type", "image_classes", "intended_use"], str),
    **dict.fromkeys(["changelog", "required_packages_version", "supported_apps", "network_data_format"], dict),
    "references": list,
}
_TENSOR_KEYS: Mapping[str, type] = {
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
    "is_patch_data": bool,
    "channel_def": dict,
}
_ITEMS: Mapping[str, tuple[type, ...]] = {  # types of what stands in lists and objects
    "changelog": (str,),
    "references": (str,),
    "spatial_shape": (int, str),
    "value_range": (int, float),
    "channel_def": (str,),
}
_WORDS: Mapping[type, str] = {
    str: "text",
    dict: "an object",
    list: "a list",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
_PACKAGES = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}


def key_faults(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Look for the keys that every bundle has, and at the types of their values."""
    return _typed(metadata, _KEYS, _FILE)


def identity_faults(metadata: Mapping[str, Any], folder: str) -> Iterator[str]:
    """Compare the version with the changelog, and the name with that of the bundle's folder."""
    if metadata["version"] not in metadata["changelog"]:
        yield f"The changelog in {_FILE} has no version {metadata['version']}; say there what is new in it."
    if metadata["name"] != folder:
        yield f"{_FILE} names the bundle {metadata['name']}, and its folder is {folder}; rename one of them."


def format_faults(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Look at what ``network_data_format`` says about the network's input and output."""
    for part, name in (("inputs", "image"), ("outputs", "pred")):
        tensors = metadata["network_data_format"].get(part)
        tensor = tensors.get(name) if isinstance(tensors, dict) else None
        place = f"network_data_format/{part}/{name} in {_FILE}"
        if not isinstance(tensor, dict):
            yield f"There is no {place}; add it."
        elif faults := list(_typed(tensor, _TENSOR_KEYS, place)):
            yield from faults
        else:
            yield from _channels(tensor, 2 if name == "pred" else 1, place)


def package_faults(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Compare the versions that a bundle asks for with those that are installed, which may be newer."""
    wanted = {name: metadata[key] for name, key in _PACKAGES.items()} | metadata["required_packages_version"]
    for name, version in wanted.items():
        remedy = f"pip install '{name}>={version}'"
        try:
            if Version(installed_version(name)) < Version(version):
                yield f"{name} is {installed_version(name)} here, and {_FILE} asks for {version}: {remedy}."
        except PackageNotFoundError:
            yield f"{name}, of which {_FILE} asks for {version}, is not installed: {remedy}."
        except (InvalidVersion, TypeError, ValueError):
            yield f"{_FILE} asks for {name!r} in version {version!r}, which cannot be; correct it."


def _typed(found: Mapping[str, Any], wanted: Mapping[str, type], place: str) -> Iterator[str]:
    if absent := [key for key in wanted if key not in found]:
        yield f"There is no {' and no '.join(absent)} in {place}; add what is missing."
    for key, kind in wanted.items():
        if key in found and type(found[key]) is not kind:  # not isinstance, for which true is a whole number
            yield f"{key} in {place} is {_shown(found[key])}; make it {_WORDS[kind]}."
        elif key in found and key in _ITEMS:
            yield from _strange_items(found[key], _ITEMS[key], f"{key} in {place}")


def _strange_items(value: Any, kinds: tuple[type, ...], place: str) -> Iterator[str]:
    strange = [item for item in (value.values() if isinstance(value, dict) else value) if type(item) not in kinds]
    if strange:
        yield f"{place} holds {_shown(strange[0])}; make it {' or '.join(_WORDS[kind] for kind in kinds)}."


def _shown(value: Any) -> str:
    return json.dumps(value)[:50]


def _channels(tensor: Mapping[str, Any], fewest: int, place: str) -> Iterator[str]:
    """Compare channels with their names; one channel of output has two, its class and the background."""
    count, named = max(tensor["num_channels"], fewest), list(tensor["channel_def"])
    if len(named) != count or set(named) != {str(number) for number in range(count)}:
        yield (
            f"channel_def in {place} names {', '.join(named) or 'nothing'}, and num_channels is "
            f"{tensor['num_channels']}; name 0{f' to {count - 1}' if count > 1 else ''}."
        )
