"""Listing, filtering and tagging episodes."""

import shutil

from episode_tools import add_topics, counts, small_episode, START_NS
from mcap.reader import make_reader
import pytest

from vla_core.errors import VlaError
from vla_data.catalog import chosen, Filter, find, load
from vla_data.episode import EpisodeInfo, info_from_strings, RECORD
from vla_data.errors import BagError
from vla_data.recording import bag_metadata
from vla_data.recording.writer import EpisodeWriter
from vla_data.tagging import change, change_tags, read_info


def inside(path):
    with (path / f'{path.name}_0.mcap').open('rb') as stream:
        records = [m for m in make_reader(stream).iter_metadata() if m.name == RECORD]
    return info_from_strings(records[-1].metadata)


def test_tags_and_outcome_change_in_both_places_and_no_message_does(tmp_path):
    small_episode(tmp_path / 'e', task='insert', tags=('a', 'b'))
    before = counts(tmp_path / 'e')
    change_tags(tmp_path / 'e', ('c', 'a'), ('b',))
    info = change(tmp_path / 'e', outcome='failure', notes='tip bent')
    assert info.tags == ('a', 'c')
    assert read_info(tmp_path / 'e') == inside(tmp_path / 'e') == info
    assert counts(tmp_path / 'e') == before


def test_tagging_killed_while_it_writes_loses_no_message_and_no_tag(tmp_path):
    small_episode(tmp_path / 'e', task='insert')
    file = tmp_path / 'e' / 'e_0.mcap'
    change(tmp_path / 'e', outcome='success')
    whole, expected = file.read_bytes(), counts(tmp_path / 'e')
    for size in range(len(whole) - 1500, len(whole), 113):
        file.write_bytes(whole[:size])
        entry = load(tmp_path / 'e')
        assert (entry.fault, entry.info.outcome) == ('', 'success')
        assert counts(tmp_path / 'e') == expected


def test_custom_data_of_other_tools_stays(tmp_path):
    small_episode(tmp_path / 'e')
    custom = bag_metadata.custom_data(bag_metadata.read(tmp_path / 'e'))
    bag_metadata.replace_custom(tmp_path / 'e', {**custom, 'theirs': 'kept'})
    change(tmp_path / 'e', outcome='success')
    assert bag_metadata.custom_data(bag_metadata.read(tmp_path / 'e'))['theirs'] == 'kept'


def test_an_outcome_that_does_not_exist_changes_nothing(tmp_path):
    small_episode(tmp_path / 'e')
    with pytest.raises(VlaError, match='outcome'):
        change(tmp_path / 'e', outcome='sucess')
    assert read_info(tmp_path / 'e').outcome == ''


def test_a_folder_that_is_no_episode_is_named(tmp_path):
    with pytest.raises(BagError, match='is no episode'):
        change(tmp_path, outcome='success')


def test_episodes_are_found_below_a_folder_with_what_is_known_of_them(tmp_path):
    small_episode(tmp_path / 'day' / 'b', task='insert', outcome='success', tags=('x',))
    small_episode(tmp_path / 'a')
    entries = [load(path) for path in find(tmp_path)]
    assert [entry.path.name for entry in entries] == ['a', 'b']
    entry = entries[1]
    assert (entry.info.task, entry.messages, entry.state) == ('insert', 21, 'finished')
    assert entry.seconds == pytest.approx(1.9)
    assert entry.start_ns == START_NS


def test_an_episode_that_was_not_closed_is_repaired_and_said(tmp_path):
    writer = EpisodeWriter(tmp_path / 'live', EpisodeInfo(task='insert'))
    add_topics(writer)
    shutil.copytree(tmp_path / 'live', tmp_path / 'all' / 'live')
    said = []
    entry = load(tmp_path / 'all' / 'live', said.append)
    assert (entry.state, entry.info.task) == ('recovered', 'insert')
    assert 'was not closed' in said[0]
    assert load(tmp_path / 'live').state == 'recording'
    writer.close()


def test_what_cannot_be_read_is_an_entry_with_its_fault(tmp_path):
    small_episode(tmp_path / 'good')
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad' / 'bad_0.mcap').write_bytes(b'this is no recording at all')
    (tmp_path / 'foreign').mkdir()
    (tmp_path / 'foreign' / 'metadata.yaml').write_text('a: 1\n')
    faults = {path.name: load(path).fault for path in find(tmp_path)}
    assert faults['good'] == ''
    assert 'no MCAP file' in faults['bad']
    assert 'no rosbag2 metadata' in faults['foreign']


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(VlaError, match='no such folder'):
        find(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    ('wanted', 'names'),
    [
        (Filter(), ['a', 'b', 'c']),
        (Filter(task='INS'), ['a', 'b']),
        (Filter(outcomes=('success', 'failure')), ['a', 'b']),
        (Filter(tags=('x', 'y')), ['b']),
        (Filter(without_tags=('y',)), ['a', 'c']),
        (Filter(min_seconds=5.0), ['c']),
        (Filter(operator='kim'), ['c']),
        (Filter(lossless=True), ['a', 'c']),
        (Filter(since_ns=START_NS + 1), []),
        (Filter(until_ns=START_NS + 1, task='insert', tags=('x',)), ['a', 'b']),
    ],
)
def test_filters_choose_by_what_is_known(tmp_path, wanted, names):
    loss = {'/a': {'received': 5, 'lost_transport': 2}}
    small_episode(tmp_path / 'a', task='insert', outcome='success', tags=('x',))
    small_episode(tmp_path / 'b', task='Insert 2', outcome='failure', tags=('x', 'y'), loss=loss)
    small_episode(tmp_path / 'c', task='rest', operator='Kim', count=100)
    entries = [load(path) for path in find(tmp_path)]
    assert [entry.path.name for entry in chosen(entries, wanted)] == names
