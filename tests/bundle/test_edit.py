"""Settings change, and nothing else does."""

import itertools
import re

import pytest
import yaml

from masksup_med.bundle import bundle_names, find_bundle
from masksup_med.bundle.edit import with_settings
from masksup_med.errors import SettingError

TEXT = """\
# What it is.
size: [352, 352]  # in pixels
rate: 0.1
loss:
  _target_: Dice
  inner:
    softmax: true  # of several
    list:
      - a: 1
      - "@b"
  weight: 1.0
# The end.
last: null
"""
FILES = [file for name in bundle_names() for file in sorted((find_bundle(name) / "configs").glob("*.yaml"))]
VALUES = [
    "$a + 'b'",
    "@c#d",
    "#no comment",
    "yes",
    "1.0",
    "ä: ö",
    "two\nlines",
    "",
    None,
    True,
    3,
    0.5,
    [],
    {},
    [1, "b"],
]
VALUES += [{"_target_": "A", "keys": ["x", "y"]}, [{"_target_": "A"}, "@b"], {"a": {"b": [{"c": None}]}}]


def paths(settings, prefix=""):
    for key, value in settings.items():
        if "#" in key:
            continue  # of an overlay, see below
        yield prefix + key
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}#")


def changed(settings, path, value):
    key, _, rest = path.partition("#")
    return {**settings, key: changed(settings[key], rest, value) if rest else value}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("path", list(paths(yaml.safe_load(TEXT))))
def test_any_value_at_any_place(path, value):
    text = with_settings(TEXT, {path: value})
    assert yaml.safe_load(text) == changed(yaml.safe_load(TEXT), path, value)
    assert text.startswith("# What it is.\n") and "\n# The end.\n" in text
    assert list(yaml.safe_load(text)) == list(yaml.safe_load(TEXT))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_every_setting_of_the_shipped_configs(file):
    text = file.read_text(encoding="utf-8")
    settings = yaml.load(text, yaml.CSafeLoader)
    for path, value in zip(paths(settings), itertools.cycle(VALUES), strict=False):
        edited = yaml.load(with_settings(text, {path: value}), yaml.CSafeLoader)
        assert edited == changed(settings, path, value), path
        assert list(edited) == list(settings)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_all_settings_of_the_shipped_configs_one_after_the_other(file):
    """What was written can be changed again, and full-line comments at the margin stay."""
    text = file.read_text(encoding="utf-8")
    keys = [key for key in yaml.load(text, yaml.CSafeLoader) if "#" not in key]
    for turn in range(2):
        wanted = dict(zip(keys, itertools.cycle(VALUES[turn:] + VALUES[:turn]), strict=False))
        comments = re.findall(r"^#.*", text, re.MULTILINE)
        text = with_settings(text, wanted)
        assert {key: yaml.load(text, yaml.CSafeLoader)[key] for key in keys} == wanted
        assert re.findall(r"^#.*", text, re.MULTILINE) == comments


def test_comments_of_other_lines_stay():
    text = with_settings(TEXT, {"size": [64, 64], "loss#inner": {"sigmoid": True}, "rate": 2})
    assert "size: [64, 64]  # in pixels\n" in text
    assert "# of several" not in text
    assert "  inner:\n    sigmoid: true\n  weight: 1.0\n" in text


def test_what_is_said_of_the_last_line_of_a_block_goes_with_it():
    text = "a:\n  b: 1\n  c: 2  # of c\nd: 3\n"
    assert with_settings(text, {"a": {"e": 4}}) == "a:\n  e: 4\nd: 3\n"


def test_new_settings_come_last():
    assert with_settings("a: 1\n", {"b": [1, 2], "c": {"d": [{"e": 1}]}}) == ("a: 1\nb: [1, 2]\nc:\n  d:\n    - e: 1\n")


@pytest.mark.parametrize("path", ["loss#none", "none#a", "rate#a", "size#0"])
def test_settings_inside_others_must_be_there(path):
    with pytest.raises(SettingError, match=f"There is no setting {path}"):
        with_settings(TEXT, {path: 1})


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_no_change_is_no_change(file):
    text = file.read_text(encoding="utf-8")
    assert with_settings(text, {}) == text


def test_what_is_said_behind_the_key_of_a_block_goes_with_it():
    assert with_settings("a:  # of a\n  b: 1\nc: 2  # of c\n", {"a": 3}) == "a: 3\nc: 2  # of c\n"


def test_lines_of_comments_stay_even_those_inside_of_a_block_at_its_end():
    """A line of its own at the end of a block is kept; those between its values go."""
    assert with_settings("a:\n  # first\n  - x\n  # last\n# next\nb: 1\n", {"a": 2}) == "a: 2\n  # last\n# next\nb: 1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\nb: 1\n", "a: 2\nb: 1\n"),
        ("a: [1,  # one\n  2]  # both\nb: 1\n", "a: 2  # both\nb: 1\n"),
        ("a:\n- x\n- y: 1\n  z: 2\nb: 1\n", "a: 2\nb: 1\n"),
        ("a: {x: 1}\nb: 1\n", "a: 2\nb: 1\n"),
        ("'a': 1", "'a': 2"),
        ("ä: µm ö  # ü\na: 1  # ß\n", "ä: µm ö  # ü\na: 2  # ß\n"),
    ],
)
def test_other_ways_to_write_a_setting(text, expected):
    assert with_settings(text, {"a": 2}) == expected


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("a: |\n  text\nb: 1\n", {"a": 2}, {"a": 2, "b": 1}),
        ("x:\n  a: >-\n    text\nb: 1\n", {"x": {"y": 1}}, {"x": {"y": 1}, "b": 1}),
        ("a#b: 1\n", {"a#b": 2}, {"a#b": 2}),
    ],
)  # fmt: skip
def test_configs_that_people_wrote(text, settings, expected):
    assert yaml.safe_load(with_settings(text, settings)) == expected


def test_settings_in_braces_are_not_looked_into():
    with pytest.raises(SettingError, match="There is no setting a#b on lines of its own"):
        with_settings("a: {b: 1, c: 2}\n", {"a#b": 3})
