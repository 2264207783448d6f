"""An exported dataset in LeRobot's own loader: frames, tasks, stats, and the planted step.

`lerobot` pins its own numpy and torch, so it gets an environment of its own, made once in the
user's cache (some GB to download); $VLA_LEROBOT_PYTHON names one that is there already. Skipped,
with the reason, where it cannot be made.
"""

import json
import os
from pathlib import Path
import subprocess
import sys
import venv

import numpy as np
import pyarrow.parquet as pq
import pytest

DATA_TESTS = Path(__file__).resolve().parents[2] / 'vla_data/test'
sys.path.append(str(DATA_TESTS))

from exported import export, make_episodes, TASKS  # noqa: E402
from legacy_folders import EVENT_NS  # noqa: E402

pytestmark = pytest.mark.slow
LEROBOT = 'lerobot==0.4.4'
INSTALL_LIMIT_S = 1800


def cache() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'vla-suite'


def clean_environment():
    """Without what would leak this workspace's packages into the other Python."""
    left_out = ('PYTHONPATH', 'LD_LIBRARY_PATH', 'VIRTUAL_ENV')
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    return {**kept, 'HF_HUB_OFFLINE': '1'}


@pytest.fixture(scope='module')
def lerobot_python():
    named = os.environ.get('VLA_LEROBOT_PYTHON')
    if named:
        return named
    folder = cache() / LEROBOT.replace('==', '-')
    python = folder / 'bin/python'
    if not (folder / 'complete').is_file():
        venv.create(folder, with_pip=True, clear=True)
        command = [python, '-m', 'pip', 'install', '-q', LEROBOT]
        try:
            done = subprocess.run(
                command, env=clean_environment(), timeout=INSTALL_LIMIT_S,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f'{LEROBOT} did not install within {INSTALL_LIMIT_S} s')
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ['no message'])[-1]
            pytest.skip(f'{LEROBOT} cannot be installed: {last}')
        (folder / 'complete').touch()
    return str(python)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp('lerobot')
    export(make_episodes(folder), folder / 'needle')
    return folder / 'needle'


@pytest.fixture(scope='module')
def seen(lerobot_python, dataset):
    """What LeRobot's loader sees."""
    command = [lerobot_python, DATA_TESTS / 'lerobot_probe.py', dataset]
    done = subprocess.run(
        command, env=clean_environment(), timeout=600, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith('RESULT '))
    return json.loads(line.removeprefix('RESULT '))


@pytest.fixture(scope='module')
def table(dataset):
    return pq.read_table(dataset / 'data/chunk-000/file-000.parquet').to_pydict()


def test_loader_sees_all_frames_episodes_and_tasks(seen, table):
    count = len(table['index'])
    assert (seen['version'], seen['fps'], seen['episodes']) == ('3.0', 10, 2)
    assert seen['frames'] == count == 76
    assert seen['tasks'] == [TASKS[0]] * 38 + [TASKS[1]] * 38
    assert seen['views'] == [f'observation.images.view{number}' for number in range(1, 6)]


def test_numbers_of_every_frame_are_equal(seen, table):
    for ours, theirs in (
        ('observation.state', 'state'), ('action', 'action'), ('capture.views_ns', 'capture')
    ):  # fmt: skip
        assert np.array_equal(np.array(table[ours]), np.array(seen[theirs]))
    assert seen['window_shape'] == [65, 13]
    sums = [np.sum(np.float64(window)) for window in table['sensor.window']]
    assert np.allclose(sums, seen['window_sums'], rtol=1e-6)
    assert [sum(mask) for mask in table['sensor.mask']] == seen['mask']


def test_a_chunk_of_eight_actions_is_the_next_eight_rows(seen, table):
    assert seen['chunk_shape'] == [8, 6]
    assert np.array_equal(np.array(table['action'][3:11]), np.array(seen['chunk_3']))


def test_stats_are_equal(seen, dataset):
    ours = json.loads((dataset / 'meta/stats.json').read_text())
    assert set(ours) == set(seen['stats'])
    for name, stats in ours.items():
        for key, value in stats.items():
            assert np.allclose(np.ravel(value), seen['stats'][name][key]), (name, key)


def test_stats_of_an_episode_are_what_lerobot_itself_would_have_written(seen, dataset, table):
    row = pq.read_table(dataset / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()[0]
    for name, stats in seen['recomputed'].items():
        assert set(stats) == {
            key.split('/')[-1] for key in row if key.startswith(f'stats/{name}/')
        }
        for key, value in stats.items():
            # The deviation comes from sums of float32, which leaves 8e-4 for a constant.
            tolerance = 1e-3 if key == 'std' else 1e-5
            ours = row[f'stats/{name}/{key}']
            if key.startswith('q'):
                # LeRobot takes quantiles from a histogram: with few frames anything between the
                # two frames around the rank.
                low, high = _around(table.get(name), float(key[1:]) / 100, row['length'])
                tolerance = 1e-3 + (high - low)
            assert (np.abs(np.ravel(ours) - np.ravel(value)) <= tolerance).all(), (name, key)


def _around(column, share, frames):
    """Values just below and above a rank among the first `frames` of a column; 0, 0 of images."""
    if column is None:
        return 0.0, 0.0
    ordered = np.sort(np.array(column[:frames], dtype=float), axis=0)
    rank = share * (frames - 1)
    return np.ravel(ordered[int(np.floor(rank))]), np.ravel(ordered[int(np.ceil(rank))])


def test_the_planted_step_lies_on_the_right_frame(seen, table):
    ticks = np.array(table['capture.tick_ns'])
    captured = np.array(table['capture.views_ns'])
    for episode in (slice(0, 38), slice(38, 76)):
        for number, key in enumerate(seen['views']):
            lit = np.array(seen['lit'][key][episode])
            after = captured[episode, number] >= EVENT_NS
            assert np.array_equal(lit, after), key
            assert 0 <= ticks[episode][lit.argmax()] - EVENT_NS < 300_000_000
        state = np.array(seen['state'])[episode]
        assert (state[:, 6] > 0.2005).argmax() == np.searchsorted(ticks[episode], EVENT_NS)
