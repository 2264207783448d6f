"""Batches of the coming steps, made by a thread while the present one is computed.

Used by the loop. Which samples and random numbers a batch has follows from its step and part
alone, so nothing depends on the thread's pace.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from vla_training.train.config import TrainConfig
from vla_training.train.sampling import draw_rng, SampleOrder
from vla_training.train.seam import TrainingBatch, TrainingData

_AHEAD = 2


class Feed:
    """Batches in order of steps and parts. `next` is called by one thread."""

    def __init__(
        self, data: TrainingData, order: SampleOrder, config: TrainConfig, parts: Sequence[int],
        step: int,
    ) -> None:  # fmt: skip
        """`parts`: numbers of the batches of a step that this process computes."""
        self._data, self._order, self._config = data, order, config
        self._coming = self._keys(parts, step)
        self._waiting: deque[tuple[tuple[int, int], Future[TrainingBatch]]] = deque()
        self._pool = ThreadPoolExecutor(1, 'batches')

    def __enter__(self) -> 'Feed':
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def next(self, step: int, part: int) -> TrainingBatch:
        """Return the batch of a step's part, which must be the next one in order."""
        while len(self._waiting) < _AHEAD:
            self._waiting.append(self._submit())
        key, future = self._waiting.popleft()
        assert key == (step, part), f'expected the batch {key}, asked for {(step, part)}'
        self._waiting.append(self._submit())
        return future.result()

    def _submit(self) -> tuple[tuple[int, int], 'Future[TrainingBatch]']:
        key = next(self._coming)
        return key, self._pool.submit(self._make, *key)

    def _make(self, step: int, part: int) -> TrainingBatch:
        config = self._config
        start = step * config.samples_a_step + part * config.batch
        indices = self._order.at(start, config.batch)
        return self._data.batch(indices, draw_rng(config.seed, step, part))

    @staticmethod
    def _keys(parts: Sequence[int], step: int) -> Iterator[tuple[int, int]]:
        while True:
            yield from ((step, part) for part in parts)
            step += 1
