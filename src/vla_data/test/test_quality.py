"""Quality of episodes: every planted defect is found, a good episode passes."""

import json

from made_bag import CONTRACT, NS, Scene, START_NS, VIEWS, write
import numpy as np
import pytest

from vla_core.contract import SensorSpec
from vla_data.bag_reader import open_bag
from vla_data.errors import BagError
from vla_data.quality import table
from vla_data.quality.check import check_episode, view_skew


def checked(tmp_path, contract=None, **scene):
    with open_bag(write(tmp_path / 'episode', Scene(**scene))) as bag:
        return check_episode(bag, contract)


def kinds(quality, level=None):
    return {(v.stream, v.kind) for v in quality.verdicts if level in (None, v.level)}


def stream(quality, name):
    return next(item for item in quality.streams if item.name == name)


def without(begin_s, end_s):
    begin, end = START_NS + int(begin_s * NS), START_NS + int(end_s * NS)
    return lambda items: [(stamp, key) for stamp, key in items if not begin <= stamp < end]


def frozen(begin_s, end_s):
    def edit(items):
        begin, end = START_NS + int(begin_s * NS), START_NS + int(end_s * NS)
        still = next(key for stamp, key in items if stamp >= begin)
        return [(stamp, still if begin <= stamp < end else key) for stamp, key in items]

    return edit


def test_a_good_episode_passes_with_its_rates(tmp_path):
    quality = checked(tmp_path)
    assert quality.passed and not quality.verdicts
    assert stream(quality, 'sensor').median_hz == pytest.approx(650, rel=1e-3)
    assert stream(quality, 'view1').rate_hz == pytest.approx(5)
    assert stream(quality, 'joints').count == 100
    assert stream(quality, 'pose').clock_ms == pytest.approx(3.0)
    assert quality.skew_p95_s == 0


def test_a_camera_that_is_silent_for_too_long_fails(tmp_path):
    quality = checked(tmp_path, edit={'view3': without(1.0, 3.0)})
    assert ('view3', 'stale') in kinds(quality, 'fail')
    item = stream(quality, 'view3')
    assert item.gaps == 1 and item.max_gap_s == pytest.approx(2.2)
    assert not quality.passed


def test_a_short_silence_only_warns(tmp_path):
    quality = checked(tmp_path, edit={'view3': without(1.0, 1.8)})
    assert ('view3', 'stale') in kinds(quality, 'warn') and quality.passed


def test_a_frozen_camera_fails_although_it_keeps_sending(tmp_path):
    quality = checked(tmp_path, edit={'view2': frozen(1.0, 3.4)})
    item = stream(quality, 'view2')
    assert item.gaps == 0 and item.frozen == 11
    assert item.longest_frozen_s == pytest.approx(2.2)
    assert ('view2', 'stale') in kinds(quality, 'fail')


def test_a_frozen_sensor_fails(tmp_path):
    begin, end = START_NS + 2 * NS, START_NS + 3 * NS

    def still(items):
        return [(stamp, -100 if begin <= stamp < end else key) for stamp, key in items]

    quality = checked(tmp_path, edit={'sensor': still})
    item = stream(quality, 'sensor')
    assert item.gaps == 0 and item.frozen == 50 * 13 - 1
    assert item.longest_frozen_s == pytest.approx(0.998, abs=0.02)
    assert ('sensor', 'stale') in kinds(quality, 'fail')


def test_a_robot_that_stands_still_is_no_fault(tmp_path):
    quality = checked(tmp_path, edit={'joints': frozen(0.0, 4.0), 'pose': frozen(0.0, 4.0)})
    assert quality.passed and stream(quality, 'joints').frozen == 99


def test_duplicates_and_disorder_are_counted(tmp_path):
    def doubled(items):
        return [*items[:10], items[9], *items[10:]]

    def overtaken(items):
        (stamp, key), rest = items[5], items[6:]
        return [*items[:5], (stamp, key, 300_000_000), *rest]

    quality = checked(tmp_path, edit={'view1': doubled, 'view2': overtaken})
    assert stream(quality, 'view1').duplicates == 1
    assert ('view1', 'duplicates') in kinds(quality, 'warn')
    assert stream(quality, 'view2').disordered == 1
    assert ('view2', 'disordered') in kinds(quality, 'warn')


@pytest.mark.parametrize(('delay_ms', 'level'), [(250, 'fail'), (-150, 'fail'), (-20, 'warn')])
def test_a_clock_that_is_off_is_told(tmp_path, delay_ms, level):
    quality = checked(tmp_path, delay_ns={'view4': delay_ms * 1_000_000})
    assert ('view4', 'clock') in kinds(quality, level)
    assert stream(quality, 'view4').clock_ms == pytest.approx(delay_ms)


def test_views_of_different_moments_are_told(tmp_path):
    def late(items):
        return [(stamp - 900_000_000, key) for stamp, key in items]

    quality = checked(tmp_path, edit={'view5': late}, delay_ns={'view5': 3_000_000})
    assert quality.skew_p95_s == pytest.approx(0.9, abs=0.21)
    assert ('views', 'skew') in kinds(quality)


def test_losses_by_the_counters_are_told_with_their_share(tmp_path):
    quality = checked(tmp_path, lost_total=15)
    assert ('sensor', 'loss') in kinds(quality, 'warn') and quality.passed
    quality = checked(tmp_path / 'b', lost_total=60)
    assert ('sensor', 'loss') in kinds(quality, 'fail')
    loss = {'/robot/joint_states': {'received': 400, 'lost_sequence': 1}}
    quality = checked(tmp_path / 'c', loss=loss)
    assert stream(quality, 'joints').lost == 1 and ('joints', 'loss') in kinds(quality, 'warn')


def test_batches_missing_from_the_bag_are_told(tmp_path):
    quality = checked(tmp_path, edit={'sensor': without(2.0, 2.04)})
    assert ('sensor', 'batches') in kinds(quality)


def test_streams_that_are_not_there_fail(tmp_path):
    quality = checked(tmp_path, streams=(*VIEWS[:4], 'joints', 'pose'))
    assert kinds(quality, 'fail') == {('view5', 'absent'), ('sensor', 'absent')}


def test_a_sensor_off_its_rate_or_of_another_width_fails(tmp_path):
    assert ('sensor', 'rate') in kinds(checked(tmp_path, sensor_hz=700.0), 'fail')
    assert ('sensor', 'channels') in kinds(checked(tmp_path / 'b', bins=9), 'fail')


def test_images_that_are_no_jpeg_fail(tmp_path):
    quality = checked(tmp_path, jpeg=b'\xff\xd8\xff truncated')
    assert ('view1', 'broken') in kinds(quality, 'fail')


def test_another_contract_than_its_own_is_refused_with_the_keys(tmp_path):
    import dataclasses

    other = dataclasses.replace(CONTRACT, sensor=SensorSpec(channels=13, lag_s=0.05))
    quality = checked(tmp_path, contract=other)
    assert 'sensor.lag_s' in next(v.text for v in quality.verdicts if v.kind == 'contract')


def test_an_episode_without_a_contract_needs_one_named(tmp_path):
    from vla_data.episode import EpisodeInfo
    from vla_data.recording.writer import EpisodeWriter

    with EpisodeWriter(tmp_path / 'x', EpisodeInfo()) as writer:
        writer.add_topic('/task', 'std_msgs/msg/String')
        writer.write('/task', START_NS, START_NS, b'\0\1\0\0\2\0\0\0x\0')
    with open_bag(tmp_path / 'x') as bag, pytest.raises(BagError, match='holds no contract'):
        check_episode(bag)


def test_table_and_json_tell_the_same(tmp_path):
    quality = checked(tmp_path, edit={'view3': without(1.0, 3.0)})
    text = '\n'.join(table.lines(quality))
    assert 'FAIL: 2 failures' in text and 'fail: view3: 2.200 s without new content' in text
    data = json.loads(json.dumps(quality.to_dict()))
    assert data['passed'] is False
    assert next(s for s in data['streams'] if s['name'] == 'view3')['gaps'] == 1


def test_skew_is_told_of_the_newest_images_at_each_tick():
    first = np.arange(0, 10) * 200_000_000
    skew = view_skew([first, first + 50_000_000], 100_000_000)
    assert set(np.round(skew, 3)) == {0.05}
    late = view_skew([first, first[:4]], 100_000_000)
    assert late.max() == pytest.approx(1.2) and late.min() == 0


def test_features_that_carry_the_stamp_of_their_images_are_not_taken_for_a_wrong_clock():
    from vla_data.quality.rules import judge_stream
    from vla_data.quality.streams import StreamQuality

    late = StreamQuality('features', '/vlm/features', 50, max_stale_s=0.4, max_gap_s=0.4,
                         duplicates=3, clock_ms=350.0, delay_ms=600.0)  # fmt: skip
    limits = CONTRACT.features.limits
    assert judge_stream(late, limits, may_rest=False, derived=True) == []
    assert {v.kind for v in judge_stream(late, limits, may_rest=False)} == {'clock', 'duplicates'}
