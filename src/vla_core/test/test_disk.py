"""What keeps a file from being written is told whoever wraps it."""

import shutil

import pytest

from vla_core.disk import why_not_written

FULL = 'No space left on device'


@pytest.mark.parametrize(
    'error',
    [
        OSError(28, FULL),
        OSError('1000 requested and 120 written'),
        shutil.Error([('a', 'b', f"[Errno 28] {FULL}: 'b'")]),
        Exception(f'Error while serializing: I/O error: {FULL} (os error 28)'),
    ],
)
def test_a_full_disk_is_told_as_such(error):
    assert why_not_written(error) == (FULL, 'make room')


def test_other_reasons_are_told_with_a_look_at_the_folder():
    assert why_not_written(PermissionError(13, 'x')) == ('Permission denied', 'check the folder')
    assert why_not_written(OSError('no idea')) == ('no idea', 'check the folder')
