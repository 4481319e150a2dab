"""The loss of masked autoencoders against a slow account of He et al.'s."""

import numpy as np
import pytest
import torch

from masksup_med.losses import ReconstructionLoss


def by_hand(reconstruction, hidden, image, patch):
    """Patch by patch: normalise what is there, square what differs where it was hidden."""
    errors = []
    for picture, guess, away in zip(image, reconstruction, hidden, strict=True):
        for corner in np.ndindex(*(-(-side // patch) for side in image.shape[2:])):
            place = (slice(None), *(slice(patch * at, patch * (at + 1)) for at in corner))
            target = picture[place]
            target = (target - target.mean()) / np.sqrt(target.var() + 1e-6)
            errors.append(((guess[place] - target) ** 2)[np.broadcast_to(away[place], target.shape)])
    return np.concatenate(errors).mean()


@pytest.mark.parametrize("size", [(16, 24), (15, 21), (9, 8, 10)])
def test_against_a_slow_account(size):
    random = np.random.default_rng(0)
    image, guess = random.normal(size=(2, 2, 3, *size))
    hidden = random.random((2, 1, *size)) < 0.5
    loss = ReconstructionLoss(8)((torch.tensor(guess), torch.tensor(hidden)), torch.tensor(image))
    assert loss.item() == pytest.approx(by_hand(guess, hidden, image, 8))


def test_what_can_be_seen_does_not_count():
    image = torch.randn(1, 3, 16, 16)
    hidden = torch.zeros(1, 1, 16, 16)
    hidden[..., :8, :8] = 1
    guess = torch.randn(1, 3, 16, 16, requires_grad=True)
    ReconstructionLoss(8)((guess, hidden), image).backward()
    assert guess.grad[..., :8, :8].all() and not (guess.grad * (1 - hidden)).any()


def test_patches_of_one_colour_and_nothing_hidden():
    image, nothing = torch.full((1, 3, 16, 16), 0.3), torch.zeros(1, 1, 16, 16)
    assert ReconstructionLoss(8)((torch.zeros_like(image), nothing + 1), image) == pytest.approx(0, abs=1e-6)
    assert ReconstructionLoss(8)((torch.ones_like(image), nothing), image) == 0
