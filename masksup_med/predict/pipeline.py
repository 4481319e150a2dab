"""Images through the network: while it works on some, the next are read and the last are written."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

from masksup_med.bundle.processing import Prediction
from masksup_med.predict.discovery import Found
from masksup_med.predict.job import Job, Loaded
from masksup_med.predict.manifest import Line

__all__ = ["lines_of"]

logger = logging.getLogger("masksup_med")

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Result = Future[Line] | Line | None  # one that is being written, one that is there, one that was done before


def lines_of(job: Job, images: Iterable[Found], workers: int, batch_size: int) -> Generator[Line | None]:
    """Load, predict and write images, a few at a time in memory; yield their lines, in the order of the images.

    Those that are done already yield None.

    Args:
        job: what is done with one of them.
        images: that are to be done.
        workers: threads that read, and as many that write.
        batch_size: how many pictures of one size the network takes at once; halved when memory does not suffice.

    Raises:
        OSError: nothing can be written any more.
    """
    network, ahead = _Network(job, batch_size), workers + batch_size
    readers, writers = ThreadPoolExecutor(workers, "read"), ThreadPoolExecutor(workers, "write")
    results: deque[_Result] = deque()
    try:
        for batch in _batches(_ahead(readers, job.load, images, ahead), batch_size):
            results.extend(network.predict(batch, writers) if isinstance(batch, list) else [batch])
            while len(results) > ahead or (results and _is_there(results[0])):
                yield _line(results.popleft())
        yield from map(_line, results)
    finally:
        for executor in (readers, writers):
            executor.shutdown(cancel_futures=True)


class _Network:
    """The one network, in the thread that calls it; what it finds is finished and written in others."""

    def __init__(self, job: Job, batch_size: int) -> None:
        self._job = job
        self._batch_size = batch_size

    def predict(self, batch: list[Loaded], writers: Executor) -> Iterator[_Result]:
        """Predict images with inputs of one size. Those that the network cannot take are failures of their own."""
        if len(batch) > self._batch_size:
            yield from self._in_halves(batch, writers)
            return
        start = time.perf_counter()
        try:
            finishes = self._infer(batch)
        except Exception as failure:
            error = failure.with_traceback(None)  # whose frames hold the memory that did not suffice
        else:
            seconds = (time.perf_counter() - start) / len(batch)
            for loaded, finish in zip(batch, finishes, strict=True):
                yield writers.submit(_write, self._job, loaded, finish, seconds)
            return
        if _is_out_of_memory(error) and self._batch_size > 1:
            self._batch_size //= 2
            logger.warning("Out of memory: going on with batches of %d.", self._batch_size)
            yield from self.predict(batch, writers)
        elif len(batch) > 1:
            yield from self._in_halves(batch, writers)
        else:
            yield self._job.failed(batch[0].found, batch[0].sha256, self._reason(batch[0], error), batch[0].seconds)

    def _in_halves(self, batch: list[Loaded], writers: Executor) -> Iterator[_Result]:
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from self.predict(part, writers)

    def _infer(self, batch: list[Loaded]) -> list[Callable[[], Prediction]]:
        predictor = self._job.predictor
        prepared = [loaded.prepared for loaded in batch if loaded.prepared is not None]
        if not prepared:
            predictions = [predictor(loaded.picture) for loaded in batch]
            return [partial(_same, prediction) for prediction in predictions]
        images = [each.image for each in prepared]
        # always as many at once, because the last digits of a result may depend on it
        logits = predictor.infer(images + images[-1:] * (self._batch_size - len(images)))
        return [partial(predictor.finish, *pair) for pair in zip(prepared, logits, strict=False)]

    def _reason(self, loaded: Loaded, error: Exception) -> Exception | str:
        if not _is_out_of_memory(error):
            return error
        height, width = loaded.picture.shape[:2]
        return (
            f"Cannot predict {loaded.found.key}: the memory of {self._job.predictor.device} does not suffice for its "
            f"{width} × {height} pixels; give another --device, or lower max_pixels in the bundle's inference.yaml."
        )


def _write(job: Job, loaded: Loaded, finish: Callable[[], Prediction], seconds: float) -> Line:
    start = time.perf_counter()
    try:
        prediction = finish()
    except Exception as error:
        return job.failed(loaded.found, loaded.sha256, error, seconds)
    return job.write(loaded, prediction, seconds + time.perf_counter() - start)


def _same(prediction: Prediction) -> Prediction:
    return prediction


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


def _is_there(result: _Result) -> bool:
    return not isinstance(result, Future) or result.done()


def _line(result: _Result) -> Line | None:
    return result.result() if isinstance(result, Future) else result


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
