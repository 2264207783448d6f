"""Reasons of the gate in words."""

import math

from vla_core.safety.telling import tell


def test_reasons_are_told_with_value_and_limit_where_both_are_known():
    assert tell(['speed'], [0.0312], [0.025]) == 'speed 0.0312/0.025'
    assert tell(['speed', 'workspace'], [0.03], [0.02]) == 'speed 0.03/0.02, workspace'
    assert tell(['stale_state'], [math.nan], [0.1]) == 'stale_state'
    assert tell(['stale_state'], [1.0], [math.inf]) == 'stale_state'
    assert tell([], [], []) == ''
