"""Images through the network: while it works on some, the next are read and the last are written."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from masksup_med.bundle.processing import Prediction
from masksup_med.predict.discovery import Found
from masksup_med.predict.job import Job, Loaded
from masksup_med.predict.manifest import Line

__all__ = ["lines_of", "threads_for"]

logger = logging.getLogger("masksup_med")

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Lines = list[Line | None]  # None for an image that was done before
_Step = Callable[[], Line]  # what is left to do with an image after the network


def lines_of(job: Job, images: Iterable[Found], workers: int, batch_size: int) -> Generator[Line | None]:
    """Load, predict and write images, a few at a time in memory; yield their lines, in the order of the images.

    On a CPU several images go through the network side by side, each on a few cores, for one image on all cores would
    wait for those that read and write; on a GPU it is one batch after the other. Images done before yield None.

    Args:
        job: what is done with one of them.
        images: that are to be done.
        workers: threads that read, and as many that write.
        batch_size: how many pictures of one size the network takes at once; halved when memory does not suffice.

    Raises:
        OSError: nothing can be written any more.
    """
    network, ahead = _Network(job, batch_size), workers + batch_size
    on_cpu = job.predictor.device.type == "cpu"
    readers, writers = ThreadPoolExecutor(workers, "read"), ThreadPoolExecutor(workers, "write")
    results: deque[Future[_Lines] | _Lines] = deque()
    with threads_for(workers if on_cpu else 1):
        try:
            for batch in _batches(_ahead(readers, job.load, images, ahead), batch_size):
                if not isinstance(batch, list):
                    results.append([batch])
                elif on_cpu:
                    results.append(writers.submit(_all_steps, network, batch))
                else:
                    results.extend(writers.submit(_one_step, step) for step in network.steps(batch))
                while len(results) > ahead or (results and _is_there(results[0])):
                    yield from _lines(results.popleft())
            for result in results:
                yield from _lines(result)
        finally:
            for executor in (readers, writers):
                executor.shutdown(cancel_futures=True)


class _Network:
    """The one network; what it finds is finished and written later. Its methods may be called from several threads."""

    def __init__(self, job: Job, batch_size: int) -> None:
        self._job = job
        self._batch_size = batch_size

    def steps(self, batch: list[Loaded]) -> Iterator[_Step]:
        """Predict images with inputs of one size. Those that the network cannot take are failures of their own."""
        size, start = self._batch_size, time.perf_counter()
        if len(batch) > size:
            yield from self._in_halves(batch)
            return
        try:
            finishes = self._infer(batch, size)
        except Exception as failure:
            error = failure.with_traceback(None)  # whose frames hold the memory that did not suffice
        else:
            seconds = (time.perf_counter() - start) / len(batch)
            for loaded, finish in zip(batch, finishes, strict=True):
                yield partial(_write, self._job, loaded, finish, seconds)
            return
        if _is_out_of_memory(error) and size > 1:
            self._batch_size = min(self._batch_size, size // 2)
            logger.warning("Out of memory: going on with batches of %d.", self._batch_size)
            yield from self.steps(batch)
        elif len(batch) > 1:
            yield from self._in_halves(batch)
        else:
            reason = self._reason(batch[0], error)
            yield partial(self._job.failed, batch[0].found, batch[0].sha256, reason, batch[0].seconds)

    def _in_halves(self, batch: list[Loaded]) -> Iterator[_Step]:
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from self.steps(part)

    def _infer(self, batch: list[Loaded], size: int) -> list[Callable[[], Prediction]]:
        predictor = self._job.predictor
        prepared = [loaded.prepared for loaded in batch if loaded.prepared is not None]
        if not prepared:
            predictions = [predictor(loaded.picture) for loaded in batch]
            return [partial(_same, prediction) for prediction in predictions]
        images = [each.image for each in prepared]
        # always as many at once, because the last digits of a result may depend on it
        logits = predictor.infer(images + images[-1:] * (size - len(images)))
        return [partial(predictor.finish, *pair) for pair in zip(prepared, logits, strict=False)]

    def _reason(self, loaded: Loaded, error: Exception) -> Exception | str:
        if not _is_out_of_memory(error):
            return error
        height, width = loaded.picture.shape[:2]
        return (
            f"Cannot predict {loaded.found.key}: the memory of {self._job.predictor.device} does not suffice for its "
            f"{width} × {height} pixels; give another --device, or lower max_pixels in the bundle's inference.yaml."
        )


def _all_steps(network: _Network, batch: list[Loaded]) -> _Lines:
    return [step() for step in network.steps(batch)]


def _one_step(step: _Step) -> _Lines:
    return [step()]


def _write(job: Job, loaded: Loaded, finish: Callable[[], Prediction], seconds: float) -> Line:
    start = time.perf_counter()
    try:
        prediction = finish()
    except Exception as error:
        return job.failed(loaded.found, loaded.sha256, error, seconds)
    return job.write(loaded, prediction, seconds + time.perf_counter() - start)


def _same(prediction: Prediction) -> Prediction:
    return prediction


@contextmanager
def threads_for(workers: int) -> Iterator[None]:
    """Let torch use its share of the cores in each of several threads that will be started."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ahead(executor: Executor, function: Callable[[_In], _Out], items: Iterable[_In], count: int) -> Iterator[_Out]:
    """Map in order, at most ``count`` items ahead of the one that is asked for."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(executor.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(loaded: Iterable[Loaded | Line | None], size: int) -> Iterator[list[Loaded] | Line | None]:
    """Put together neighbours whose inputs have one size; lines that are there already go through."""
    batch: list[Loaded] = []
    for item in loaded:
        if isinstance(item, Loaded) and batch and _shape(item) == _shape(batch[0]) and len(batch) < size:
            batch.append(item)
            continue
        if batch:
            yield batch
        batch = [item] if isinstance(item, Loaded) else []
        if not isinstance(item, Loaded):
            yield item
    if batch:
        yield batch


def _shape(loaded: Loaded) -> tuple[int, ...] | None:
    return None if loaded.prepared is None else tuple(loaded.prepared.image.shape)


def _is_there(result: Future[_Lines] | _Lines) -> bool:
    return not isinstance(result, Future) or result.done()


def _lines(result: Future[_Lines] | _Lines) -> _Lines:
    return result.result() if isinstance(result, Future) else result


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
