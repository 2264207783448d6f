"""Fills the cache from episodes, in one process or several, on one device or several.

Called by `vla cache`. An episode is one unit of work; what is there already is not computed again,
so a run that was killed goes on where it was. Deliberately prints nothing: progress is a callback.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
import functools
import multiprocessing
import os
from pathlib import Path
import signal
import threading
from typing import Any

from vla_core.contract import check_same, Contract
from vla_core.errors import VlaError
from vla_data import catalog
from vla_data.bag_reader import open_bag
from vla_data.errors import BagError
from vla_policy.checkpoint import load_vlm, read_manifest
from vla_policy.checkpoint_load import choose_device, choose_dtype
from vla_training.cache.encoding import Encoded, Encoder, SetEncoder
from vla_training.cache.identity import EncoderIdentity, identity_of
from vla_training.cache.store import FeatureCache, folder_bytes, ShardWriter, SizeLimit, WriteLock
from vla_training.data.prepared import (
    feature_keys,
    note_undecodable,
    prepare_bag,
    prepared,
    PreparedEpisode,
)
from vla_training.processes import ended_by_errors

_LOOK_S = 0.5


@dataclass(frozen=True)
class CacheOrder:
    """What is wanted. `devices` are dealt out to the processes in turn.

    `dtype` auto: the number format of what is there already, else what the devices are best at.
    """

    checkpoint: Path
    episodes: tuple[Path, ...]
    out: Path
    jobs: int = 1
    devices: tuple[str, ...] = ('cpu',)
    dtype: str = 'auto'
    max_bytes: float = 20e9
    threads: int = 1


@dataclass(frozen=True)
class Progress:
    """How far it is. `expected` sets are estimated from the episodes' counts of messages."""

    sets: int
    expected: int


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    identity: EncoderIdentity
    encoded: Encoded
    bytes: int  # of the whole cache folder
    leftovers: int  # unfinished files of killed runs that were removed


def build(order: CacheOrder, tell: Callable[[Progress], None] = lambda progress: None) -> Outcome:
    """Make all features that are missing. VlaError for what a person can put right."""
    identity = _identity(order)
    contract = read_manifest(order.checkpoint).contract
    expected = sum(_check_episode(path, contract) for path in order.episodes)
    with WriteLock(order.out) as lock:
        total, done = Encoded(), 0
        for result, sets in _results(order, identity):
            if result is not None:
                total += result
            done = sets
            tell(Progress(done, max(expected, done)))
        total.empty.sort()
        return Outcome(identity, total, folder_bytes(order.out), lock.removed)


def _identity(order: CacheOrder) -> EncoderIdentity:
    """Whose features are made; VlaError where the devices do not agree on a number format."""
    devices = [choose_device(name) for name in order.devices]
    if order.dtype == 'auto':  # training takes one format: what is there is gone on with
        there = FeatureCache.filled(order.out, order.checkpoint)
        if there is not None:
            return there.identity
    dtypes = {str(choose_dtype(order.dtype, device)) for device in devices}
    if len(dtypes) > 1:
        raise VlaError('the devices would compute in different number formats; give --dtype')
    return identity_of(order.checkpoint, dtypes.pop().removeprefix('torch.'))


def _check_episode(path: Path, contract: Contract) -> int:
    """Return how many image sets to expect; of an episode whose metadata fits nothing is read."""
    entry = catalog.load(path)
    if entry.fault:
        raise BagError(path, entry.fault)
    if entry.info.contract_hash != contract.hash:
        own = entry.info.contract()
        if own is not None:
            check_same(contract, own, 'of the checkpoint', f'of {path}')
    topics = [view.topic for view in contract.views]
    counts = [
        count for name, count in entry.topics.items() if any(map(name.endswith, topics))
    ]  # fmt: skip
    return max(counts, default=0)


def _results(
    order: CacheOrder, identity: EncoderIdentity
) -> Iterator[tuple[Encoded | None, int]]:  # fmt: skip
    """Yield results of episodes, None in between, with the sets done so far."""
    if order.jobs == 1:
        count = _Count()
        worker = _Worker(order, identity, order.devices[0], count.add)
        for path in order.episodes:
            yield worker.episode(path), count.value
        return
    context = multiprocessing.get_context('spawn')  # neither CUDA nor threads survive a fork
    shared, turn = context.Value('q', 0), context.Value('q', 0)
    given = order, identity, shared, turn
    with ProcessPoolExecutor(order.jobs, context, _begin, given) as pool, ended_by_errors():
        left = {pool.submit(_episode, path) for path in order.episodes}
        try:
            while left:
                done, left = wait(left, _LOOK_S, FIRST_COMPLETED)
                for future in done:
                    yield future.result(), shared.value
                yield None, shared.value
        except BrokenProcessPool as error:
            if error.__cause__ is not None:  # nobody was killed: an answer could not be read
                raise
            raise VlaError(
                'a process of vla cache was killed: too little memory? Try again with fewer '
                '--jobs; what is done stays'
            ) from error


class _Count:
    value = 0

    def add(self) -> None:
        self.value += 1


class _Worker:
    """Model and cache of one process."""

    def __init__(
        self, order: CacheOrder, identity: EncoderIdentity, device: str,
        done: Callable[[], None], encoder: Encoder | None = None,
    ) -> None:  # fmt: skip
        import torch

        torch.set_num_threads(order.threads)
        self._contract = read_manifest(order.checkpoint).contract
        model = encoder or load_vlm(order.checkpoint, device, identity.dtype)
        self._cache = FeatureCache(order.out, identity)
        self._encode = SetEncoder(model, self._cache, self._contract)
        self._limit, self._done = SizeLimit(order.out, order.max_bytes), done

    def episode(self, path: Path) -> Encoded:
        there = prepared(path, self._cache.root, self._contract)
        if there is not None and self._complete(there):
            result = Encoded(len(there.known_ns), 0, there.undecodable, set(there.tasks.tolist()))
            for _ in range(result.sets):
                self._done()
        else:
            result = self._made(path)
        if not result.sets:
            result.empty.append(path)
        return result

    def _made(self, path: Path) -> Encoded:
        root = self._cache.root
        with open_bag(path) as bag:
            writer = ShardWriter(self._cache, self._limit.check)
            result = self._encode.episode(bag, writer, self._done)
            prepare_bag(bag, root, self._contract, self._limit.check)
            note_undecodable(path, root, self._contract, result.undecodable)
        return result

    def _complete(self, episode: PreparedEpisode) -> bool:
        keys = feature_keys(episode, self._cache) + feature_keys(episode, self._cache, True)
        return all(key in self._cache for key in keys)


_worker: Callable[[], _Worker] | None = None  # of a pool's process


def _begin(order: CacheOrder, identity: EncoderIdentity, shared: Any, turn: Any) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    parent = multiprocessing.parent_process()
    if parent is not None:  # a killed parent must not leave its processes behind
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with turn.get_lock():
        device = order.devices[turn.value % len(order.devices)]
        turn.value += 1

    def done() -> None:
        with shared.get_lock():
            shared.value += 1

    # Made for the first episode: what goes wrong is then that one's error, and is told.
    _worker = functools.cache(lambda: _Worker(order, identity, device, done))


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _episode(path: Path) -> Encoded:
    assert _worker is not None
    return _worker().episode(path)


def episode_folders(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return the episodes at and below each folder. VlaError where there is none."""
    from vla_data.catalog import find

    found: list[Path] = []
    for folder in folders:
        here = find(folder)
        if not here:
            raise VlaError(f'{folder}: holds no episodes')
        found += here
    return tuple(dict.fromkeys(found))
