import json

from hypothesis import given
from hypothesis import strategies as st
import pytest
import yaml

from vla_core.contract import Contract, ViewSpec
from vla_core.errors import VlaError
from vla_data.episode import EpisodeInfo, has_info, info_from_strings, OUTCOMES

TEXT = st.text(max_size=40)
COUNTS = st.dictionaries(TEXT, st.integers(0, 2**40), max_size=2)


@given(
    task=TEXT,
    notes=TEXT,
    outcome=st.sampled_from(OUTCOMES),
    tags=st.lists(TEXT, max_size=3),
    started_ns=st.integers(0, 2**62),
    loss=st.dictionaries(TEXT, COUNTS, max_size=2),
)
def test_info_comes_back_from_its_strings_as_it_was(task, notes, outcome, tags, started_ns, loss):
    info = EpisodeInfo(
        task=task, notes=notes, outcome=outcome, tags=tuple(tags), started_ns=started_ns, loss=loss
    )
    flat = info.to_strings()
    assert has_info(flat) and all(isinstance(value, str) for value in flat.values())
    assert info_from_strings(json.loads(json.dumps(flat))) == info


def test_keys_of_other_tools_and_of_newer_versions_are_ignored():
    assert info_from_strings({'lab': 'x', 'vla.colour': 'red', 'vla.task': 't'}).task == 't'
    assert info_from_strings(None) == EpisodeInfo() and not has_info({'lab': 'x'})


WRONG = [{'vla.loss': 'nan['}, {'vla.loss': '[1]'}, {'vla.outcome': 'ok'}]


@pytest.mark.parametrize('flat', WRONG)
def test_a_wrong_value_is_one_clear_error(flat):
    with pytest.raises(VlaError, match='loss|outcome'):
        info_from_strings(flat)


def test_the_contract_inside_has_the_hash_it_was_recorded_with():
    contract = Contract('insertion', 1, (ViewSpec('view1', 'cameras/view1'),))
    info = EpisodeInfo(contract_yaml=yaml.safe_dump(contract.to_dict()))
    assert info.contract().hash == contract.hash
    assert EpisodeInfo().contract() is None
