"""From a bag to the arrays of a prepared episode: one reading for the ticks, one for image sets.

Used by prepared.py, which says what each array is and keeps them. Whatever is left out is counted.
"""

import os
from pathlib import Path

import numpy as np

from vla_core.contract import Contract
from vla_core.counters import Counters
from vla_core.freshness import Reaction
from vla_core.pose_track import PoseTrack
from vla_core.timebase import NS, s_to_ns
from vla_data.bag_reader import Bag
from vla_data.samples import Sample, SampleReader
from vla_data.samples.topics import find_topics, POSE, pose_arrays, stamp_ns
from vla_training.cache.identity import picture_digest
from vla_training.cache.image_sets import image_sets
from vla_training.data.statistics import Sums

_OFF_GRID_NS = NS // 200  # a chunk further from the tick than this belongs to no tick
_FLOAT16_MAX = 65504.0


def tick_arrays(bag: Bag, window_file: Path, contract: Contract) -> dict[str, np.ndarray]:
    """Return the arrays that have a row a tick, and write the windows into `window_file`.

    What was left out is among them, by kind. OSError where the disk is full.
    """
    reader = SampleReader(bag, contract)
    rows, sensor, counters = _Rows(), Sums.zero(contract.sensor.channels), Counters()
    shape = (len(reader), contract.sensor.samples, contract.sensor.channels)
    windows = np.lib.format.open_memmap(window_file, 'w+', np.float16, shape)
    with window_file.open('r+b') as file:  # a full disk is told now; later it kills the process
        os.posix_fallocate(file.fileno(), 0, windows.offset + windows.nbytes)
    for index, sample in enumerate(reader):
        windows[index] = to_half(sample.window)
        sensor += Sums.of(sample.window[sample.window_mask])
        rows.add(sample, contract, counters)
    windows.flush()
    for kind, count in reader.counters.snapshot().items():
        counters.add(kind, count)
    return rows.arrays() | {
        'sensor_count': np.array(sensor.count),
        'sensor_sums': np.stack([sensor.total, sensor.squares]),
        'count_names': np.array(list(counters.snapshot()), dtype='U64'),
        'count_values': np.array(list(counters.snapshot().values()), np.int64),
    }


class _Rows:
    """Collects the small arrays, tick by tick."""

    def __init__(self) -> None:
        self._lists: dict[str, list[object]] = {}

    def add(self, sample: Sample, contract: Contract, counters: Counters) -> None:
        label, mask = _label(sample, contract, counters)
        has_state = bool(np.isfinite(sample.state).all() and np.isfinite(sample.state_age_s))
        age_ns = s_to_ns(sample.state_age_s) if has_state else 0
        values = {
            'mask': sample.window_mask,
            'tick_ns': np.int64(sample.tick_ns),
            'robot_ns': np.int64(sample.tick_ns - age_ns if has_state else 0),
            'state': sample.state,
            'state_age_s': np.float32(sample.state_age_s),
            'label': label,
            'label_mask': mask,
            'done': sample.action.astype(np.float32),
            'done_mask': sample.action_mask,
        }
        for name, value in values.items():
            self._lists.setdefault(name, []).append(value)

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.stack(rows) for name, rows in self._lists.items()}


def _label(
    sample: Sample, contract: Contract, counters: Counters
) -> tuple[np.ndarray, np.ndarray]:
    """What the demonstrator proposed for this tick (H, 6), and whether it is a label (H,)."""
    steps = contract.action.steps
    label, mask = np.zeros((steps, contract.action.dims), np.float32), np.zeros(steps, bool)
    chunk = sample.recorded
    if chunk is None:
        counters.add('ticks_without_chunk')
    elif abs(chunk.tick_ns - sample.tick_ns) > _OFF_GRID_NS:
        counters.add('chunks_off_the_grid')
    elif chunk.reaction != Reaction.USE:
        counters.add('chunks_held')
    elif chunk.delta.shape[1] != label.shape[1] or not np.isfinite(chunk.delta).all():
        counters.add('chunks_bad')
    else:
        count = min(steps, len(chunk.delta))
        label[:count], mask[:count] = chunk.delta[:count], True
    return label, mask


def set_arrays(bag: Bag, contract: Contract) -> dict[str, np.ndarray]:
    """Return the arrays that have a row an image set; no pictures, their digests."""
    track, gap_ns = _pose_track(bag, contract), s_to_ns(contract.state.limits.mark_s)
    unknown, views = np.full(7, np.nan), len(contract.views)
    known, stamps, poses, pictures, tasks = [], [], [], [], []
    for images in image_sets(bag, contract):
        mine = [picture.stamp_ns for picture in images.pictures]
        found = [track.at(time_ns, gap_ns) for time_ns in mine]
        known.append(images.known_ns)
        stamps.append(mine)
        poses.append([unknown if pose is None else pose for pose in found])
        pictures.append([
            np.frombuffer(picture_digest(picture.jpeg), np.uint8) for picture in images.pictures
        ])  # fmt: skip
        tasks.append(images.task)
    count = len(known)
    return {
        'known_ns': np.array(known, np.int64),
        'stamps_ns': np.array(stamps, np.int64).reshape(count, views),
        'poses': np.array(poses, np.float64).reshape(count, views, 7),
        'pictures': np.array(pictures, np.uint8).reshape(count, views, 32),
        'tasks': np.array(tasks, dtype=np.str_),
    }


def _pose_track(bag: Bag, contract: Contract) -> PoseTrack:
    track = PoseTrack(Counters())
    topic = find_topics(bag, contract).topic(POSE)
    if topic is not None:
        for _, _, message in bag.messages([topic]):
            track.add(stamp_ns(message), *pose_arrays(message))
    return track


def to_half(values: np.ndarray) -> np.ndarray:
    """Values as float16; what is too large for it is cut off."""
    return values.clip(-_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
