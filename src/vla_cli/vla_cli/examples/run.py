"""Many headless episodes: checks the request, spreads them over processes, tells progress.

Called by `vla sim --record N --headless`. Every episode has its own seed, so the number of
processes changes nothing but the time. Deliberately decides nothing about content.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
import multiprocessing
import os
from pathlib import Path
import shutil
import time
from typing import Any

from vla_cli.examples.options import EpisodeOptions
from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_data.recording.manifest import load_manifest
from vla_recorder.common import common_info


@dataclass(frozen=True)
class Batch:
    """What is to be made: `count` episodes, seeds from `first.seed` on."""

    out: Path
    count: int
    jobs: int
    first: EpisodeOptions
    contract: Path
    manifest: Path
    calibration: Path | None = None

    def names(self) -> list[str]:
        """Folder of each episode."""
        kind = self.first.task + ('_moving' if self.first.eye == 'moving' else '')
        kind += '_disturbed' if self.first.noise else ''
        return [f'{kind}_{self.first.seed + number:06d}' for number in range(self.count)]


def check(batch: Batch) -> None:
    """Raise one clear VlaError for what would fail later; makes the folder."""
    load_contract(batch.contract)
    load_manifest(batch.manifest)
    try:
        batch.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VlaError(f'{batch.out}: cannot be made ({error.strerror})') from error
    if not os.access(batch.out, os.W_OK):
        raise VlaError(f'{batch.out}: cannot be written to')
    there = [name for name in batch.names() if (batch.out / name).exists()]
    if there:
        raise VlaError(
            f'{batch.out / there[0]}: exists already; choose another --out or --seed'
            + (f' ({len(there)} of {batch.count} exist)' if len(there) > 1 else '')
        )


def generate(batch: Batch, tell: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """Make all episodes; `tell` hears of each as it is done. Returns their results by name."""
    results = []
    for result in _results(batch):
        results.append(result)
        tell(result)
    return sorted(results, key=lambda result: result['episode'])


def summary(results: list[dict[str, Any]], wall_s: float) -> str:
    """One line: how many, how fast by the clock, and by the processor time that it took."""
    simulated_s = sum(result['duration_s'] for result in results)
    cpu_s = sum(result['cpu_s'] for result in results)
    good = sum(result['outcome'] == 'success' for result in results)
    judged = any(result['outcome'] for result in results)
    size_mb = sum(result['bytes'] for result in results) / 1e6
    text = f'{len(results)} episodes' + (f', {good} succeeded' if judged else '')
    return (
        f'{text}, {simulated_s:.1f} s simulated in {wall_s:.1f} s: '
        f'{simulated_s / max(wall_s, 1e-9):.2f} x real time '
        f'({simulated_s / max(cpu_s, 1e-9):.2f} x for each core it got), {size_mb:.1f} MB'
    )


def progress(done: list[dict[str, Any]], count: int, wall_s: float) -> str:
    """Rate and time left."""
    left_s = wall_s / len(done) * (count - len(done))
    simulated_s = sum(result['duration_s'] for result in done)
    return (
        f'{len(done)}/{count}  {simulated_s / max(wall_s, 1e-9):.2f} x real time  '
        f'{left_s:.0f} s left'
    )


def _results(batch: Batch) -> Iterator[dict[str, Any]]:
    # Asked once: it takes a call of git.
    version = common_info(batch.contract, batch.calibration).software_version
    orders = [
        (batch, batch.out / name, replace(batch.first, seed=batch.first.seed + number), version)
        for number, name in enumerate(batch.names())
    ]
    if batch.jobs == 1:
        yield from map(_make, orders)
        return
    # Spawned: a GL context does not survive a fork.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(batch.jobs, context, _alone) as pool:
        futures = [pool.submit(_make, order) for order in orders]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise VlaError('a generating process was killed: too little memory?') from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _alone() -> None:
    """Numeric libraries must not start threads of their own in each of several processes."""
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        os.environ.setdefault(name, '1')


def _make(order: tuple[Batch, Path, EpisodeOptions, str]) -> dict[str, Any]:
    batch, path, options, version = order
    from vla_cli.examples.headless import HeadlessEpisode

    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    common = replace(common_info(batch.contract, batch.calibration), software_version=version)
    contract, manifest = load_contract(batch.contract), load_manifest(batch.manifest)
    episode = HeadlessEpisode(path, options, contract, manifest, common)
    try:
        result = episode.run()
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)  # half an example is none
        raise
    finally:
        episode.close()
    cpu_s = time.process_time() - began_cpu_s
    return {**result, 'wall_s': time.perf_counter() - began_s, 'cpu_s': cpu_s}
