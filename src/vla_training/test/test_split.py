"""The split: by scene, by seed, stable."""

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from vla_core.errors import VlaError
from vla_training.data import split
from vla_training.data.split import split_episodes


class Fake:
    def __init__(self, name, scene):
        self.name, self.scene = name, scene


@pytest.fixture(autouse=True)
def scenes(monkeypatch):
    monkeypatch.setattr(split, 'Path', lambda path: path)
    monkeypatch.setattr(split, 'scene_of', lambda path: path.scene)


def episodes(count, first=0):
    return [Fake(f'e{number}', str(number)) for number in range(first, first + count)]


@settings(max_examples=30)
@given(st.integers(5, 60), st.integers(0, 60), st.integers(0, 1000))
def test_adding_episodes_moves_none_of_the_others(count, more, seed):
    few = episodes(count)
    train, validation = split_episodes(few, 0.4, seed)
    grown_train, grown_validation = split_episodes([*few, *episodes(more, 100)], 0.4, seed)
    assert len(train) + len(validation) == count
    assert train and validation
    drawn = {split._draw(path.scene, seed) < 0.4 for path in few}
    if drawn == {True, False}:  # else one was moved so that neither side is empty
        assert set(train) <= set(grown_train) and set(validation) <= set(grown_validation)


def test_the_share_is_about_what_was_asked_for_and_seeds_differ():
    paths = episodes(1000)
    first, second = (split_episodes(paths, 0.1, seed)[1] for seed in (0, 1))
    assert 70 < len(first) < 130 and 70 < len(second) < 130
    assert first != second
    assert split_episodes(paths, 0.1, 0)[1] == first


def test_recordings_of_one_scene_stay_on_one_side():
    pairs = [Fake(f'{kind}{scene}', str(scene)) for scene in range(100) for kind in 'ab']
    train, validation = split_episodes(pairs, 0.3)
    assert not {path.scene for path in train} & {path.scene for path in validation}


def test_two_scenes_are_one_each_and_one_is_an_error():
    train, validation = split_episodes(episodes(2), 0.01)
    assert len(train) == len(validation) == 1
    train, validation = split_episodes(episodes(2), 0.99)
    assert len(train) == len(validation) == 1
    assert split_episodes(episodes(1), 0.0)[1] == []
    for paths, share in ((episodes(1), 0.5), ([], 0.1), (episodes(3), 1.0)):
        with pytest.raises(VlaError):
            split_episodes(paths, share)


def test_the_scene_of_a_recording_is_its_start(episode, monkeypatch):
    monkeypatch.undo()
    one, same = episode('one', started_ns=5), episode('same', started_ns=5)
    unknown = episode('unknown', started_ns=0)
    assert split.scene_of(one) == split.scene_of(same) == '5'
    assert split.scene_of(unknown) == 'unknown'
