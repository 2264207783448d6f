"""`vla replay --lockstep`: the real nodes with the nano policy, one episode again and again."""

from dataclasses import replace
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vla_cli import workspace
from vla_core.contract import load_contract
from vla_data.bag_reader import open_bag
from vla_data.lockstep import first_tick_ns
from vla_data.synthetic import Shape, write_episode
from vla_ros.convert import to_ns
from vla_ros.testing import ros_domain

SECONDS = 3.0
LIMIT_S = 150.0
CHUNKS, INFOS = '/action/chunk', '/vlm/info'
pytestmark = pytest.mark.timeout(600)


def vla(*argv):
    """Run a verb to its end."""
    ros_domain()
    command = [sys.executable, '-m', 'vla_cli.main', *(str(word) for word in argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def pictures(seed):
    random = np.random.default_rng(seed)
    scenes = random.integers(0, 255, (4, 9, 16, 3), np.uint8)
    return tuple(
        cv2.imencode('.jpg', cv2.resize(scene, (640, 360)))[1].tobytes() for scene in scenes
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two episodes: `other` differs from `one` by one picture of its four."""
    folder = tmp_path_factory.mktemp('episodes')
    contract = load_contract(workspace.default_contract())
    shape = Shape(duration_s=SECONDS, pictures=pictures(1))
    write_episode(folder / 'one', contract, shape)
    changed = (*shape.pictures[:3], pictures(2)[3])
    write_episode(folder / 'other', contract, replace(shape, pictures=changed))
    return folder


def replayed(episode, out, checkpoint, *more):
    """Replay; return the chunks and the digest."""
    done = vla('replay', episode, '--lockstep', '--checkpoint', checkpoint, '--out', out, *more)
    assert done.returncode == 0, done.stderr
    with open_bag(out) as bag:
        chunks = [message for _, _, message in bag.messages([CHUNKS])]
        infos = [message for _, _, message in bag.messages([INFOS])]
    return chunks, infos, re.search(r'digest (\w+)', done.stdout)[1]


def shared(chunk):
    """Everything but durations; floats bit for bit."""
    line = {
        name: np.asarray(value).tobytes() if isinstance(value, float) else repr(value)
        for name, value in vars(chunk.lineage).items()
    }
    return (
        chunk.header, chunk.chunk_id, chunk.step_stamps, chunk.delta.tobytes(), chunk.reaction,
        chunk.reasons, chunk.committed_steps, chunk.task, line,
    )  # fmt: skip


@pytest.mark.slow
def test_the_same_episode_gives_the_same_chunks_bit_for_bit_and_another_picture_others(
    folder, tmp_path, checkpoint
):
    first, passes, digest = replayed(folder / 'one', tmp_path / 'a', checkpoint)
    again, _, digest_again = replayed(folder / 'one', tmp_path / 'b', checkpoint)
    other, _, digest_other = replayed(folder / 'other', tmp_path / 'c', checkpoint)
    assert len(first) == SECONDS * 10 + 2 and len(passes) >= SECONDS * 4
    assert [shared(chunk) for chunk in first] == [shared(chunk) for chunk in again]
    assert digest == digest_again != digest_other
    moving = [chunk for chunk in first if np.any(chunk.delta)]
    assert len(moving) > 0.6 * len(first), 'chunks of a robot that holds prove nothing'
    differ = [a for a, b in zip(first, other) if a.delta.tobytes() != b.delta.tobytes()]
    assert differ


@pytest.mark.slow
def test_a_replay_from_the_middle_begins_there_and_repeats_itself(folder, tmp_path, checkpoint):
    part = ('--start', '1', '--seconds', '1.5')
    first, infos, digest = replayed(folder / 'one', tmp_path / 'a', checkpoint, *part)
    _, _, digest_again = replayed(folder / 'one', tmp_path / 'b', checkpoint, *part)
    with open_bag(folder / 'one') as bag:
        start_ns = bag.start_ns + 1_000_000_000
    assert digest == digest_again
    assert to_ns(first[0].header.stamp) == first_tick_ns(start_ns, 100_000_000)
    assert len(first) == 17 and not np.any(first[0].delta)
    assert first[-1].task, 'the instruction in force at the start was told'
    shown = [to_ns(stamp) for info in infos for stamp in info.view_stamps]
    assert shown and min(shown) > start_ns - 300_000_000  # logged after the start


def test_options_of_the_paced_replay_are_refused(folder):
    done = vla('replay', folder / 'one', '--lockstep', '--rate', '2')
    assert done.returncode == 1 and '--rate does not go with --lockstep' in done.stderr
