"""Helpers for tests that use ROS: a domain of their own, waiting with deadlines, spinning,
listening.

Used by the tests of every package; needs no pytest. Nothing here is used by a running system.
"""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from vla_ros.spin import Spinner

_DOMAINS = range(1, 102)  # above 101 the ports reach into Linux' ephemeral range
_locks: list = []


def ros_domain() -> int:
    """Give this process a ROS_DOMAIN_ID of its own, on loopback only; children inherit it. Returns
    the id.

    A locked file per domain keeps parallel test processes apart; the lock lives as long as the
    process.
    """
    if _locks:
        return int(os.environ['ROS_DOMAIN_ID'])
    folder = Path(tempfile.gettempdir()) / 'vla_ros_domains'
    folder.mkdir(exist_ok=True)
    for offset in range(len(_DOMAINS)):
        domain = _DOMAINS[(os.getpid() + offset) % len(_DOMAINS)]
        lock = open(folder / str(domain), 'w')  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locks.append(lock)
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        return domain
    raise RuntimeError('no free ROS domain: too many test processes')


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = '') -> Any:
    """Return the condition's first true value; AssertionError once the deadline has passed."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f'not within {timeout_s} s: {what or "condition"}')
        time.sleep(0.005)


@contextlib.contextmanager
def ros_context() -> Iterator[Context]:
    """rclpy initialised in a domain of this process, shut down afterwards."""
    ros_domain()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield rclpy.get_default_context()
    finally:
        rclpy.try_shutdown()


@contextlib.contextmanager
def spinning(*nodes: Node) -> Iterator[None]:
    """Spin nodes in a thread; afterwards end and destroy them. An exception in a callback fails
    the test.
    """
    spinner = Spinner(*nodes)
    try:
        with spinner:
            yield
    finally:
        for node in nodes:
            if hasattr(node, 'shutdown'):
                node.shutdown()
            node.destroy_node()
    if spinner.error is not None:
        raise spinner.error


class Listener(Node):
    """A node that keeps every message of the topics it is told to hear, in `messages[topic]`."""

    def __init__(self, name: str = 'listener', **kwargs):
        super().__init__(name, **kwargs)
        self.messages: dict[str, list] = {}

    def hear(self, message_type, topic: str, qos) -> list:
        """Subscribe; return the list that fills."""
        heard = self.messages.setdefault(topic, [])
        self.create_subscription(message_type, topic, heard.append, qos)
        return heard

    def wait_for_publisher(self, topic: str, timeout_s: float = 10.0) -> None:
        """Wait until somebody publishes the topic."""
        wait_for(lambda: self.count_publishers(topic), timeout_s, f'a publisher of {topic}')


def overrides(**values) -> list:
    """Parameter overrides for a node's constructor."""
    from rclpy.parameter import Parameter

    return [Parameter(name, value=value) for name, value in values.items()]
