"""Devices that freeze, lose and stall while they go on sending: the expert says which, and why."""

import json
import os
import signal
import subprocess

import pytest
from vla_system_tests.ears import listening
from vla_system_tests.lab import run_vla, running_lab, VLA

from vla_msgs.msg import ActionChunk
from vla_ros.testing import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BENCH_KEYS = {
    'sensor_samples_sent', 'sensor_samples_received', 'images_sent', 'images_received', 'vl_hz',
    'vl_latency_ms', 'action_hz', 'action_period_ms', 'deadline_misses', 'window_full_ratio',
    'image_age_ms', 'feature_age_ms', 'sensor_age_ms', 'cpu_cores_by_process',
    'rss_mb_by_process', 'machine', 'commit', 'settings',
}  # fmt: skip


def names(word):
    return lambda chunk: any(word in reason for reason in chunk.reasons)


def test_each_frozen_stream_is_named_held_and_recovered_from(tmp_path, checkpoint):
    # Each keeps sending, with new stamps, what it sent before; times are from the lab's start.
    faults = '--freeze view3@30:5 --freeze sensor@42:3 --freeze robot@52:4'
    with running_lab(tmp_path / 'run', checkpoint, faults) as lab, listening() as ears:
        ears.wait_until_used()
        for word in ('view3', 'sensor', 'robot'):
            chunk = ears.wait_for_chunk(
                lambda chunk, word=word: chunk.reaction >= ActionChunk.HOLD and names(word)(chunk),
                60,
                f'a hold because of {word}',
            )
            assert not any(chunk.delta)
            ears.wait_until_used(20)
        assert all(process.restarts == 0 for process in lab.status.processes)


def test_lost_samples_are_masked_and_counted_exactly(tmp_path, checkpoint):
    stats = tmp_path / 'stats.json'
    faults = f'--loss sensor=0.05 --stats-file {stats}'
    with running_lab(tmp_path / 'run', checkpoint, faults) as lab, listening() as ears:
        batches = ears.hear_samples()
        chunk = ears.wait_for_chunk(
            lambda chunk: 0.5 < chunk.lineage.sensor_fill < 1 and chunk.lineage.feature_id,
            60,
            'a window with gaps',
        )
        assert chunk.lineage.sensor_samples == round(chunk.lineage.sensor_fill * 65)
        assert chunk.lineage.sensor_max_gap_s > 2 / 650
        wait_for(lambda: batches and batches[-1].lost_total > 100, 60, 'a hundred lost samples')
        wait_for(
            lambda: all(
                int(ears.diagnostic('sensor', key) or 0) for key in ('lost_total', 'gaps')
            ),
            5,
            'lost samples and gaps in the diagnostics',
        )
        newest = batches[-1]
        # Every sample between the driver's first and its newest either came or is counted lost.
        assert 0.02 < newest.lost_total / (newest.lost_total + newest.received_total) < 0.08
        assert lab.member('sensor_driver').restarts == 0
    sent = json.loads(stats.read_text())
    assert sent['sensor_samples_sent'] >= newest.lost_total + newest.received_total


def test_a_stopped_driver_process_is_noticed_and_goes_on_where_the_stream_is(tmp_path, checkpoint):
    with running_lab(tmp_path / 'run', checkpoint) as lab, listening() as ears:
        ears.wait_until_used()
        pid = lab.member('sensor_driver').pid
        os.kill(pid, signal.SIGSTOP)
        try:
            ears.wait_for_chunk(
                lambda chunk: chunk.reaction >= ActionChunk.HOLD and names('sensor')(chunk),
                5,
                'a hold while the driver is stopped',
            )
        finally:
            os.kill(pid, signal.SIGCONT)
        ears.wait_until_used(10)
        assert lab.member('sensor_driver').pid == pid


def test_the_vlm_node_comes_back_after_a_kill_while_the_expert_keeps_its_rate(
    tmp_path, checkpoint
):
    with running_lab(tmp_path / 'run', checkpoint) as lab, listening() as ears:
        before = ears.wait_until_used()
        lab.kill('vlm_node')
        ears.wait_for_chunk(names('features'), 10, 'a chunk that names the features')
        after = ears.wait_until_used(60)
        assert after.deadline_misses_total == before.deadline_misses_total
        ids = [chunk.chunk_id for chunk in ears.chunks]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_three_hosts_each_with_one_sender_feed_the_same_graph(tmp_path, checkpoint):
    with (
        running_lab(tmp_path / 'run', checkpoint, extra=('--no-sim',)) as lab,
        listening() as ears,
    ):
        senders = [
            subprocess.Popen(
                [
                    VLA,
                    'sim',
                    '--only',
                    only,
                    '--target',
                    '127.0.0.1',
                    '--port',
                    str(lab.ports[port]),
                ]
            )
            for only, port in (('robot', 'robot'), ('cameras', 'camera'), ('sensor', 'sensor'))
        ]
        try:
            ears.wait_until_used(90)
        finally:
            for sender in senders:
                sender.send_signal(signal.SIGINT)
            assert [sender.wait(10) for sender in senders] == [0, 0, 0]


def test_the_benchmark_writes_every_figure_and_loses_nothing(tmp_path):
    file = tmp_path / 'live.json'
    result = run_vla('bench', 'live', '--seconds', '15', '--json', str(file), timeout_s=150)
    assert result.returncode == 0, result.stderr
    figures = json.loads(file.read_text())
    assert BENCH_KEYS <= set(figures), BENCH_KEYS - set(figures)
    assert figures['sensor_samples_received'] == figures['sensor_samples_sent'] > 9000
    assert figures['images_received'] == figures['images_sent'] > 350
    assert {'p50', 'p99', 'p99_9', 'max'} <= set(figures['action_period_ms'])
    assert {'p50', 'p99', 'max', 'floor_p50'} <= set(figures['image_age_ms'])
