"""Change settings in a bundle's YAML, whose comments and order stay.

Example::

    text = with_settings(text, {"image_size": [128, 96], "loss#segmentation_loss": {"_target_": "DiceLoss"}})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from masksup_med.errors import SettingError

__all__ = ["with_settings"]


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """Return YAML text in which settings have other values.

    Args:
        text: of a bundle's config.
        settings: values by key; ``train#dataset#cache_rate`` is one inside others. A top-level key that is not there
            is added at the end.

    Raises:
        SettingError: a key inside others is not there.
    """
    for key, value in settings.items():
        text = _with_setting(text, key, value)
    return text


def _with_setting(text: str, key: str, value: Any) -> str:
    root = yaml.compose(text, yaml.CSafeLoader)
    found = _find(root, [key]) or _find(root, key.split("#"))
    if found is None:
        if "#" in key:
            raise SettingError(f"There is no setting {key} on lines of its own; correct its name.")
        return f"{text.rstrip()}\n{key}:{_written(value, 0)}\n"
    name, node = found
    before = text[: name.end_mark.index]
    after = text[len(text[: _end(node)].rstrip()) :]  # a literal text ends where the next key begins
    if _is_block(node):
        after = re.sub(r"\A[ \t]+#.*", "", after)  # what was said of its last line
    return f"{before}:{_written(value, name.start_mark.column)}{after}"


def _find(node: yaml.Node | None, parts: list[str]) -> tuple[yaml.Node, yaml.Node] | None:
    """The nodes of a key and of its value; None if it is not there."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return None
    found = next(((name, value) for name, value in node.value if name.value == parts[0]), None)
    return found if found is None or len(parts) == 1 else _find(found[1], parts[1:])


def _is_block(node: yaml.Node) -> bool:
    """Whether a value stands on lines of its own."""
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _end(node: yaml.Node) -> int:
    """Where a value ends; that of a block, by its own account, where the next one starts."""
    if not _is_block(node):
        return node.end_mark.index
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _written(value: Any, column: int) -> str:
    """A value as it stands behind the colon of a key in this column."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000).removesuffix("...\n")
    if isinstance(value, dict) or (isinstance(value, list) and not _is_short(value)):
        return "\n" + re.sub(r"^(?=.)", " " * (column + 2), text.rstrip(), flags=re.MULTILINE)
    return " " + text.strip()


class _Dumper(yaml.SafeDumper):
    """Writes lists of plain values in one line, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _is_short(values: list[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in values)


_Dumper.add_representer(
    list,
    lambda dumper, values: dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=_is_short(values)),
)
