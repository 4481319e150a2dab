"""What a manifest adds up to, counted line by line, so that none of them need be kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence

from masksup_med.predict.manifest import Line
from masksup_med.predict.tables import physical_area

__all__ = ["BARS", "LISTED", "ClassTally", "ModelTally", "Tally"]

LISTED = 200  # failures that are kept; the table has all
BARS = 40  # of the confidence, from 0 to 1


class ClassTally:
    """What was found of a class."""

    def __init__(self) -> None:
        self.objects = 0
        self.images = 0
        self.share = 0.0  # of the pictures, summed
        self.total: defaultdict[str, float] = defaultdict(float)  # by unit
        self.areas: defaultdict[str, Counter[float]] = defaultdict(Counter)  # to three digits, so that they stay few

    def count(self, areas: Sequence[int], line: Line) -> None:
        """Count the objects of an image."""
        self.objects += len(areas)
        self.images += 1
        self.share += sum(areas) / (line["width"] * line["height"])
        for area in areas:
            for unit, value in physical_area(area, line["pixel_size_mm"]).items():
                self.total[unit] += value
                self.areas[unit][float(f"{value:.2e}")] += 1


class ModelTally:
    """What stems from a model."""

    def __init__(self) -> None:
        self.images = Counter[str]()  # by status
        self.names = Counter[str]()
        self.versions = Counter[str]()

    def count(self, line: Line) -> None:
        """Count an image."""
        self.images[line["status"]] += 1
        self.names[line["bundle"]] += 1
        self.versions[", ".join(f"{name} {version}" for name, version in line["versions"].items())] += 1


class Tally:
    """What is counted while lines go by, so that none of them need be kept.

    Args:
        sources: names of this run's images.
    """

    def __init__(self, sources: Container[str]) -> None:
        self._sources = sources
        self.here = 0  # images of this run
        self.images = Counter[str]()  # by status
        self.failures: list[tuple[str, str]] = []
        self.objects = 0
        self.empty = 0  # images in which nothing was found
        self.classes: defaultdict[tuple[int, str], ClassTally] = defaultdict(ClassTally)
        self.models: defaultdict[tuple[str, str], ModelTally] = defaultdict(ModelTally)  # by weights and settings
        self.flags = Counter[str]()
        self.confidence = [0] * BARS
        self.folders: set[str] = set()

    def done(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Count all lines, and pass on those of images that are done."""
        for line in lines:
            self.here += line["image"] in self._sources
            self.images[line["status"]] += 1
            self.models[line["weights_sha256"], line["settings_sha256"]].count(line)
            if line["status"] == "done":
                self._count(line)
                yield line
            elif len(self.failures) < LISTED:
                self.failures.append((line["image"], _reason(line)))

    def _count(self, line: Line) -> None:
        self.objects += len(line["objects"])
        self.empty += not line["objects"]
        self.flags.update(line["flags"])
        self.confidence[min(round(line["mean_confidence"] * 10_000) * BARS // 10_000, BARS - 1)] += 1
        self.folders.update(path.partition("/")[0] for path in line["outputs"])
        areas: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        for found in line["objects"]:
            areas[found["class_number"], found["class"]].append(found["area_px"])
        for key, each in areas.items():
            self.classes[key].count(each, line)


def _reason(line: Line) -> str:
    """Why an image failed, without its name, which stands beside it."""
    reason = line["error"].removeprefix(f"{line['image']} ")
    for mark in ":;":
        reason = reason.replace(f" {line['image']}{mark}", mark, 1)
    return reason
