"""Views of an image: each is undone exactly, and is the same whenever it is asked for."""

from __future__ import annotations

import doctest
import math

import pytest
import torch

from masksup_med.errors import SettingError
from masksup_med.inferers import views as module
from masksup_med.inferers.views import DEFAULT, View, views

KINDS = {"symmetries": 7, "hidden:0.3": 9, "symmetries+hidden:.1": 15}  # and how many of them are looked at
SIZES = [(48, 64), (33, 70), (5, 7), (1, 9)]


def image_of(*size: int, seed: int = 0) -> torch.Tensor:
    """Nowhere 0, which is what hidden pixels are."""
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed)) + 0.5


def test_examples() -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted > 0 and failed == 0


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_views_are_undone_exactly_where_nothing_is_hidden(kind: str, size: tuple[int, int]) -> None:
    image = image_of(*size)
    for view in views(kind, KINDS[kind]):
        back = view.undo(view.apply(image))
        hidden = (back == 0).all(0)
        assert hidden.any() <= (view.hidden > 0)
        assert torch.equal(back, image.masked_fill(hidden, 0))


def test_the_image_is_left_as_it_is() -> None:
    image = image_of(40, 50)
    before = image.clone()
    for kind, count in KINDS.items():
        for view in views(kind, count):
            view.apply(image)
    assert torch.equal(image, before)


def test_symmetries_are_those_of_a_square_but_the_identity() -> None:
    image = image_of(6, 6)
    turned = [torch.rot90(each, turns, (1, 2)) for turns in range(4) for each in (image, image.flip(1))]
    seen = [view.apply(image) for view in views("symmetries", 7)]
    found = {next(n for n, each in enumerate(turned) if torch.equal(each, one)) for one in seen}
    assert len(found) == 7 and 0 not in found


def test_the_first_three_symmetries_keep_the_size_of_an_oblong() -> None:
    sizes = [view.apply(image_of(4, 9)).shape[1:] for view in views("symmetries", 7)]
    assert sizes == [(4, 9)] * 3 + [(9, 4)] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_views_stay_the_same_when_more_are_asked_for(kind: str) -> None:
    every, image = views(kind, KINDS[kind]), image_of(50, 70)
    for count in range(1, KINDS[kind]):
        assert views(kind, count) == every[:count]
    assert len({view.apply(image).numpy().tobytes() for view in every}) == len(every)


@pytest.mark.parametrize("size", [(352, 352), (64, 80), (33, 70), (200, 17)], ids=str)
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.9])
def test_the_hidden_share_is_right_to_within_a_patch(size: tuple[int, int], ratio: float) -> None:
    for view in views(f"hidden:{ratio}", 5):
        hidden = (view.apply(image_of(*size)) == 0).all(0).sum().item()
        assert abs(hidden - ratio * math.prod(size)) <= 16 * 16


def test_what_is_hidden_does_not_depend_on_what_the_image_shows() -> None:
    for view in views("symmetries+hidden:0.3", 9):
        first, second, again = (view.apply(image_of(64, 80, seed=seed)) == 0 for seed in (0, 1, 0))
        assert torch.equal(first, second) and torch.equal(first, again)


def test_views_take_nothing_from_other_random_numbers() -> None:
    (view,) = views("hidden:0.3", 1)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    view.apply(image_of(64, 80))
    assert torch.equal(torch.rand(3), expected)


def test_hidden_views_of_symmetries_are_the_flips_of_hidden_ones() -> None:
    image = image_of(64, 64)
    pairs = zip(views("symmetries+hidden:0.3", 7), views("hidden:0.3", 7), views("symmetries", 7), strict=True)
    for both, hidden, symmetry in pairs:
        assert torch.equal(both.apply(image), symmetry.apply(hidden.apply(image)))


def test_an_image_of_one_patch_is_never_all_hidden() -> None:
    for size in SIZES:
        assert all((view.apply(image_of(*size)) != 0).any() for view in views("hidden:0.9", 5))


def test_a_view_of_its_own_is_the_image_as_it_is() -> None:
    image = image_of(4, 5)
    assert torch.equal(View().apply(image), image) and torch.equal(View().undo(image), image)


UNKNOWN = ["", "mirror", "Symmetries", "symmetries+", "hidden", "hidden:", "hidden:0", "hidden:0.0", "hidden:.00"]
UNKNOWN += ["hidden:1", "hidden:1.5", "hidden:-0.3", "hidden:0.3+symmetries", "symmetrieshidden:0.3", "hidden:0.3\n"]
UNKNOWN += [" symmetries", "hidden:0.3+hidden:0.3"]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_kinds_are_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(SettingError, match=r"of no known kind; the kinds are symmetries, hidden:RATIO, symmetries\+"):
        views(kind, 1)


def test_a_sum_of_one_kind_is_refused() -> None:
    with pytest.raises(SettingError, match="of no known kind"):
        views("+hidden:0.3", 1)


@pytest.mark.parametrize(("kind", "count"), [(DEFAULT, 8), (DEFAULT, 0), (DEFAULT, -1), ("hidden:0.3", 0)])
def test_numbers_of_views_that_there_are_not(kind: str, count: int) -> None:
    with pytest.raises(SettingError, match=f"There are no {count} views of the kind {kind}; choose .* from 1 to 7"):
        views(kind, count)
