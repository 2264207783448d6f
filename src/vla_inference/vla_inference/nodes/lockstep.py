"""What the two model nodes need of ROS to run in step with a replay.

Used by them when their parameter `lockstep` is set. Deliberately no clockwork: engine.lockstep.
"""

import threading

from rclpy.duration import Duration

from vla_core.errors import ConfigError
from vla_inference.nodes.clock import uses_sim_time

LOOK_S = 0.01
ACK_S = 0.2  # of one wait for readers; the wait goes on until they have it


def check_lockstep(node) -> None:
    """ConfigError when the node is to run in lockstep on the system's clock."""
    if node.params.lockstep and not uses_sim_time(node):
        text = 'it needs use_sim_time: only a replay that steps /clock can wait for the nodes'
        raise ConfigError(f'parameters of {node.get_name()}', 'lockstep', True, text)


def wait_for_readers(stop: threading.Event, *publishers) -> None:
    """Wait until each publisher sends and has a reader: what it says before may be lost.

    A worker starts while its node is still being activated, and so are its publishers.
    """
    while not all(item.is_activated and item.get_subscription_count() for item in publishers):
        if stop.wait(LOOK_S):
            return


def wait_for_receipt(stop: threading.Event, *publishers) -> None:
    """Wait until all readers have everything that was published."""
    for publisher in publishers:
        while not publisher.wait_for_all_acked(Duration(seconds=ACK_S)) and not stop.is_set():
            pass
