"""A test's own action expert: publishes chunks as told, good or hostile, on the 10 Hz grid.

Used by the tests of the command path. It takes the place of action_expert_node, so that a test
decides what is commanded and knows when the last valid chunk went out.
"""

from collections.abc import Callable
import threading
import time

import numpy as np

from vla_msgs.msg import ActionChunk
from vla_ros import convert, qos

STEPS, DIMS, PERIOD_NS = 8, 6, 100_000_000
NAME = 'pilot'  # stands for the checkpoint's hash


class Pilot:
    """Publishes from a thread of its own until `stop`; `shape` may change what is sent."""

    def __init__(self, node) -> None:
        self._publisher = node.create_publisher(ActionChunk, 'action/chunk', qos.CHUNKS)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.step = np.zeros(DIMS)  # of every step of every chunk: m and rad
        self.chunk_id = 0
        self.last_published_ns = 0
        self.shape: Callable[[ActionChunk], ActionChunk | None] = lambda chunk: chunk

    def fly(self, step) -> None:
        """Send chunks of equal steps (6,) from now on; begin to publish if not begun."""
        self.step = np.asarray(step, float)
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Cease to publish: what a dead expert looks like."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def make(self, made_ns: int | None = None, **fields) -> ActionChunk:
        """Return one chunk of the present step; `fields` replace what it would have."""
        made_ns = time.time_ns() if made_ns is None else made_ns
        self.chunk_id += 1
        chunk = ActionChunk(chunk_id=self.chunk_id, checkpoint_hash=NAME, contract_hash=NAME)
        chunk.header.stamp = convert.to_time(made_ns)
        chunk.header.frame_id = 'base_link'
        stamps = [made_ns + step * PERIOD_NS for step in range(STEPS)]
        convert.set_chunk_steps(chunk, stamps, np.tile(self.step, (STEPS, 1)))
        chunk.published_stamp = convert.to_time(time.time_ns())
        for name, value in fields.items():
            setattr(chunk, name, value)
        return chunk

    def send(self, chunk: ActionChunk) -> None:
        """Publish one chunk now."""
        self._publisher.publish(chunk)

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            chunk = self.shape(self.make())
            if chunk is not None:
                self.last_published_ns = time.time_ns()
                self.send(chunk)
            due_s += PERIOD_NS / 1e9
            self._stop.wait(max(0.0, due_s - time.monotonic()))
