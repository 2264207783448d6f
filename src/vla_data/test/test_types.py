import numpy as np
import pytest

from vla_core.errors import VlaError
from vla_data.types import make_typestore, suite_definitions


def test_every_message_of_the_suite_has_a_type():
    store = make_typestore()
    assert set(suite_definitions()) <= set(store.fielddefs) and suite_definitions()


def test_a_message_survives_serialisation():
    store = make_typestore()
    types = store.types
    header = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](7, 8), 'sensor')
    batch = types['vla_msgs/msg/SensorBatch'](
        header, np.array([1, 2], np.int64), np.ones(2, np.float32), 1, np.zeros(2, np.float32),
        3, 4, 5, 0.5,
    )  # fmt: skip
    data = store.serialize_cdr(batch, 'vla_msgs/msg/SensorBatch')
    back = store.deserialize_cdr(data, 'vla_msgs/msg/SensorBatch')
    assert back.stamp_ns.tolist() == [1, 2] and back.header.stamp.nanosec == 8


def test_a_definition_that_the_bag_brings_wins_over_ours():
    store = make_typestore([('vla_msgs/msg/SensorBatch', 'int64[] stamp_ns\n')])
    assert [name for name, _ in store.fielddefs['vla_msgs/msg/SensorBatch'][1]] == ['stamp_ns']


def test_a_definition_that_cannot_be_parsed_names_the_type():
    with pytest.raises(VlaError, match='lab_msgs/msg/X'):
        make_typestore([('lab_msgs/msg/X', 'int64[ x ) {')])
