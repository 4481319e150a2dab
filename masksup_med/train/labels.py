"""How the labels of a folder are drawn: masks, objects, or classes by number or colour."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as pieces_of

from masksup_med.data.classes import Value, as_number, shown
from masksup_med.data.foreground import is_black_and_white
from masksup_med.errors import DataError, SettingError

__all__ = ["Drawn", "Seen", "decide", "look", "parse_classes"]

_MOST_CLASSES = 64
_MANY_OBJECTS = 8  # numbers above this, each in one piece, are not classes
_MOST_PIECES = 1.5  # for each number, on average, where numbers are objects
_NOISY = 8  # values above this many are JPEG's noise around black and white
_RARE = 0.002  # share of the pixels: where most values have less, they are JPEG's noise around classes
_EXTREME = 16  # such noise is at most so far from either
_BLACK: tuple[Value, Value] = (0, "000000")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class Drawn(NamedTuple):
    """What labels look like, and what that means."""

    kind: str  # "mask": all that is not background is one class; "values": a class for each value
    values: tuple[Value, ...]  # that stand for class 0, 1, …, or with one name all for it; empty for masks
    names: tuple[str, ...]  # of the classes but the background
    why: str


class Seen(NamedTuple):
    """What is in one label."""

    path: str
    counts: dict[int, int]  # pixels of each value
    noisy: bool  # black and white, with the noise of JPEG
    numbered: bool  # 1, 2, … n without gaps, each in one piece

    @property
    def two_valued(self) -> bool:
        """Whether it may be black and white, with little noise or none."""
        return self.noisy or all(value <= _EXTREME or 255 - _EXTREME <= value <= 255 for value in self.counts)


def parse_classes(given: Sequence[str]) -> tuple[dict[Value, str], str | None]:
    """Read ``1:polyp 2:fold``, ``#ff0000:polyp`` or ``polyp``.

    Returns:
        Names by value, and the name of what masks show; one of the two is empty or None.

    Raises:
        SettingError: they cannot be understood.
    """
    if len(given) == 1 and not re.match(r"(\d+|#[0-9a-fA-F]{6})(:|$)", given[0]):
        return {}, given[0]
    named: dict[Value, str] = {}
    for text in given:
        value, _, name = text.partition(":")
        if not (value.isdecimal() or _COLOUR.fullmatch(value)):
            raise SettingError(
                f"--classes got {text}; give values with names as in 1:polyp 2:fold, colours as in '#ff0000:polyp', "
                "or one name for all that masks show."
            )
        key: Value = value[1:].lower() if value.startswith("#") else int(value)
        if key in named:
            raise SettingError(f"--classes names {value} twice; name each value once.")
        number = sum(other not in _BLACK for other in named) + 1
        named[key] = name or ("background" if key in _BLACK else f"class {number}")
    if len({type(key) for key in named}) > 1:
        raise SettingError("--classes mixes numbers and colours; name all classes in one way.")
    if len(set(named.values())) < len(named):
        raise SettingError("--classes gives one name twice; give each class a name of its own.")
    return named, None


def look(path: str, pixels: NDArray[np.unsignedinteger], colours: bool) -> Seen:
    """Look at one label, shape (H, W): values, or colours as one number each."""
    values, counts = np.unique(pixels, return_counts=True)
    objects = values[values > 0]
    in_order = not colours and len(objects) < 4096 and np.array_equal(objects, np.arange(1, len(objects) + 1))
    in_pieces = in_order and pieces_of(pixels, background=0).max() <= _MOST_PIECES * len(objects)
    return Seen(
        path,
        dict(zip(values.tolist(), counts.tolist(), strict=True)),
        not colours and _is_noise(values) and is_black_and_white(pixels),
        bool(in_pieces),
    )


def _is_noise(values: NDArray[np.unsignedinteger]) -> bool:
    """Whether there are more values than classes would have, or some beside white."""
    beside_white = (values >= 255 - _EXTREME) & (values < 255)
    return len(values) > _NOISY or (len(values) > 2 and bool(beside_white.any()))


def decide(seen: Sequence[Seen], colours: bool, classes: Sequence[str] = ()) -> Drawn:
    """Decide what labels mean.

    Args:
        seen: all of them.
        colours: whether values are colours.
        classes: what people say about it; see :func:`parse_classes`.

    Raises:
        SettingError: ``classes`` cannot be understood, or it cannot be told what is meant without.
        DataError: the values are those of pictures, or ``classes`` lacks one.
    """
    named, single = parse_classes(classes)
    counts: Counter[int] = Counter()
    for each in seen:
        counts.update(each.counts)
    if len(counts) == 1:
        raise DataError(f"All labels have one value only, such as {seen[0].path}; give labels that tell things apart.")
    if named:
        return _as_named(named, seen, colours)
    if single is not None or _are_masks(seen, counts, colours):
        return _as_masks(seen, counts, colours, single or "foreground")
    if not colours:
        many = any(each.numbered and max(each.counts) > _MANY_OBJECTS for each in seen)
        if all(each.numbered for each in seen) and many:
            return Drawn("mask", (), ("foreground",), "each label numbers its objects from 1")
        if all(each.numbered for each in seen) or many:
            raise SettingError(
                f"Labels hold numbers from 0 to {max(counts)}, which may be classes or numbered objects; say which: "
                "--classes 1:NAME 2:NAME and so on for classes, --classes NAME for objects."
            )
    _refuse_pictures(counts, colours, seen)
    return _as_classes(counts, colours)


def _are_masks(seen: Sequence[Seen], counts: Counter[int], colours: bool) -> bool:
    if colours:
        return False
    noisy = any(each.noisy for each in seen)
    return (noisy and all(each.two_valued for each in seen)) or (len(counts) == 2 and 0 in counts)


def _as_masks(seen: Sequence[Seen], counts: Counter[int], colours: bool, name: str) -> Drawn:
    if colours:
        background, *others = _in_order(counts, colours=True)
        if len(others) != 1:
            raise DataError(
                f"Labels have {len(counts)} colours, but --classes names one; name each as in '#ff0000:{name}'."
            )
        why = f"labels have the colours {shown(background)} and {shown(others[0])}"
        return Drawn("values", (background, *others), (name,), why)
    if any(each.noisy for each in seen):
        return Drawn("mask", (), (name,), "labels are black and white, with the noise of JPEG")
    if len(counts) == 2 and 0 in counts:
        return Drawn("mask", (), (name,), f"labels are 0 and {max(counts)}")
    why = "all that is not 0 is one class, as --classes says"
    if all(each.numbered or len(each.counts.keys() - {0}) <= 1 for each in seen):
        return Drawn("mask", (), (name,), why)
    _refuse_pictures(counts, colours, seen)
    return Drawn("values", (0, *sorted(counts.keys() - {0})), (name,), why)


def _as_named(named: Mapping[Value, str], seen: Sequence[Seen], colours: bool) -> Drawn:
    given_colours = isinstance(next(iter(named)), str)
    if colours and not given_colours:
        raise SettingError(
            f"Labels are coloured, such as {seen[0].path}; name colours, as in --classes '#ff0000:polyp'."
        )
    if given_colours and not colours:
        raise SettingError("Labels have no colours; name their numbers, as in --classes 1:polyp 2:fold.")
    background: Value = next((value for value, name in named.items() if name == "background"), _BLACK[colours])
    values = (background, *(value for value in named if value != background))
    if len(values) == 1:
        raise SettingError("--classes names the background only; name what is to be found.")
    known = {as_number(value) for value in values}
    for each in seen:
        if strange := sorted(set(each.counts) - known):
            first = shown(f"{strange[0]:06x}" if colours else strange[0])
            more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
            raise DataError(
                f"Label {each.path} has {first}{more}, which --classes does not name; name it, or correct the label."
            )
    return Drawn("values", values, tuple(named[value] for value in values[1:]), "as --classes says")


def _as_classes(counts: Counter[int], colours: bool) -> Drawn:
    values = _in_order(counts, colours)
    if not colours and 255 in counts and sorted({0, *counts})[:-1] == list(range(len({0, *counts}) - 1)):
        raise SettingError(
            f"Labels have 255 beside 0 to {max(set(counts) - {255})}: if it is a class, name all values with "
            "--classes; if all that is marked is one class, give its name alone; if it is not labelled, paint it first."
        )
    names = tuple(f"class {number}" for number in range(1, len(values)))
    what = "colours" if colours else "values"
    return Drawn("values", values, names, f"labels have the {what} {', '.join(map(shown, values))}")


def _in_order(counts: Counter[int], colours: bool) -> tuple[Value, ...]:
    """All values, that of the background first: 0, or in colours without black the most frequent one."""
    background = 0 if 0 in counts or not colours else max(counts, key=lambda value: counts[value])
    values = (background, *sorted(value for value in counts if value != background))
    return tuple(f"{value:06x}" for value in values) if colours else values


def _refuse_pictures(counts: Counter[int], colours: bool, seen: Sequence[Seen]) -> None:
    rare = [value for value, count in counts.items() if count < _RARE * sum(counts.values())]
    if len(counts) > _MOST_CLASSES or (len(counts) > _NOISY and len(rare) > len(counts) / 2):
        worst = max(seen, key=lambda each: len(each.counts))
        raise DataError(
            f"Labels have {len(counts)} different {'colours' if colours else 'values'}, as photographs and JPEG files "
            f"do, {worst.path} alone {len(worst.counts)}; save labels as PNG, with one value for each class."
        )
