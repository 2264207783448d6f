"""`vla bench samples`: how fast aligned samples come out of an episode, on one core.

Called by its verb. Reads an episode in order and by jumps, and decodes its pictures apart from
that. Speed is told in multiples of real time, by the processor's time (what one free core would
take) and by the clock on the wall. Deliberately measures no training and no copying to a device.
"""

from collections.abc import Callable
from dataclasses import dataclass
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from vla_cli import system
from vla_core.contract import Contract
from vla_data.samples import SampleReader
from vla_data.synthetic import Shape, write_episode

WANTED = 20.0  # times real time, in order, by the processor's time
PICTURE_PX = (1280, 720)  # what the lab's cameras send, at JPEG quality 75
QUALITY = 75


@dataclass(frozen=True)
class Settings:
    """What is measured: an episode, or a made-up one of `seconds`; how many jumps."""

    episode: Path | None
    contract: Contract
    seconds: float
    jumps: int


def run(settings: Settings) -> dict[str, Any]:
    """Measure; return plain data for the table and JSON."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        if settings.episode is not None:
            return _measure(settings.episode, None, settings)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, 'made_up')
            shape = Shape(duration_s=settings.seconds, pictures=make_pictures())
            write_episode(folder, settings.contract, shape)
            return _measure(folder, settings.contract, settings)
    finally:
        os.sched_setaffinity(0, allowed)
        cv2.setNumThreads(threads)


def make_pictures() -> tuple[bytes, ...]:
    """Return a few JPEGs of the lab's size: smooth shapes under camera noise."""
    random, width, height = np.random.default_rng(0), *PICTURE_PX
    made = []
    for _ in range(6):
        coarse = random.integers(0, 255, (18, 32, 3), np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = random.normal(0, 3, picture.shape)
        noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
        made.append(cv2.imencode('.jpg', noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
    return tuple(made)


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table for people."""
    where = result['machine']
    head = (
        f'{result["episode"]}: {result["samples"]} samples, {result["duration_s"]:.0f} s, '
        f'{result["bytes"] / 1e6:.0f} MB'
    )
    rows = [head, f'{where["cpu"]}, one core, commit {result["commit"] or "unknown"}', '']
    rows.append(f'{"":26}{"ms a sample":>12}{"x real time":>13}{"on the wall":>13}')
    for title, part in (('in order', 'in_order'), ('by jumps', 'jumps')):
        values = result[part]
        rows.append(
            f'{title:26}{values["cpu_ms"]:12.2f}{values["times_real_time"]:13.1f}'
            f'{values["wall_times_real_time"]:13.1f}'
        )
    decode = result['decode']
    if decode['pictures']:
        rows.append(
            f'{"in order, with decoding":26}{decode["with_reading_ms"]:12.2f}'
            f'{decode["with_reading_times_real_time"]:13.1f}'
        )
        size = 'x'.join(map(str, decode['size_px']))
        rows.append(f'decoding alone: {decode["cpu_ms"]:.2f} ms a picture of {size}')
    else:
        rows.append('no pictures that could be decoded')
    word = 'met' if result['met'] else 'NOT met'
    rows += ['', f'wanted: {WANTED:g} times real time in order on one core: {word}']
    return rows


def _measure(folder: Path, contract: Contract | None, settings: Settings) -> dict[str, Any]:
    with SampleReader(folder, contract or _contract(folder, settings)) as reader:
        period_s = reader.contract.action.period_s
        in_order = _timed(lambda: [None for _ in reader], len(reader), period_s)
        order = np.random.default_rng(0).permutation(len(reader))[: settings.jumps].tolist()
        jumps = _timed(lambda: [reader[index] for index in order], len(order), period_s)
        decode = _decode(reader, in_order['cpu_ms'], period_s)
        bag = reader.episodes[0].bag
        size = sum(item.stat().st_size for item in folder.rglob('*') if item.is_file())
        return {
            'episode': 'a made-up episode' if settings.episode is None else str(folder),
            'samples': len(reader),
            'duration_s': (bag.last_ns - bag.start_ns) / 1e9,
            'bytes': size or folder.stat().st_size,
            'machine': system.machine(),
            'load_average': os.getloadavg()[0],
            'commit': system.commit(Path(__file__).parent),
            'in_order': in_order,
            'jumps': jumps,
            'decode': decode,
            'wanted_times_real_time': WANTED,
            'met': in_order['times_real_time'] >= WANTED,
        }


def _contract(folder: Path, settings: Settings) -> Contract | None:
    """Return the contract to read a given episode by: its own, or else the default one."""
    from vla_data.bag_reader import open_bag

    with open_bag(folder) as bag:
        return bag.info.contract() or settings.contract


def _timed(work: Callable[[], object], count: int, period_s: float) -> dict[str, float]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return {
        'samples': count,
        'cpu_ms': cpu_s / count * 1e3,
        'times_real_time': count * period_s / cpu_s,
        'wall_times_real_time': count * period_s / wall_s,
    }


def _decode(reader: SampleReader, reading_ms: float, period_s: float) -> dict[str, Any]:
    """Decode each distinct picture of the first seconds once, as a trainer with a cache would."""
    pictures: dict[tuple[str, int], bytes] = {}
    ticks = min(len(reader), 50)
    for index in range(ticks):
        for name, view in reader[index].views.items():
            pictures[name, view.stamp_ns] = view.jpeg
    cpu_s, decoded = time.process_time(), []
    for jpeg in pictures.values():
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is not None:
            decoded.append(image.shape)
    cpu_s = time.process_time() - cpu_s
    if not decoded:
        return {'pictures': 0}
    with_reading_ms = reading_ms + cpu_s / ticks * 1e3
    return {
        'pictures': len(decoded),
        'size_px': [decoded[0][1], decoded[0][0]],
        'cpu_ms': cpu_s / len(pictures) * 1e3,
        'with_reading_ms': with_reading_ms,
        'with_reading_times_real_time': period_s * 1e3 / with_reading_ms,
    }
