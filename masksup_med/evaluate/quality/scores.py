"""What is known of each labelled image: how good its prediction is, and how much each kind of score doubts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.dropout import _DropoutNd

from masksup_med.bundle.predictor import Predictor
from masksup_med.bundle.tiles import blend
from masksup_med.data.decode import read_image
from masksup_med.errors import DataError
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.reading import read_foreground, read_numbers
from masksup_med.inferers.disagreement import MAPS, compared
from masksup_med.inferers.views import View, views
from masksup_med.metrics.disagreement import disagreement
from masksup_med.metrics.overlap import iou

__all__ = [
    "DROPOUT",
    "ENTROPY",
    "MOST_VIEWS",
    "OTHERS",
    "Scored",
    "answer",
    "entropy",
    "has_dropout",
    "read_pair",
    "scored",
]

MOST_VIEWS = 7
#: What is compared with the views of a bundle's own kind.
OTHERS = ("symmetries", "hidden:0.1", "hidden:0.3", "hidden:0.5", "symmetries+hidden:0.1", "symmetries+hidden:0.3")
DROPOUT, ENTROPY = "dropout", "entropy"
_PLAIN = View()
_FLIPS = 3  # views that do not turn the picture, which come first
_COUNTS = (1, 3, 7)  # of views, for kinds that are only compared


class Scored(NamedTuple):
    """An image whose prediction was compared with its label."""

    case: Case
    iou: float  # with several classes, the mean over those that are in the prediction or the label
    averaged_iou: dict[int, float]  # of the mean of the bundle's own views, by their number
    doubt: dict[str, dict[int, float]]  # by kind of score and the passes it takes beside the plain one


def scored(predictor: Predictor, case: Case, kind: str, others: Sequence[str]) -> Scored:
    """Predict a case, and score it.

    Args:
        predictor: without views.
        case: an image and its label.
        kind: of the bundle's own views, scored with 1 to :data:`MOST_VIEWS` of them.
        others: of :data:`OTHERS`, :data:`DROPOUT` and :data:`ENTROPY`, what is scored beside.
    """
    picture, label = read_pair(case, len(predictor.bundle.classes))
    plain = answer(predictor, picture)
    doubt, averaged = {}, {}
    for name in dict.fromkeys((kind, *others)):
        if name == ENTROPY:
            doubt[name] = {0: entropy(plain)}
            continue
        most = MOST_VIEWS if predictor.takes_turned or name.startswith("hidden") else _FLIPS
        answers = list(_dropped(predictor, picture) if name == DROPOUT else _answers(predictor, picture, name, most))
        counts = [count for count in (range(1, MOST_VIEWS + 1) if name == kind else _COUNTS) if count <= len(answers)]
        maps = {count: compared(plain, answers[:count], average=True) for count in counts}
        doubt[name] = {count: _disagreement(each) for count, each in maps.items()}
        if name == kind:
            averaged = {count: _iou(predictor, each[:-MAPS], label) for count, each in maps.items()}
    return Scored(case, _iou(predictor, plain, label), averaged, doubt)


def has_dropout(predictor: Predictor) -> bool:
    """Whether there is anything in the network to drop out."""
    return bool(_dropouts(predictor))


def read_pair(case: Case, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A case's picture (H, W, 3) and label (H, W); all that is not background is 1 where there is one class.

    Raises:
        DataError: picture and label differ in size.
    """
    assert case.image is not None
    picture = read_image(case.image)
    label = (read_foreground if classes == 1 else read_numbers)(case.label, case.values)
    if picture.shape[:2] != label.shape:
        sizes = " pixels, its label ".join(f"{size[1]} × {size[0]}" for size in (picture.shape, label.shape))
        raise DataError(f"{case.image} has {sizes}; give each image a label of its own size.")
    return picture, label.astype(np.uint8)


def answer(predictor: Predictor, picture: NDArray[np.uint8], view: View = _PLAIN) -> torch.Tensor:
    """Probabilities (classes, W, H) for a picture that is shown in some way, in tiles if it is large."""

    def of(part: NDArray[np.uint8]) -> torch.Tensor:
        prepared = predictor.prepare(part)
        logits = predictor.infer([view.apply(prepared.image)])[0, 0]
        return predictor.probabilities(prepared, view.undo(logits))

    return blend(picture, predictor.bundle.max_pixels, of) if predictor.needs_tiles(picture) else of(picture)


def _answers(predictor: Predictor, picture: NDArray[np.uint8], kind: str, most: int) -> Iterator[torch.Tensor]:
    for view in views(kind, most):
        yield answer(predictor, picture, view)


def _dropped(predictor: Predictor, picture: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
    """Answers with parts of the network left out (Gal and Ghahramani, ICML 2016), the same parts for every image."""
    with _dropout(predictor), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(MOST_VIEWS):
            yield answer(predictor, picture)


@contextmanager
def _dropout(predictor: Predictor) -> Iterator[None]:
    layers = _dropouts(predictor)
    try:
        for layer in layers:
            layer.train()
        yield
    finally:
        for layer in layers:
            layer.eval()


def _dropouts(predictor: Predictor) -> list[_DropoutNd]:
    return [layer for layer in predictor.network.modules() if isinstance(layer, _DropoutNd) and layer.p > 0]


def entropy(probabilities: torch.Tensor) -> float:
    """Mean entropy of the pixels, in bits, of probabilities of shape (classes, W, H)."""
    if len(probabilities) == 1:
        probabilities = torch.cat([1 - probabilities, probabilities])
    return float(torch.special.entr(probabilities.clamp(0, 1)).sum(0).mean()) / float(np.log(2))


def _disagreement(maps: torch.Tensor) -> float:
    distance, foreground = maps[-MAPS:].numpy()
    return disagreement(distance, foreground, distance.size)


def _iou(predictor: Predictor, probabilities: torch.Tensor, label: NDArray[np.uint8]) -> float:
    classes = predictor.decide(probabilities).classes
    present = [number for number in predictor.bundle.classes if (classes == number).any() or (label == number).any()]
    return float(np.mean([iou(classes == number, label == number) for number in present])) if present else 1.0
