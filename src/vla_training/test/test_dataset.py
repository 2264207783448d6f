"""Batches: the live node's inputs, nothing of the future, labels of the demonstrator."""

from dataclasses import replace
import os
import shutil

from conftest import grey, identity, stamp_of, TASK, TellingEncoder
import numpy as np
import pytest
import torch

from vla_core.errors import VlaError
from vla_core.timebase import NS
from vla_data.bag_reader import open_bag
from vla_data.samples import SampleReader
from vla_data.synthetic import START_NS
from vla_policy.expert.config import ExpertConfig
from vla_policy.expert.expert import ActionExpert
from vla_training.cache.encoding import SetEncoder
from vla_training.cache.store import FeatureCache, ShardWriter
from vla_training.data.ages import FixedAges, LatencyAges
from vla_training.data.dataset import DataOptions, EpisodeDataset
from vla_training.data.weights import sample_weights

EVENT_NS = START_NS + 3 * NS + NS // 20  # between two pictures, and between two ticks
NEWEST = FixedAges()


def fill(cache, contract, *paths):
    for path in paths:
        with open_bag(path) as bag:
            SetEncoder(TellingEncoder(), cache, contract).episode(bag, ShardWriter(cache))


@pytest.fixture
def dataset(cache, contract):
    def make(*paths, **options):
        fill(cache, contract, *paths)
        return EpisodeDataset(paths, cache, contract, DataOptions(**options))

    return make


def everything(data, seed=0):
    return data.batch(np.arange(len(data)), np.random.default_rng(seed))


def test_a_batch_without_age_is_what_the_sample_of_the_bag_holds(episode, contract, dataset):
    path = episode()
    data = dataset(path, ages=NEWEST)
    batch = everything(data).inputs
    samples = {sample.tick_ns: sample for sample in SampleReader(path, contract)}
    assert len(data) == len(samples) > 30
    for row, tick_ns in enumerate(data.tick_ns):
        inputs = samples[tick_ns].model_input()
        np.testing.assert_allclose(batch.window[row], inputs.window, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(batch.window_mask[row], inputs.window_mask)
        np.testing.assert_array_equal(batch.state[row], inputs.state)
        np.testing.assert_allclose(batch.state_age_s[row], inputs.state_age_s, atol=1e-6)
        np.testing.assert_allclose(batch.image_age_s[row], inputs.image_age_s, atol=1e-6)
        np.testing.assert_allclose(batch.view_motion[row], inputs.view_motion, atol=1e-6)
        assert np.isfinite(inputs.view_motion).all() and np.abs(inputs.view_motion).max() > 1e-4


def test_ages_and_motion_of_older_features_are_those_of_their_own_pictures(
    episode, contract, dataset
):  # fmt: skip
    path = episode(seconds=5.0)
    data = dataset(path, ages=FixedAges(0.25, 0.381))
    inputs = everything(data).inputs
    late = data.tick_ns > START_NS + NS
    ages = inputs.image_age_s.numpy()[late]
    # 40 ms of transport, 631 ms of use and pass, and up to one camera period.
    assert (ages >= 0.671 - 1e-5).all() and (ages <= 0.871 + 1e-5).all()
    np.testing.assert_allclose(inputs.feature_age_s.numpy()[late], 0.25)
    samples = {sample.tick_ns: sample for sample in SampleReader(path, contract)}
    brightness = inputs.features[:, :5, 0].numpy()
    for row in np.flatnonzero(late):
        captured = data.tick_ns[row] - round(float(inputs.image_age_s[row, 0]) * NS)
        number = round((captured - START_NS) / (NS / 5))
        shown = [10 + 7 * ((number + view) % 15) for view in range(5)]
        np.testing.assert_allclose(brightness[row], shown, atol=2)
        # How far the tool went, from the states that the bag tells at the two times.
        then = samples.get(captured)
        if then is not None:
            moved = inputs.state[row, 6:9].numpy() - then.state[6:9]
            np.testing.assert_allclose(inputs.view_motion[row, 0, :3], moved, atol=5e-4)


def test_an_earlier_pass_has_its_own_pictures_ages_and_motion(episode, dataset):
    path = episode(seconds=5.0)
    newest = everything(dataset(path, ages=FixedAges(0.25, 0.381, 0.5))).inputs
    earlier = everything(dataset(path, ages=FixedAges(0.25, 0.881, 0.5))).inputs
    both = everything(data := dataset(path, ages=FixedAges(0.25, 0.381, 0.5), passes=2)).inputs
    late = torch.from_numpy(data.tick_ns > START_NS + 2 * NS)
    tokens, views = newest.features.shape[1], newest.image_age_s.shape[1]
    for part, pick in ((newest, slice(None, views)), (earlier, slice(views, None))):
        torch.testing.assert_close(both.image_age_s[late][:, pick], part.image_age_s[late])
        torch.testing.assert_close(both.view_motion[late][:, pick], part.view_motion[late])
    torch.testing.assert_close(both.features[late][:, :tokens], newest.features[late])
    torch.testing.assert_close(both.features[late][:, tokens:], earlier.features[late])
    # Before the second pass there is no other: the first stands for both.
    torch.testing.assert_close(both.features[0, :tokens], both.features[0, tokens:])
    torch.testing.assert_close(both.image_age_s[0, :views], both.image_age_s[0, views:])


def plant(topic, message, store):
    """From EVENT_NS on everything is different: pictures, force, A-scan, pose, joints."""
    if topic.endswith('sensor/samples'):
        late = message.stamp_ns >= EVENT_NS
        message.force_n[late] = 1000.0
        message.profile.reshape(len(late), -1)[late] = 1000.0
    elif hasattr(message, 'header') and stamp_of(message) >= EVENT_NS:
        if topic.endswith('compressed'):
            number = np.frombuffer(message.data.tobytes()[-8:], np.int64)
            message.data = np.frombuffer(grey(250) + number.tobytes(), np.uint8)
        elif topic.endswith('tcp_pose'):
            message.pose.position.x += 7.0
        elif topic.endswith('joint_states'):
            message.position = message.position + 7.0


@pytest.mark.parametrize('passes', [1, 2])
@pytest.mark.parametrize('ages', [NEWEST, LatencyAges(), LatencyAges((0.0, 0.8), 5.0)])
def test_no_input_shows_what_has_not_happened_yet(episode, dataset, ages, passes):
    data = dataset(episode(seconds=6.0, change=plant), ages=ages, passes=passes)
    before = data.tick_ns < EVENT_NS
    for seed in range(5):
        inputs = everything(data, seed).inputs
        seen = {
            'features': (inputs.features[:, :5] > 200).flatten(1).any(1),
            'window': (inputs.window > 900).flatten(1).any(1),
            'state': (inputs.state.abs() > 6).any(1),
            'view_motion': (inputs.view_motion.abs() > 6).flatten(1).any(1),
        }
        for name, flags in seen.items():
            assert not flags[torch.from_numpy(before)].any(), name
            assert flags[torch.from_numpy(~before)].any(), f'{name} never shows the event'
        assert (inputs.image_age_s >= 0.04 - 1e-6).all()
        assert (inputs.feature_age_s >= 0).all()


def test_early_ticks_use_the_first_set_with_an_age_that_is_possible(episode, dataset):
    data = dataset(episode(), ages=FixedAges(0.3, 0.6))
    inputs = everything(data).inputs
    early = data.tick_ns < START_NS + 900_000_000
    known_ns = START_NS + 40_000_000
    age_s = inputs.feature_age_s.numpy()
    assert early.any()
    assert (age_s[early] * 3 <= (data.tick_ns[early] - known_ns) / NS + 1e-6).all()
    np.testing.assert_allclose(age_s[~early], 0.3, atol=0.02)


def test_labels_are_the_recorded_chunks_and_a_hold_is_none(episode, contract, dataset):
    chunks = []

    def hold(topic, message, store):
        if topic.endswith('action/chunk'):
            chunks.append(message)
            message.reaction = 2 if len(chunks) % 4 == 0 else 0

    path = episode(change=hold)
    data = dataset(path, ages=NEWEST)
    batch = everything(data)
    deltas = {stamp_of(chunk): chunk.delta.reshape(8, 6) for chunk in chunks}
    held = {stamp_of(chunk) for chunk in chunks if chunk.reaction}
    assert not held & set(data.tick_ns) and data.counts['chunks_held'] > 5
    for row, tick_ns in enumerate(data.tick_ns):
        np.testing.assert_allclose(batch.actions[row], deltas[tick_ns], atol=1e-9)
    assert batch.mask.all()


def test_labels_may_be_what_the_robot_did(episode, contract, dataset):
    path = episode()
    data = dataset(path, ages=NEWEST, labels='robot')
    batch = everything(data)
    samples = {sample.tick_ns: sample for sample in SampleReader(path, contract)}
    for row, tick_ns in enumerate(data.tick_ns):
        np.testing.assert_allclose(batch.actions[row], samples[tick_ns].action, atol=1e-7)
        np.testing.assert_array_equal(batch.mask[row], samples[tick_ns].action_mask)
    assert not batch.mask.all()


def test_the_same_seed_gives_the_same_batch_and_ages_are_drawn_anew(episode, dataset):
    data = dataset(episode())
    one, same, other = (everything(data, seed).inputs for seed in (1, 1, 2))
    assert torch.equal(one.image_age_s, same.image_age_s)
    assert torch.equal(one.features, same.features)
    assert not torch.equal(one.image_age_s, other.image_age_s)


def test_an_absent_sensor_is_masked_as_a_whole(episode, dataset):
    data = dataset(episode(), sensor_dropout=0.4)
    mask = everything(data).inputs.window_mask
    full = data.batch(np.arange(len(data)), np.random.default_rng(0))
    share = (~mask.any(1)).float().mean().item()
    assert 0.15 < share < 0.65
    assert (full.inputs.window[~mask.any(1)] == 0).all()
    gone = dataset(data.paths[0], sensor='absent')
    assert not everything(gone).inputs.window_mask.any()


def test_a_blind_policy_is_given_features_of_black_pictures(episode, dataset):
    features = everything(dataset(episode(), images='black')).inputs.features
    assert features[:, :5].abs().max() == 0
    assert (features[:, 5] == len(TASK)).all()


def test_statistics_are_those_of_the_given_episodes_alone(episode, contract, dataset):
    def shift(topic, message, store):
        if topic.endswith('tcp_pose'):
            message.pose.position.x += 5.0

    one, two = episode('one'), episode('two', change=shift)
    data = dataset(one, ages=NEWEST)
    dataset(two)
    found, inputs = data.statistics(), everything(data)
    samples = list(SampleReader(one, contract))
    rows = np.concatenate([sample.window[sample.window_mask] for sample in samples])
    np.testing.assert_allclose(found['sensor'].first, rows.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found['sensor'].second, rows.std(0), rtol=1e-4)
    state = inputs.inputs.state.double().numpy()
    np.testing.assert_allclose(found['state'].first, state.mean(0), atol=1e-6)
    actions = inputs.actions[inputs.mask].double().numpy()
    np.testing.assert_allclose(found['action'].first, actions.mean(0), atol=1e-9)
    both = dataset(one, two, ages=NEWEST).statistics()
    assert both['state'].first[6] > found['state'].first[6] + 2


def hold_all(topic, message, store):
    """A demonstrator who never acts."""
    if topic.endswith('action/chunk'):
        message.reaction = 3


def test_an_episode_without_a_sample_is_named_and_in_nothing_else(episode, dataset):
    one, two = episode('one'), episode('two', change=hold_all)
    alone, data = dataset(one), dataset(one, two)
    assert data.paths == (one,) and data.empty == (two,) and not alone.empty
    assert len(data) == len(alone) and len(data.names) == len(data.digests) == 1
    for key, found in data.statistics().items():
        np.testing.assert_array_equal(found.first, alone.statistics()[key].first)
    more = data.counts['ticks_unusable'] - alone.counts['ticks_unusable']
    assert more >= data.counts['chunks_held'] > 20


def test_views_that_bring_nothing_new_are_counted(episode, contract, dataset):
    stuck = contract.views[2].topic

    def stall(topic, message, store):
        if topic.endswith(stuck):
            message.data = np.frombuffer(grey(77), np.uint8)

    counts = dataset(episode('one', change=stall), labels='robot').counts
    assert counts['views_stale'] > 5 and 'samples_accepted' not in counts
    assert not any('chunk' in kind for kind in counts)  # these are no labels here
    assert dataset(episode('two')).counts['views_stale'] == 0


def test_a_recording_is_known_by_what_it_holds(episode, dataset):
    def shift(topic, message, store):
        if topic.endswith('tcp_pose'):
            message.pose.position.x += 0.001

    path = episode('one')
    (before,) = dataset(path).digests
    for file in path.iterdir():
        os.utime(file, (0, 0))
    assert dataset(path).digests == [before]
    shutil.rmtree(path)
    assert dataset(episode('one', change=shift)).digests != [before]


def test_missing_features_are_told_with_the_episode(episode, cache, contract):
    def retract(topic, message, store):
        if topic == '/task':
            message.data = 'retract the needle'

    one, two = episode('one'), episode('two', seconds=2.0, change=retract)
    fill(cache, contract, one)
    with pytest.raises(VlaError, match=r'episodes/two: 10 of 30 image sets have no features'):
        EpisodeDataset([one, two], cache, contract)
    other = FeatureCache(cache.root, identity(backbone='other'))
    with pytest.raises(VlaError, match=r'episodes/one: 20 of 20 .* run vla cache again'):
        EpisodeDataset([one], other, contract)


def test_recordings_without_a_demonstrator_are_told_what_to_do(episode, cache, contract):
    path = episode(change=hold_all)
    fill(cache, contract, path)
    with pytest.raises(VlaError, match="need labels 'robot'"):
        EpisodeDataset([path], cache, contract)
    with pytest.raises(VlaError, match='sensor_dropout 1.5'):
        DataOptions(sensor_dropout=1.5)


def test_features_that_do_not_fit_in_memory_are_read_from_disk(episode, dataset, monkeypatch):
    path = episode()
    held = everything(dataset(path)).inputs.features
    monkeypatch.setattr('vla_training.data.features._IN_MEMORY_BYTES', 0)
    data = dataset(path)
    assert not data._features._held
    assert torch.equal(everything(data).inputs.features, held)


def test_priority_data_is_drawn_twice_as_often(episode, dataset):
    data = dataset(episode('one'), episode('two', tags=('expert',)), episode('three'))
    weights = sample_weights(data, {'expert': 2.0})
    assert weights.sum() == pytest.approx(1.0) and len(weights) == len(data)
    per_sample = [weights[data.episode_of == number] for number in range(3)]
    assert per_sample[1][0] == pytest.approx(2 * per_sample[0][0])
    assert per_sample[0][0] == pytest.approx(per_sample[2][0])
    np.testing.assert_allclose(sample_weights(data, {'episodes': 3.0}), 1 / len(data))
    with pytest.raises(VlaError, match='did you mean'):
        sample_weights(data, {'exprt': 2.0})


def test_the_expert_takes_a_batch_as_it_is(episode, contract, dataset):
    data = dataset(episode())
    config = ExpertConfig(
        views=5, tokens_per_view=1, feature_width=4, samples=65, channels=17, state_width=12,
        steps=8, dims=6, head='regression', width=16, attention_heads=2,
    )  # fmt: skip
    expert = ActionExpert(config, data.statistics())
    batch = data.batch(np.array([3, 7]), np.random.default_rng(0))
    assert torch.isfinite(expert.loss(batch.inputs, batch.actions)).all()
    assert replace(batch, mask=batch.mask).to('cpu').actions.dtype == torch.float32
