"""Disagreement between views, as maps and as a number, against what NumPy says of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masksup_med.inferers.disagreement import MAPS, compared
from masksup_med.metrics.disagreement import disagreement

CASES = {"classes": st.integers(1, 4), "views": st.integers(1, 7), "seed": st.integers(0, 2**32 - 1)}
SOME = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def answers(classes: int, views: int, seed: int = 0, size: tuple[int, int] = (5, 4)) -> torch.Tensor:
    """Probabilities for the image as it is and its views, shape (1 + views, classes, W, H)."""
    logits = 3 * torch.randn(1 + views, classes, *size, generator=torch.Generator().manual_seed(seed))
    return logits.sigmoid() if classes == 1 else logits.softmax(1)


def by_numpy(probabilities: np.ndarray, average: bool) -> np.ndarray:
    whole = probabilities if probabilities.shape[1] > 1 else np.concatenate([1 - probabilities, probabilities], axis=1)
    distance = 0.5 * np.abs(whole[1:] - whole[0]).sum(axis=1).mean(axis=0)
    found = 1 - whole[:, 0]
    foreground = (found[0] + found[1:].mean(axis=0)) / 2
    shown = probabilities.mean(axis=0) if average else probabilities[0]
    return np.concatenate([shown, distance[None], foreground[None]])


@given(**CASES, average=st.booleans())
@SOME
def test_maps_as_numpy(classes: int, views: int, seed: int, average: bool) -> None:
    probabilities = answers(classes, views, seed)
    maps = compared(probabilities[0], list(probabilities[1:]), average)
    assert maps.shape == (classes + MAPS, 5, 4) and maps.dtype == torch.float32
    np.testing.assert_allclose(maps, by_numpy(probabilities.double().numpy(), average), rtol=0, atol=1e-6)
    assert (maps >= 0).all() and (maps <= 1 + 1e-6).all()


def test_probabilities_are_the_plain_ones_to_the_bit_unless_they_are_averaged() -> None:
    probabilities = answers(3, 3)
    assert torch.equal(compared(probabilities[0], list(probabilities[1:]), average=False)[:-MAPS], probabilities[0])
    assert not torch.equal(compared(probabilities[0], list(probabilities[1:]), average=True)[:-MAPS], probabilities[0])


@pytest.mark.parametrize("classes", [1, 3])
def test_answers_are_asked_for_one_at_a_time_and_once(classes: int) -> None:
    probabilities, asked = answers(classes, 4), []
    before = probabilities.clone()

    def others() -> Iterator[torch.Tensor]:
        for number, each in enumerate(probabilities[1:]):
            asked.append(number)
            yield each

    maps = compared(probabilities[0], others(), average=True)
    assert asked == [0, 1, 2, 3] and torch.equal(probabilities, before)
    assert torch.equal(maps, compared(probabilities[0], list(probabilities[1:]), average=True))


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_views_that_answer_the_same_are_not_apart(classes: int) -> None:
    plain = answers(classes, 1)[0]
    *shown, distance, foreground = compared(plain, [plain] * 3, average=True)
    assert torch.equal(distance, torch.zeros(5, 4))
    torch.testing.assert_close(torch.stack(shown), plain)
    torch.testing.assert_close(foreground, plain[0] if classes == 1 else 1 - plain[0])


def test_views_that_answer_the_contrary_are_as_far_apart_as_can_be() -> None:
    ones, zeros = torch.ones(1, 2, 3), torch.zeros(1, 2, 3)
    assert compared(ones, [zeros, zeros], average=False)[1].unique().tolist() == [1]
    red, green = torch.eye(3)[1].reshape(3, 1, 1), torch.eye(3)[2].reshape(3, 1, 1)
    assert compared(red, [green], average=False).flatten().tolist() == [0, 1, 0, 1, 1]  # both are foreground


@given(**CASES)
@SOME
def test_the_order_of_the_views_and_of_the_classes_that_are_found_does_not_matter(
    classes: int, views: int, seed: int
) -> None:
    probabilities = answers(classes, views, seed)
    maps = compared(probabilities[0], list(probabilities[1:]), average=True)
    torch.testing.assert_close(compared(probabilities[0], list(probabilities[1:].flip(0)), average=True), maps)
    order = [0, *range(classes - 1, 0, -1)]
    renamed = compared(probabilities[0][order], list(probabilities[1:, order]), average=True)
    torch.testing.assert_close(renamed[-MAPS:], maps[-MAPS:])


@pytest.mark.parametrize("classes", [1, 3])
def test_of_two_answers_either_may_be_the_plain_one(classes: int) -> None:
    first, second = answers(classes, 1)
    torch.testing.assert_close(compared(first, [second], average=True), compared(second, [first], average=True))


def test_one_class_is_as_two_of_which_one_is_background() -> None:
    single = answers(1, 3)
    both = torch.cat([1 - single, single], dim=1)
    one, two = (compared(each[0], list(each[1:]), average=True) for each in (single, both))
    torch.testing.assert_close(one, two[1:])


# as one number


@given(seed=CASES["seed"])
@SOME
def test_disagreement_of_two_answers_is_one_minus_soft_dice(seed: int) -> None:
    p, q = answers(1, 1, seed).double().numpy()
    _, distance, foreground = compared(torch.from_numpy(p), [torch.from_numpy(q)], average=False).numpy()
    dice = 2 * np.minimum(p, q).sum() / (p + q).sum()
    assert disagreement(distance, foreground) == pytest.approx(1 - dice, abs=1e-12)


@given(**CASES, pixels=st.sampled_from([0, 20, 10**6]))
@SOME
def test_disagreement_is_from_0_to_1(classes: int, views: int, seed: int, pixels: int) -> None:
    probabilities = answers(classes, views, seed)
    distance, foreground = compared(probabilities[0], list(probabilities[1:]), average=False)[-MAPS:].numpy()
    assert 0 <= disagreement(distance, foreground, pixels) <= 1


def test_of_masks_it_is_one_minus_their_dice_coefficient() -> None:
    p, q = torch.zeros(2, 1, 10, 10)
    p[0, 2:6, 2:7], q[0, 4:8, 2:7] = 1, 1  # 20 pixels each, 10 in common
    distance, foreground = compared(p, [q], average=False)[-MAPS:].numpy()
    assert disagreement(distance, foreground) == pytest.approx(0.5)
    assert disagreement(distance.sum(), foreground.sum()) == pytest.approx(0.5)


def test_a_picture_in_which_nothing_is_found_is_not_doubtful() -> None:
    nothing = np.zeros((100, 100), np.float32)
    assert disagreement(nothing, nothing) == 0 and disagreement(nothing, nothing, nothing.size) == 0
    hardly = np.full((100, 100), 1e-7, np.float32)
    assert disagreement(hardly, hardly / 2, hardly.size) < 0.01
    assert disagreement(hardly, hardly / 2) == pytest.approx(1)


def test_a_small_finding_that_views_do_not_share_is_doubtful() -> None:
    p = np.zeros((100, 100), np.float32)
    p[:5, :5] = 1
    assert disagreement(p, p / 2, p.size) > 0.95


def test_large_pictures_are_summed_exactly() -> None:
    distance = np.full((5000, 5000), 0.1, np.float32)
    assert disagreement(distance, distance) == pytest.approx(0.5, rel=1e-12)
