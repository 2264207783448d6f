"""The account of losses."""

from episode_tools import header, joints, NS, START_NS
from hypothesis import given
from hypothesis import strategies as st
from test_counters_in_messages import serialized

from vla_data.recording.byte_queue import Entry
from vla_data.recording.loss import Lanes, LossAccount, Spacing, TopicAccount


def batch(sequence, received, lost):
    return serialized(
        'vla_msgs/msg/SensorBatch',
        header=header(START_NS + sequence),
        sequence=sequence,
        received_total=received,
        lost_total=lost,
    )


def account(kind, messages):
    topic = TopicAccount(kind)
    for message in messages:
        topic.see(message)
    return topic.snapshot()


@given(st.sets(st.integers(2, 199)))
def test_every_gap_of_one_publisher_is_counted_exactly(dropped):
    lanes = Lanes()
    lost = sum(lanes.lost(number, 1) for number in range(1, 201) if number not in dropped)
    assert lost == len(dropped)


def test_two_publishers_without_loss_lose_nothing_however_they_interleave():
    lanes = Lanes()
    numbers = [1, 2, 3, 1, 2, 4, 3, 5, 4, 6]
    assert sum(lanes.lost(number, 2) for number in numbers) == 0


def test_a_gap_among_two_publishers_is_counted_once_both_are_known():
    lanes = Lanes()
    assert [lanes.lost(number, 2) for number in (1, 100, 2, 101, 4, 102)] == [0, 0, 0, 0, 1, 0]


def test_a_publisher_that_starts_again_is_no_loss():
    lanes = Lanes()
    assert [lanes.lost(number, 1) for number in (500, 501, 1, 2, 4)] == [0, 0, 0, 0, 1]


def test_the_first_number_of_a_late_subscription_is_no_loss():
    assert Lanes().lost(10_000, 1) == 0


def test_batches_lost_before_the_recorder_and_samples_lost_before_the_driver_are_told_apart():
    result = account('batch', [batch(5, 100, 3), batch(6, 113, 3), batch(9, 150, 16)])
    assert result['received'] == 3
    assert result['lost_counter'] == 2
    assert result['lost_source'] == 13
    assert result['samples_received'] == 50


def test_totals_go_on_when_the_driver_starts_again():
    messages = [batch(5, 100, 3), batch(6, 110, 5), batch(0, 10, 0), batch(1, 20, 1)]
    result = account('batch', messages)
    assert result['source_restarts'] == 1
    assert result['lost_counter'] == 0
    assert result['lost_source'] == 3
    assert result['samples_received'] == 20


def test_missing_chunks_are_counted_by_their_ids():
    chunks = [
        serialized('vla_msgs/msg/ActionChunk', header=header(k * NS), chunk_id=k)
        for k in (1, 2, 2, 5)
    ]
    result = account('chunk', chunks)
    assert (result['lost_counter'], result['repeated_counter']) == (2, 1)


def test_stamps_tell_what_a_steady_stream_lacks_and_repeats():
    period_ns = NS // 5
    kept = [k for k in range(100) if k not in (10, 11, 50)]
    stamps = [START_NS + k * period_ns for k in kept] + [START_NS + 99 * period_ns, START_NS]
    result = account('stamps', [joints(stamp_ns) for stamp_ns in stamps])
    assert result['missing_by_stamps'] == 3
    assert (result['repeated_stamps'], result['backward_stamps']) == (1, 1)
    assert result['longest_gap_ms'] == 600


@given(st.lists(st.integers(-40, 40), min_size=20, max_size=60))
def test_jitter_of_less_than_a_quarter_period_is_no_loss(jitter):
    spacing = Spacing()
    for k, percent in enumerate(jitter):
        spacing.see(START_NS + k * NS + percent * NS // 200)
    assert spacing.missing() == 0


def test_a_message_too_short_to_read_is_counted_not_raised():
    result = account('batch', [b'\0\1\0\0', b'', b'\0\0\0\0' + bytes(40)])
    assert (result['received'], result['unreadable']) == (3, 3)


def test_the_account_of_all_topics_adds_the_losses_of_the_middleware():
    losses = LossAccount({'/a': 'stamps', '/b': 'none'})
    losses.see([Entry('/a', 1, 1, joints(1), 0), Entry('/a', 2, 2, joints(NS), 4)])
    result = losses.snapshot()
    assert result['/a']['lost_transport'] == 4
    assert result['/b'] == {'received': 0, 'lost_transport': 0}
