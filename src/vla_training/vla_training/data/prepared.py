"""Episodes as arrays on disk: read from the bag once, memory-mapped ever after.

`vla cache` and the data set prepare episodes; the data set reads them. The sensor windows, by far
the most, are a file of their own in float16: its step, 0.03 at a value of 50, is far below the
sensor's noise. An episode appears whole or not at all; a damaged one is prepared again.
Deliberately applies no option of training: what is prepared serves all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import shutil

import numpy as np

from vla_core.contract import Contract
from vla_core.counters import Counters
from vla_core.disk import partial_path, sync, why_not_written
from vla_data.bag_reader import Bag, open_bag
from vla_data.errors import BagError
from vla_training.cache.encoding import black_key
from vla_training.cache.files import DAMAGED, replace_file
from vla_training.cache.store import FeatureCache
from vla_training.data.ages import ages_in
from vla_training.data.extraction import set_arrays, tick_arrays
from vla_training.data.statistics import Sums

FORMAT = 2
FOLDER = 'samples'
_WINDOW, _ARRAYS = 'window.npy', 'arrays.npz'
_UNDECODABLE = 'undecodable.txt'  # how many pictures, where `vla cache` met any


@dataclass(frozen=True, eq=False)
class PreparedEpisode:
    """N ticks and S image sets of one episode; V views, H steps."""

    window: np.ndarray  # (N, 65, C) float16, memory-mapped
    mask: np.ndarray  # (N, 65) bool
    tick_ns: np.ndarray  # (N,) int64
    robot_ns: np.ndarray  # (N,) int64 acquisition of the state, 0 where there is none
    state: np.ndarray  # (N, 12) float32, NaN where there is none
    state_age_s: np.ndarray  # (N,) float32
    label: np.ndarray  # (N, H, 6) float32 what the demonstrator proposed
    label_mask: np.ndarray  # (N, H) bool False where there is none, or it said hold
    done: np.ndarray  # (N, H, 6) float32 what the robot did
    done_mask: np.ndarray  # (N, H) bool
    known_ns: np.ndarray  # (S,) int64 log time when the set was complete
    stamps_ns: np.ndarray  # (S, V) int64 acquisition
    poses: np.ndarray  # (S, V, 7) float64 of the tool at those times, NaN where unknown
    pictures: np.ndarray  # (S, V, 32) uint8 sha256 of each JPEG
    tasks: np.ndarray  # (S,) str
    ages: np.ndarray  # (M, 3) float64, see MeasuredAges
    sensor: Sums  # over all samples that are there, of all ticks
    counts: dict[str, int]  # what was left out, and why

    def __len__(self) -> int:
        return len(self.tick_ns)

    @property
    def undecodable(self) -> int:
        """Pictures that `vla cache` could not decode."""
        return self.counts.get('undecodable_pictures', 0)


def prepare(
    path: Path,
    root: Path,
    contract: Contract,
    limit: Callable[[int], None] = lambda size: None,
) -> PreparedEpisode:
    """Return the arrays of an episode, from `root`/samples or, the first time, from the bag.

    `limit` is asked before writing, with the size in bytes. BagError, ContractMismatch, VlaError.
    """
    there = prepared(path, root, contract)
    if there is not None:
        return there
    with open_bag(path) as bag:
        return prepare_bag(bag, root, contract, limit)


def prepared(path: Path, root: Path, contract: Contract) -> PreparedEpisode | None:
    """Return the arrays of an episode if they are whole in `root`/samples; opens no bag."""
    return _read(root / FOLDER / episode_name(path, contract))


def prepare_bag(
    bag: Bag, root: Path, contract: Contract, limit: Callable[[int], None] = lambda size: None
) -> PreparedEpisode:
    """Do what `prepare` does with a bag that is open (opening may have repaired it)."""
    folder = root / FOLDER / episode_name(bag.path, contract)
    there = _read(folder)
    if there is None:
        limit(_window_bytes(bag, contract))
        _write(bag, folder, contract)
        there = _read(folder)
    if there is None:
        raise BagError(bag.path, f'cannot be prepared in {folder}', 'check the folder')
    return there


def note_undecodable(path: Path, root: Path, contract: Contract, count: int) -> None:
    """Keep with a prepared episode how many of its pictures are undecodable: to be told again."""
    if count:
        target = root / FOLDER / episode_name(path, contract) / _UNDECODABLE
        replace_file(target, lambda partial: partial.write_text(str(count)))


def feature_keys(
    episode: PreparedEpisode, cache: FeatureCache, black: bool = False
) -> list[bytes]:
    """Key (S,) of the features of each image set; `black`: as if the pictures were black."""
    tasks, views = episode.tasks.tolist(), episode.pictures.shape[1]
    if black:
        return [black_key(cache, task, views) for task in tasks]
    return [
        cache.key(task, [picture.tobytes() for picture in pictures])
        for task, pictures in zip(tasks, episode.pictures)
    ]


def _window_bytes(bag: Bag, contract: Contract) -> int:
    """How much room the windows of an episode take, roughly."""
    ticks = (bag.last_ns - bag.start_ns) // contract.action.period_ns
    return int(ticks) * contract.sensor.samples * contract.sensor.channels * 2


def episode_name(path: Path, contract: Contract) -> str:
    """Follow every change of the recording: files, sizes, times, and the contract."""
    if not path.exists():
        raise BagError(path, 'no such file or folder')
    files = [path] if path.is_file() else sorted(item for item in path.iterdir() if item.is_file())
    parts = [str(FORMAT), contract.hash]
    parts += [f'{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}' for file in files]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]


def _read(folder: Path) -> PreparedEpisode | None:
    """Return what is there; None where nothing is, or it is damaged."""
    try:
        with np.load(folder / _ARRAYS, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        counts = dict(zip(values.pop('count_names').tolist(), values.pop('count_values').tolist()))
        sensor = Sums(int(values.pop('sensor_count')), *values.pop('sensor_sums'))
        window = np.load(folder / _WINDOW, mmap_mode='r')
        if (folder / _UNDECODABLE).exists():
            counts['undecodable_pictures'] = int((folder / _UNDECODABLE).read_text())
        found = PreparedEpisode(window=window, sensor=sensor, counts=counts, **values)
    except (*DAMAGED, TypeError):  # the latter where an array is missing
        return None
    return found if len(window) == len(found) else None


def _write(bag: Bag, folder: Path, contract: Contract) -> None:
    partial = partial_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        arrays = tick_arrays(bag, partial / _WINDOW, contract) | set_arrays(bag, contract)
        arrays['ages'] = ages_in(bag, arrays['tick_ns'])
        np.savez(partial / _ARRAYS, **arrays)
        for name in (_WINDOW, _ARRAYS):
            sync(partial / name)
        if folder.is_dir() and _read(folder) is None:
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if _read(folder) is not None:  # another process was faster
            return
        reason, remedy = why_not_written(error)
        raise BagError(bag.path, f'cannot be prepared in {folder} ({reason})', remedy) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def total_counts(episodes: Sequence[PreparedEpisode]) -> dict[str, int]:
    """Join what was left out of several episodes."""
    counters = Counters()
    for episode in episodes:
        for kind, count in episode.counts.items():
            counters.add(kind, count)
    return counters.snapshot()
