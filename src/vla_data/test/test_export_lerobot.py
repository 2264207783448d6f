"""The LeRobot export: layout, frames, stats, tasks, and the planted step on the right frame.

The layout is checked by pyarrow and av here; that LeRobot's own loader takes it is a slow test,
test_export_lerobot_loader.
"""

import json

import av
from exported import export, make_episodes, NARROW, TASKS
from legacy_folders import EVENT_NS
import numpy as np
import pyarrow.parquet as pq
import pytest

from vla_core.errors import VlaError
from vla_data.errors import BagError
from vla_data.samples.reader import SampleReader


@pytest.fixture(scope='module')
def episodes(tmp_path_factory):
    return make_episodes(tmp_path_factory.mktemp('lerobot'))


@pytest.fixture(scope='module')
def told():
    return []


@pytest.fixture(scope='module')
def dataset(episodes, told, tmp_path_factory):
    out = tmp_path_factory.mktemp('out') / 'needle'
    export(episodes, out, progress=lambda *counts: told.append(counts))
    return out


@pytest.fixture(scope='module')
def info(dataset):
    return json.loads((dataset / 'meta/info.json').read_text())


@pytest.fixture(scope='module')
def table(dataset):
    return pq.read_table(dataset / 'data/chunk-000/file-000.parquet')


def column(table, name):
    return np.array(table[name].to_pylist())


def frames(dataset, view):
    path = dataset / f'videos/observation.images.{view}/chunk-000/file-000.mp4'
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        return [
            (float(frame.pts * stream.time_base), frame.to_ndarray(format='rgb24'))
            for frame in video.decode(stream)
        ]


def test_info_tells_the_version_the_counts_and_every_feature(info, table):
    assert info['codebase_version'] == 'v3.0' and info['fps'] == 10
    assert info['total_episodes'] == 2 and info['total_tasks'] == 2
    assert info['total_frames'] == table.num_rows == 76
    videos = {name for name, item in info['features'].items() if item['dtype'] == 'video'}
    assert videos == {f'observation.images.view{number}' for number in range(1, 6)}
    assert set(info['features']) - videos == set(table.column_names)
    assert info['features']['sensor.window']['shape'] == [65, 13]
    assert info['vla']['contract_hash'] == NARROW.hash
    assert info['splits'] == {'train': '0:2'}


def test_frames_lie_on_a_grid_and_are_numbered_over_all_episodes(table):
    assert np.array_equal(column(table, 'index'), np.arange(76))
    assert np.array_equal(column(table, 'frame_index'), np.tile(np.arange(38), 2))
    assert np.allclose(column(table, 'timestamp'), np.tile(np.arange(38) / 10, 2))
    assert (column(table, 'capture.tick_ns') % 100_000_000 == 0).all()
    assert np.array_equal(column(table, 'task_index'), np.repeat([0, 1], 38))


def test_at_the_contract_s_rate_frames_are_the_samples(table, episodes):
    with SampleReader(episodes, NARROW) as reader:
        samples = list(reader)
    assert len(samples) == table.num_rows
    assert np.array_equal(
        column(table, 'observation.state').astype('f4'), np.stack([s.state for s in samples])
    )
    assert np.allclose(column(table, 'action'), np.stack([s.action[0] for s in samples]))
    windows = column(table, 'sensor.window')
    assert np.array_equal(windows.astype('f4'), np.stack([s.window for s in samples]))
    assert np.array_equal(column(table, 'sensor.mask'), np.stack([s.window_mask for s in samples]))


def test_the_planted_step_lies_on_the_right_frame_of_every_feature(dataset, table):
    ticks = column(table, 'capture.tick_ns')[:38]
    first = int(np.searchsorted(ticks, EVENT_NS))  # the first tick after the step
    state = column(table, 'observation.state')[:38]
    moved = int(np.argmax(state[:, 6] > 0.2005))
    assert moved == first
    action = column(table, 'action')[:38]
    assert int(np.argmax(np.abs(action[:, 0]))) == first - 1  # the step that leads there
    force = column(table, 'sensor.window')[:38, :, 0]
    seen = int(np.argmax((force > 3).any(axis=1)))
    assert seen == int(np.searchsorted(ticks - 30_000_000, EVENT_NS))  # the window's lag
    captured = column(table, 'capture.views_ns')[:38]
    for number in range(5):
        lit = [rgb[10:].mean() > 128 for _, rgb in frames(dataset, f'view{number + 1}')[:38]]
        assert lit.index(True) == int(np.argmax(captured[:, number] >= EVENT_NS))
        # The lamp is lit in the picture taken at most a period of the camera (0.2 s) later.
        assert 0 <= ticks[lit.index(True)] - EVENT_NS < 300_000_000


def test_true_capture_times_and_ages_agree(table):
    ticks, captured = column(table, 'capture.tick_ns'), column(table, 'capture.views_ns')
    ages = (ticks[:, None] - captured) / 1e9
    assert np.allclose(ages, column(table, 'age.views_s'), atol=1e-4)
    assert (ages >= 0).all() and (ages < 0.21).all()


def test_an_episode_without_a_sensor_has_masked_windows(table):
    mask = column(table, 'sensor.mask')
    assert mask[5:38].all() and not mask[38:].any()
    assert np.isnan(column(table, 'age.sensor_s')[38:].astype(float)).all()


def test_videos_have_one_frame_a_tick_at_its_time(dataset):
    shown = frames(dataset, 'view3')
    assert len(shown) == 76
    assert np.allclose([stamp for stamp, _ in shown], np.arange(76) / 10, atol=1e-5)
    assert shown[0][1].shape == (24, 32, 3)


def test_episodes_table_says_where_each_episode_is(dataset):
    rows = pq.read_table(dataset / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
    assert [row['tasks'] for row in rows] == [[TASKS[0]], [TASKS[1]]]
    assert [(row['dataset_from_index'], row['dataset_to_index']) for row in rows] == [
        (0, 38),
        (38, 76),
    ]
    second = rows[1]
    assert second['videos/observation.images.view1/from_timestamp'] == pytest.approx(3.8)
    assert second['videos/observation.images.view1/to_timestamp'] == pytest.approx(7.6)
    assert second['vla/episode'] == 'recv_all_1' and second['data/file_index'] == 0


def test_progress_counts_every_frame_of_all_episodes(dataset, told):
    assert told == [(done, 76) for done in range(1, 77)]


def test_tasks_are_the_index_of_a_pandas_frame(dataset):
    table = pq.read_table(dataset / 'meta/tasks.parquet')
    described = json.loads(table.schema.metadata[b'pandas'])
    assert described['index_columns'] == ['__index_level_0__']
    assert table['__index_level_0__'].to_pylist() == list(TASKS)
    assert table['task_index'].to_pylist() == [0, 1]


def test_stats_are_those_of_the_frames(dataset, table):
    stats = json.loads((dataset / 'meta/stats.json').read_text())
    for name in ('observation.state', 'action', 'age.views_s', 'timestamp'):
        values = column(table, name).astype(float).reshape(76, -1)
        for key, want in (
            ('mean', values.mean(axis=0)), ('std', values.std(axis=0)),
            ('min', values.min(axis=0)), ('max', values.max(axis=0)),
        ):  # fmt: skip
            assert np.allclose(stats[name][key], want, atol=1e-6), (name, key)
        assert stats[name]['count'] == [76]
        assert set(stats[name]) == {
            'min',
            'max',
            'mean',
            'std',
            'count',
            'q01',
            'q10',
            'q50',
            'q90',
            'q99',
        }
    pictures = np.stack([rgb for _, rgb in frames(dataset, 'view2')]) / 255.0
    shown = stats['observation.images.view2']
    assert np.shape(shown['mean']) == (3, 1, 1)
    assert np.allclose(np.ravel(shown['mean']), pictures.mean(axis=(0, 1, 2)), atol=0.02)
    mask, window = column(table, 'sensor.mask'), column(table, 'sensor.window')
    assert np.allclose(stats['sensor.window']['mean'], window[mask].mean(axis=0)[None], rtol=1e-5)
    assert np.allclose(stats['sensor.window']['std'], window[mask].std(axis=0)[None], rtol=1e-3)


def test_another_rate_gives_frames_of_that_rate(episodes, tmp_path):
    export(episodes[:1], tmp_path / 'fast', rate_hz=30)
    table = pq.read_table(tmp_path / 'fast/data/chunk-000/file-000.parquet')
    ticks = column(table, 'capture.tick_ns')
    assert np.abs(np.diff(ticks) - 1e9 / 30).max() <= 1
    state, action = column(table, 'observation.state'), column(table, 'action')
    assert int(np.argmax(state[:, 6] > 0.2005)) == int(np.searchsorted(ticks, EVENT_NS))
    # Following the actions leads from each pose to the next.
    assert np.allclose(state[:-1, 6:9] + action[:-1, :3], state[1:, 6:9], atol=2e-5)


def test_views_and_sensor_can_be_left_out(episodes, tmp_path):
    export(episodes[:1], tmp_path / 'x', views=('view5',), sensor=False)
    info = json.loads((tmp_path / 'x/meta/info.json').read_text())
    assert [n for n, item in info['features'].items() if item['dtype'] == 'video'] == [
        'observation.images.view5'
    ]
    assert not any(name.startswith('sensor.') for name in info['features'])


def test_a_long_episode_begins_a_new_file_when_the_limit_is_reached(
    episodes, tmp_path, monkeypatch
):
    from vla_data.exporting import lerobot

    monkeypatch.setattr(lerobot, 'DATA_MB', 0)
    monkeypatch.setattr(lerobot, 'VIDEO_MB', 0)
    export(episodes, tmp_path / 'x')
    rows = pq.read_table(tmp_path / 'x/meta/episodes/chunk-000/file-000.parquet').to_pylist()
    assert [row['data/file_index'] for row in rows] == [0, 1]
    assert [row['videos/observation.images.view1/file_index'] for row in rows] == [0, 1]
    assert rows[1]['videos/observation.images.view1/from_timestamp'] == 0
    assert (tmp_path / 'x/data/chunk-000/file-001.parquet').is_file()


def test_what_cannot_be_exported_is_named_and_leaves_nothing(episodes, tmp_path):
    with pytest.raises(VlaError, match='exists already'):
        export(episodes, tmp_path)
    with pytest.raises(BagError, match='has no images of view9'):
        export(episodes, tmp_path / 'x', views=('view9',))
    with pytest.raises(VlaError, match='--fps 0'):
        export(episodes, tmp_path / 'x', rate_hz=0)
    assert not (tmp_path / 'x').exists()
