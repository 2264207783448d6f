import pytest

from vla_ros.testing import ros_context


@pytest.fixture
def ros():
    with ros_context() as context:
        yield context
