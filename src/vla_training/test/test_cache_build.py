"""Filling the cache from episodes: what is computed, what is not, in one process and in two."""

from conftest import CONTRACT, grey, TASK
import numpy as np
import pytest

from vla_core.errors import VlaError
from vla_data.bag_reader import open_bag
from vla_training.cache.build import build, CacheOrder, episode_folders
from vla_training.cache.encoding import black_key, SetEncoder
from vla_training.cache.identity import picture_digest
from vla_training.cache.image_sets import image_sets
from vla_training.cache.store import FeatureCache, ShardWriter


def encode(path, contract, cache, encoder):
    with open_bag(path) as bag:
        return SetEncoder(encoder, cache, contract).episode(bag, ShardWriter(cache))


def test_every_set_and_black_pictures_are_encoded_once(episode, contract, cache, encoder):
    path = episode()
    first = encode(path, contract, cache, encoder)
    assert (first.sets, first.computed, first.undecodable) == (20, 20, 0)
    assert encoder.calls == len(cache) == 21
    again = encode(path, contract, cache, encoder)
    assert (again.sets, again.computed, encoder.calls) == (20, 0, 21)
    assert cache.get(black_key(cache, TASK, 5))[:5].max() == 0


def test_features_are_those_of_their_own_pictures(episode, contract, cache, encoder):
    path = episode()
    encode(path, contract, cache, encoder)
    with open_bag(path) as bag:
        for number, images in enumerate(image_sets(bag, contract)):
            key = cache.key(TASK, [picture_digest(p.jpeg) for p in images.pictures])
            shown = [10 + 7 * ((number + view) % 15) for view in range(5)]
            np.testing.assert_allclose(cache.get(key)[:5, 0], shown, atol=2)


def test_a_damaged_picture_is_replaced_by_the_one_before_and_counted(
    episode, contract, cache, encoder
):  # fmt: skip
    broken = contract.views[2].topic
    seen = []

    def spoil(topic, message, store):
        if topic == f'/{broken}':
            seen.append(topic)
            if len(seen) == 6:
                message.data = np.frombuffer(grey(200)[:40], np.uint8)

    path = episode(change=spoil)
    assert encode(path, contract, cache, encoder).undecodable == 1
    with open_bag(path) as bag:
        found = list(image_sets(bag, contract))
    key = cache.key(TASK, [picture_digest(p.jpeg) for p in found[5].pictures])
    assert cache.get(key)[2, 0] == pytest.approx(10 + 7 * (4 + 2), abs=2)


@pytest.fixture(scope='module')
def nano(tmp_path_factory):
    import yaml

    from vla_core.contract import load_contract
    from vla_policy.checkpoint import create_checkpoint

    folder = tmp_path_factory.mktemp('checkpoint')
    text = yaml.safe_load(CONTRACT.read_text())
    text.setdefault('sensor', {})['channels'] = 17
    text.setdefault('images', {}).update(width=32, height=16)
    (folder / 'contract.yaml').write_text(yaml.safe_dump(text))
    create_checkpoint('nano', folder / 'nano', 0, folder / 'contract.yaml')
    return folder / 'nano', load_contract(folder / 'contract.yaml')


@pytest.mark.slow
def test_one_process_and_two_make_the_same_cache(episode, contract, nano, tmp_path):
    checkpoint, own = nano
    assert own.hash == contract.hash
    paths = (episode('one', 2.0), episode('two', 2.0))
    told = []
    orders = [
        CacheOrder(checkpoint, paths, tmp_path / f'cache{jobs}', jobs, dtype='float32')
        for jobs in (1, 2)
    ]
    outcomes = [build(order, told.append) for order in orders]
    assert [outcome.encoded.sets for outcome in outcomes] == [20, 20]
    assert told[-1].sets == told[-1].expected == 20
    one, two = (FeatureCache.for_checkpoint(order.out, checkpoint) for order in orders)
    assert set(one._places) == set(two._places) and len(one) > 10
    for key in one._places:
        np.testing.assert_array_equal(one.get(key), two.get(key))
    again = build(orders[0], told.append)
    assert (again.encoded.sets, again.encoded.computed) == (20, 0)
    assert told[-1].sets == 20


def test_cached_features_are_those_of_the_live_encoder(episode, contract, nano, tmp_path):
    from vla_inference.engine.jpeg import decode_jpeg
    from vla_policy.checkpoint import load_vlm

    checkpoint, _ = nano
    path = episode('one', 2.0)
    build(CacheOrder(checkpoint, (path,), tmp_path / 'cache', dtype='float32'))
    cache = FeatureCache.for_checkpoint(tmp_path / 'cache', checkpoint)
    live = load_vlm(checkpoint, 'cpu', 'float32')
    with open_bag(path) as bag:
        images = list(image_sets(bag, contract))[3]
    shown = [decode_jpeg(p.jpeg, 32, 16) for p in images.pictures]
    key = cache.key(TASK, [picture_digest(p.jpeg) for p in images.pictures])
    np.testing.assert_array_equal(cache.get(key), live.encode(shown, TASK).tokens)


def test_an_episode_of_another_contract_is_refused_before_anything_is_loaded(
    episode, nano, tmp_path
):  # fmt: skip
    from vla_policy.checkpoint import create_checkpoint

    create_checkpoint('nano', tmp_path / 'other', 0, CONTRACT)
    order = CacheOrder(tmp_path / 'other', (episode(),), tmp_path / 'cache')
    with pytest.raises(VlaError, match='sensor.channels: 1026 and 17'):
        build(order)


def test_a_folder_without_episodes_is_told(tmp_path):
    with pytest.raises(VlaError, match='holds no episodes'):
        episode_folders([tmp_path])
