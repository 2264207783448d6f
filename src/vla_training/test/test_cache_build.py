"""Filling the cache from episodes: what is computed, what is not, in one process and in two."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
import multiprocessing
import shutil

from conftest import CONTRACT, grey, identity, TASK
import numpy as np
import pytest

from vla_core.errors import VlaError
from vla_data.bag_reader import open_bag
from vla_policy.errors import CheckpointError
from vla_training.cache import build as building
from vla_training.cache.build import build, CacheOrder, episode_folders
from vla_training.cache.encoding import black_key, SetEncoder
from vla_training.cache.identity import identity_of, picture_digest
from vla_training.cache.image_sets import image_sets
from vla_training.cache.store import FeatureCache, ShardWriter, write_shard


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


def spoiler(topic, *numbers):
    """A change of messages: pictures of a view, by number from 1, that cannot be decoded."""
    seen = []

    def spoil(name, message, store):
        if name == f'/{topic}':
            seen.append(name)
            if len(seen) in numbers:
                message.data = np.frombuffer(grey(200)[: 30 + len(seen)], np.uint8)

    return spoil


def test_a_killed_run_goes_on_with_the_last_good_picture(
    episode, contract, cache, encoder, tmp_path
):  # fmt: skip
    path = episode(change=spoiler(contract.views[2].topic, 6, 7))
    assert encode(path, contract, cache, encoder).undecodable == 2
    begun = FeatureCache(tmp_path / 'begun', identity())
    writer = ShardWriter(begun)
    with open_bag(path) as bag:
        sets = [[picture_digest(p.jpeg) for p in images.pictures]
                for images in image_sets(bag, contract)]  # fmt: skip
    for digests in sets[:6]:  # the sixth shows the first bad picture
        writer.add(begun.key(TASK, digests), cache.get(cache.key(TASK, digests)))
    writer.flush()
    assert encode(path, contract, begun, encoder).undecodable == 2
    for digests in sets:
        key = cache.key(TASK, digests)
        np.testing.assert_array_equal(begun.get(key), cache.get(key))


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


def test_undecodable_pictures_are_told_again_when_there_is_nothing_to_compute(
    episode, contract, nano, tmp_path
):  # fmt: skip
    path = episode('one', 2.0, change=spoiler(contract.views[2].topic, 4))
    order = CacheOrder(nano[0], (path,), tmp_path / 'cache', dtype='float32')
    told = [build(order).encoded for _ in range(2)]
    assert [one.undecodable for one in told] == [1, 1] and told[1].computed == 0


def test_an_episode_that_gives_no_image_set_is_named(episode, contract, nano, tmp_path):
    def blind(topic, message, store):
        if topic == f'/{contract.views[1].topic}':
            message.data = np.zeros(0, np.uint8)

    paths = (episode('seen', 1.0), episode('blind', 1.0, change=blind))
    order = CacheOrder(nano[0], paths, tmp_path / 'cache', dtype='float32')
    for _ in range(2):
        encoded = build(order).encoded
        assert encoded.empty == [paths[1]] and encoded.sets == 5


def fill(root, checkpoint, dtype):
    own = identity_of(checkpoint, dtype)
    cache = FeatureCache(root, own)
    return write_shard(
        cache.folder, own, np.zeros((1, 32), np.uint8), np.zeros((1, 2, 3), np.float16)
    )


def test_what_is_there_is_gone_on_with_in_its_number_format(nano, tmp_path):
    fill(tmp_path, nano[0], 'float16')
    order = CacheOrder(nano[0], (), tmp_path)
    assert building._identity(order) == identity_of(nano[0], 'float16')
    assert FeatureCache.for_checkpoint(tmp_path, nano[0]).identity.dtype == 'float16'
    asked = CacheOrder(nano[0], (), tmp_path, dtype='float32')
    assert building._identity(asked).dtype == 'float32'


def test_features_in_two_number_formats_are_told_with_what_to_do(nano, tmp_path):
    folders = [fill(tmp_path, nano[0], dtype).parent for dtype in ('float32', 'bfloat16')]
    problem = f'float32 and bfloat16, .* remove {folders[0]} .*or {folders[1]} .*--dtype NAME'
    for use in (
        lambda: FeatureCache.for_checkpoint(tmp_path, nano[0]),
        lambda: building._identity(CacheOrder(nano[0], (), tmp_path)),
    ):
        with pytest.raises(VlaError, match=problem):
            use()
    shutil.rmtree(folders[1])
    assert FeatureCache.for_checkpoint(tmp_path, nano[0]).identity.dtype == 'float32'


def test_what_goes_wrong_in_a_process_is_told_as_it_is(episode, nano, tmp_path):
    shutil.copytree(nano[0], tmp_path / 'damaged')
    weights = tmp_path / 'damaged' / 'vlm' / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:1000])
    paths = (episode('one', 1.0), episode('two', 1.0))
    order = CacheOrder(tmp_path / 'damaged', paths, tmp_path / 'cache', 2, dtype='float32')
    with pytest.raises(CheckpointError, match='model.safetensors'):
        build(order)
    assert not multiprocessing.active_children()


class BrokenPool:
    """A pool whose processes are gone."""

    cause = None

    def __init__(self, *given):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *given):
        pass

    def submit(self, *given):
        future, error = Future(), BrokenProcessPool('terminated abruptly')
        error.__cause__ = self.cause
        future.set_exception(error)
        return future

    def shutdown(self, **given):
        pass


def test_only_a_process_that_died_is_said_to_have_been_killed(nano, tmp_path, monkeypatch):
    order = CacheOrder(nano[0], (tmp_path,), tmp_path, 2)
    monkeypatch.setattr(building, 'ProcessPoolExecutor', BrokenPool)
    with pytest.raises(VlaError, match='was killed: too little memory.* fewer --jobs'):
        list(building._results(order, identity()))
    monkeypatch.setattr(BrokenPool, 'cause', TypeError('cannot be unpickled'))
    with pytest.raises(BrokenProcessPool):
        list(building._results(order, identity()))


def test_a_folder_without_episodes_is_told(tmp_path):
    with pytest.raises(VlaError, match='holds no episodes'):
        episode_folders([tmp_path])
