import array
from types import SimpleNamespace

import numpy as np
import pytest

from vla_core.errors import WireFormatError
from vla_core.sensor_batch import sensor_arrays, sensor_matrix


def batch(force=2, profile=6):
    return SimpleNamespace(
        stamp_ns=array.array('q', [5, 6]),
        force_n=np.arange(force, dtype=np.float32),
        profile=np.arange(profile, dtype=np.float32),
        profile_length=3,
    )


def test_force_comes_before_the_profile_in_every_sample():
    stamps_ns, samples = sensor_matrix(batch())
    assert stamps_ns.tolist() == [5, 6]
    assert samples.tolist() == [[0, 0, 1, 2], [1, 3, 4, 5]]


@pytest.mark.parametrize(('force', 'profile'), [(1, 6), (2, 5), (3, 6)])
def test_arrays_that_do_not_fit_each_other_are_refused(force, profile):
    with pytest.raises(WireFormatError) as caught:
        sensor_arrays(batch(force, profile))
    assert caught.value.kind == 'bad_shape'
