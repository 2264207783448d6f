"""Episodes as a LeRobot dataset, format v3.0: parquet, MP4, stats, tasks, episodes.

Called by `vla export`. Written from the format as the `lerobot` package 0.4 reads it, without that
package: it needs an environment of its own. Every frame is one tick and holds what the live node
would have known then, with the true capture times beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
import json
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_data.bag_reader import Bag
from vla_data.errors import BagError
from vla_data.exporting import features as f
from vla_data.exporting.features import Plan, video_key
from vla_data.exporting.statistics import ImageStats, merge, Stats, vector_stats, WindowStats
from vla_data.exporting.tables import FrameFiles, write_episodes, write_tasks
from vla_data.exporting.ticks import Ticks
from vla_data.exporting.video import video_info, VideoFiles
from vla_data.samples.values import Sample

VERSION = 'v3.0'
CHUNK = 'chunk-000'  # 1000 files a chunk: 100 GB of frames, which no lab of ours reaches
DATA_MB, VIDEO_MB, CHUNK_FILES = 100, 200, 1000
DATA = 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
VIDEO = 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4'
EPISODES = f'meta/episodes/{CHUNK}/file-000.parquet'


@dataclass(frozen=True)
class ExportSettings:
    """rate_hz: frames a second. views: () for all that every episode has. quality: x264's crf."""

    rate_hz: int = 10
    views: tuple[str, ...] = ()
    sensor: bool = True
    width: int = 0  # 0: the contract's
    height: int = 0
    quality: int = 20
    robot_type: str = 'meca500'

    def __post_init__(self) -> None:
        if not 1 <= self.rate_hz <= 200:
            raise VlaError(f'--fps {self.rate_hz}: expected a whole number from 1 to 200')
        if self.width % 2 or self.height % 2 or min(self.width, self.height) < 0:
            raise VlaError(f'--size {self.width}x{self.height}: expected two even numbers')


@dataclass
class ExportResult:
    """What was written and what a person should know."""

    folder: Path
    frames: int = 0
    episodes: int = 0
    tasks: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def export_lerobot(
    bags: list[Bag], contract: Contract, out: Path, settings: ExportSettings,
    progress: Callable[[int, int], None] = lambda done, expected: None,
) -> ExportResult:  # fmt: skip
    """Write the episodes as a new dataset at `out`; VlaError in one line, then nothing is left.

    BagError names the bag that cannot be exported. `progress` is told frames done and expected.
    """
    if out.exists():
        raise VlaError(f'{out}: exists already; name a new folder')
    sources = [Ticks(bag, contract, settings.rate_hz) for bag in bags]
    result = ExportResult(out)
    plan = _plan(sources, contract, settings, result)
    try:
        out.mkdir(parents=True)
        exporter = _Exporter(plan, settings, out, result)
        expected = sum(len(source) for source in sources)
        for number, source in enumerate(sources):
            exporter.add_episode(number, source, lambda done: progress(done, expected))
        exporter.finish()
    except (OSError, VlaError) as error:
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, OSError):
            raise VlaError(f'{out}: cannot be written ({error.strerror or error})') from error
        raise
    return result


def _plan(
    sources: list[Ticks], contract: Contract, settings: ExportSettings, result: ExportResult
) -> Plan:
    """Decide on views and sensor, which all episodes of a dataset share."""
    everywhere = [v for v in contract.view_names if all(v in source.views for source in sources)]
    for source in sources:
        for view in settings.views:
            if view not in source.views:
                raise BagError(
                    source.bag.path, f'has no images of {view}', 'leave it out of --views'
                )
    somewhere = [v for v in contract.view_names if any(v in source.views for source in sources)]
    views = settings.views or tuple(everywhere)
    result.notes += [
        f'{view}: left out, not every episode has it'
        for view in somewhere
        if view not in everywhere
    ]
    with_sensor = sum(source.has_sensor for source in sources)
    sensor = settings.sensor and with_sensor > 0
    if sensor and with_sensor < len(sources):
        result.notes.append(
            f'sensor: {len(sources) - with_sensor} episodes have none; their windows are masked'
        )
    width, height = (
        settings.width or contract.images.width,
        settings.height or contract.images.height,
    )
    return Plan(contract, settings.rate_hz, views, sensor, width, height)


class _Exporter:
    """Writes one dataset. One thread."""

    def __init__(
        self, plan: Plan, settings: ExportSettings, out: Path, result: ExportResult
    ) -> None:
        self._plan, self._settings, self._out, self._result = plan, settings, out, result
        self._frames = FrameFiles(
            out, DATA.replace('{chunk_index:03d}', '000'), plan, DATA_MB << 20
        )
        self._videos = {
            view: VideoFiles(
                out,
                VIDEO.replace('{chunk_index:03d}', '000').replace('{video_key}', video_key(view)),
                plan.rate_hz, VIDEO_MB << 20, settings.quality,
            )
            for view in plan.views
        }  # fmt: skip
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []
        self._stats: list[dict[str, Stats]] = []

    def add_episode(
        self, number: int, source: Ticks, progress: Callable[[int], None]
    ) -> None:
        """Write all frames of one episode; `progress` is told how many there are by then."""
        row = self._begin(number, source)
        collected = _Collected(self._plan)
        pictures = {view: _Picture(self._plan) for view in self._plan.views}
        first = self._result.frames
        for index, sample in enumerate(source):
            task = self._tasks.setdefault(sample.task, len(self._tasks))
            values = f.row_of(sample, self._plan)
            values |= {
                'timestamp': index / self._plan.rate_hz,
                'frame_index': index,
                'episode_index': number,
                'index': first + index,
                'task_index': task,
            }
            self._frames.add(values)
            collected.add(values, sample.task)
            for view, picture in pictures.items():
                rgb = picture.of(sample, view)
                self._videos[view].add(rgb)
                collected.images[view].add(rgb)
            progress(first + index + 1)
        self._frames.end_episode()
        self._result.frames += len(source)
        self._result.episodes += 1
        self._end(row, source, collected, first, pictures)

    def finish(self) -> None:
        """Close the files and write the metadata."""
        self._frames.close()
        for video in self._videos.values():
            video.close()
        meta = self._out / 'meta'
        write_episodes(self._out / EPISODES, self._rows)
        write_tasks(meta / 'tasks.parquet', list(self._tasks))
        stats = {name: _json_stats(item) for name, item in merge(self._stats).items()}
        (meta / 'stats.json').write_text(json.dumps(stats) + '\n')
        (meta / 'info.json').write_text(json.dumps(self._info(), indent=4) + '\n')
        self._result.tasks = tuple(self._tasks)

    def _begin(self, number: int, source: Ticks) -> dict[str, Any]:
        row: dict[str, Any] = {
            'episode_index': number,
            'tasks': [],
            'length': len(source),
            'data/chunk_index': 0,
            'data/file_index': self._frames.begin_episode(),
        }
        for view, video in self._videos.items():
            key = f'videos/{video_key(view)}'
            begin_s = video.begin_episode()
            row |= {f'{key}/chunk_index': 0, f'{key}/file_index': video.file_index,
                    f'{key}/from_timestamp': begin_s,
                    f'{key}/to_timestamp': begin_s + len(source) / self._plan.rate_hz}  # fmt: skip
        return row

    def _end(
        self, row: dict[str, Any], source: Ticks, collected: '_Collected', first: int,
        pictures: dict[str, '_Picture'],
    ) -> None:  # fmt: skip
        info = source.bag.info
        row['tasks'] = list(dict.fromkeys(collected.tasks))
        row |= {'dataset_from_index': first, 'dataset_to_index': first + len(source),
                'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0,
                'vla/episode': source.bag.path.name, 'vla/outcome': info.outcome,
                'vla/operator': info.operator, 'vla/source': info.source}  # fmt: skip
        stats = collected.stats()
        for name, item in stats.items():
            row |= {f'stats/{name}/{key}': value for key, value in item.items()}
        self._rows.append(row)
        self._stats.append(stats)
        for view, picture in pictures.items():
            if picture.broken:
                self._result.notes.append(
                    f'{source.bag.path.name}, {view}: {picture.broken} images cannot be decoded; '
                    'the one before stands for them'
                )
        invalid = sum(not valid for valid in collected.columns[f.ACTION_VALID])
        if invalid:
            self._result.notes.append(
                f'{source.bag.path.name}: {invalid} frames without a known action '
                f'({f.ACTION_VALID} is false)'
            )

    def _info(self) -> dict[str, Any]:
        plan = self._plan
        video = video_info(plan.width, plan.height, plan.rate_hz)
        return {
            'codebase_version': VERSION,
            'robot_type': self._settings.robot_type,
            'total_episodes': self._result.episodes,
            'total_frames': self._result.frames,
            'total_tasks': len(self._tasks),
            'chunks_size': CHUNK_FILES,
            'data_files_size_in_mb': DATA_MB,
            'video_files_size_in_mb': VIDEO_MB,
            'fps': plan.rate_hz,
            'splits': {'train': f'0:{self._result.episodes}'},
            'data_path': DATA,
            'video_path': VIDEO if plan.views else None,
            'features': f.info_features(plan, video),
            'vla': {'contract_hash': plan.contract.hash, 'contract': plan.contract.to_dict()},
        }


class _Collected:
    """What the stats of one episode are made of."""

    def __init__(self, plan: Plan) -> None:
        names = [*plan.vectors(), *f.DEFAULTS]
        self.columns: dict[str, list[Any]] = {name: [] for name in names}
        self.images = {view: ImageStats() for view in plan.views}
        self.windows = WindowStats(plan.channels) if plan.sensor else None
        self.tasks: list[str] = []

    def add(self, values: dict[str, Any], task: str) -> None:
        """Take in one frame."""
        for name, column in self.columns.items():
            column.append(values[name])
        if self.windows is not None:
            self.windows.add(values[f.WINDOW], values[f.WINDOW_MASK])
        if not self.tasks or self.tasks[-1] != task:
            self.tasks.append(task)

    def stats(self) -> dict[str, Stats]:
        """Return the stats by feature."""
        stats = {}
        for name, column in self.columns.items():
            values = np.array(column, np.float64)
            stats[name] = vector_stats(values.reshape(len(values), -1))
        stats |= {video_key(view): images.stats() for view, images in self.images.items()}
        if self.windows is not None:
            stats[f.WINDOW] = self.windows.stats()
        return stats


class _Picture:
    """The newest picture of one view, decoded once and at the size of the dataset."""

    def __init__(self, plan: Plan) -> None:
        self._size = (plan.width, plan.height)
        self._jpeg = b''
        self._rgb: NDArray[np.uint8] = np.zeros((plan.height, plan.width, 3), np.uint8)
        self.broken = 0

    def of(self, sample: Sample, view: str) -> NDArray[np.uint8]:
        """Return the picture (H, W, 3) RGB at the sample's tick."""
        seen = sample.views.get(view)
        if seen is None or seen.jpeg == self._jpeg:
            return self._rgb
        self._jpeg = seen.jpeg
        bgr = cv2.imdecode(np.frombuffer(seen.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            self.broken += 1
            return self._rgb
        if (bgr.shape[1], bgr.shape[0]) != self._size:
            bgr = cv2.resize(bgr, self._size, interpolation=cv2.INTER_AREA)
        self._rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return self._rgb


def _json_stats(stats: Stats) -> dict[str, Any]:
    return {
        name: [int(value[0])] if name == 'count' else value.tolist()
        for name, value in stats.items()
    }
