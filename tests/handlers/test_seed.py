"""Random numbers depend on the seed and the epoch, not on what went before or on the number of workers."""

import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandGaussianNoised
from torch import nn

from masksup_med.handlers import EpochSeed


def batches_by_epoch(seed, start=0, workers=0, dataset_class=Dataset, epochs=3):
    """Train, and return what the network saw in each epoch."""
    items = [{"image": torch.full((1, 2), float(i)), "label": torch.zeros(1)} for i in range(6)]
    transform = Compose([RandGaussianNoised("image", prob=0.5)])
    dataset = dataset_class(items, transform)
    loader = DataLoader(dataset, batch_size=2, shuffle=True, num_workers=workers)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(2, 1))
    seen = []
    network.register_forward_hook(lambda _, inputs, output: seen.append(torch.as_tensor(inputs[0]).clone()))
    trainer = SupervisedTrainer(
        "cpu", epochs, loader, network, torch.optim.SGD(network.parameters(), 0.0), nn.MSELoss(),
        train_handlers=[EpochSeed(seed, [transform])],
    )  # fmt: skip
    trainer.state.epoch, trainer.state.iteration = start, start * 3
    torch.manual_seed(torch.randint(1000, ()).item() + start)
    trainer.run()
    return torch.stack(seen).reshape(epochs - start, -1)


@pytest.mark.parametrize("dataset_class", [Dataset, CacheDataset])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_the_same_after_a_resume(dataset_class, workers):
    whole = batches_by_epoch(7, workers=workers, dataset_class=dataset_class)
    resumed = batches_by_epoch(7, start=2, workers=workers, dataset_class=dataset_class)
    assert torch.equal(whole[2:], resumed)


def test_epochs_and_seeds_differ():
    first, second = batches_by_epoch(1), batches_by_epoch(2)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
