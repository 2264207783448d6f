"""`vla sim --record N`: example episodes through the live stack and its recorder."""

import json

import pytest
from vla_system_tests.lab import run_vla

from vla_ros.testing import ros_domain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# What a machine that stalls for a moment does to its own cameras and model; nothing is lost by it.
OF_A_BUSY_MACHINE = {'stale', 'clock'}


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    ros_domain()
    folder = tmp_path_factory.mktemp('examples')
    done = run_vla('sim', '--record', '1', '--out', str(folder), timeout_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'success' in done.stdout and 'none lost' in done.stdout, done.stdout
    (episode,) = folder.iterdir()
    return episode


def test_the_episode_passes_the_check(recorded):
    done = run_vla('episodes', 'check', str(recorded), '--json', timeout_s=120)
    (result,) = json.loads(done.stdout)
    wrong = [v for v in result['verdicts'] if v['level'] == 'fail']
    assert {v['kind'] for v in wrong} <= OF_A_BUSY_MACHINE, wrong
    assert done.returncode == (1 if wrong else 0)
    assert not any(v['kind'] == 'loss' for v in result['verdicts'])


def test_the_episode_is_listed_with_its_task_and_outcome(recorded):
    done = run_vla('episodes', 'list', str(recorded.parent))
    line = done.stdout.splitlines()[1]
    assert recorded.name in line and 'success' in line and 'insert the needle' in line


def test_the_episode_is_drawn_on_a_page(recorded, tmp_path):
    done = run_vla('episodes', 'plot', str(recorded), '--out', str(tmp_path), timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f'{recorded.name}.png').stat().st_size > 100_000
    assert 'data:image/png' in (tmp_path / f'{recorded.name}.html').read_text()
