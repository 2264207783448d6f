"""The five cameras on the wire: renders the scene at each trigger, JPEG, ZMQ PUSH to the receiver.

Body of the camera process. All views share one software trigger; the stamp is the trigger's time,
which is the time of the scene that was rendered. Rendering runs ahead of the trigger (see
`world`), sending does not. Deliberately keeps no old pictures: what the receiver does not take is
dropped and counted.
"""

from collections.abc import Callable
import signal
import time

import numpy as np
import zmq

from vla_core.timebase import NS
from vla_core.wire import camera_frame
from vla_sim import mjcf_lab
from vla_sim import scene as sc
from vla_sim.faults import Channel, FaultPlan, LiveFaults, Message
from vla_sim.options import SimOptions
from vla_sim.scene_cameras import SceneCameras
from vla_sim.shared import SharedState

QUEUE_IMAGES = 100  # four seconds of five cameras
CAMERA_NAMES = {
    'new': {
        'view1': 'ZED_41182735_left',
        'view2': 'ZED_49429257_left',
        'view3': 'ZED_44377151_left',
        'view4': 'ZED_49045152_left',
        'view5': 'OAK',
    },
    'old': {
        'view1': 'zed_41182735_left',
        'view2': 'zed_49429257_left',
        'view3': 'zed_44377151_left',
        'view4': 'zed_49045152_left',
        'view5': 'oak_CAM_A',
    },
}
_LONGEST_NAP_NS = 50_000_000


class CameraStream:
    """Renders and sends one set of pictures a trigger; single-threaded (GL)."""

    def __init__(self, options: SimOptions, shared: SharedState) -> None:
        """Make the GL context (GraphicsError) and connect; the receiver may come later."""
        self._options = options
        self._shared = shared
        self._cameras = SceneCameras(sc.draw_scene(options.seed), options.width, options.height)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, QUEUE_IMAGES)
        # Without a receiver nothing queues up: a late receiver gets fresh pictures, and drops are
        # counted.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self._socket.connect(f'tcp://{options.target}:{options.camera_port}')
        self._names = CAMERA_NAMES[options.camera_names]
        self._channels = {
            view: Channel(
                FaultPlan(view, options.faults, LiveFaults(shared)),
                shared.counters(view),
                self._send,
                corrupt,
                (options.seed, 2, i),
            )
            for i, view in enumerate(mjcf_lab.VIEWS)
        }
        self._last: dict[str, bytes] = {}
        self._start_ns = 0

    def start(self, start_ns: int) -> None:
        """Lay the schedule."""
        self._start_ns = start_ns

    def trigger_ns(self, index: int) -> int:
        """Steady time of a trigger."""
        return self._start_ns + int(index * NS / self._options.camera_rate)

    def render_all(self, trigger_ns: int, index: int) -> dict[str, bytes]:
        """JPEG of each view of the scene at `trigger_ns`."""
        states, outside = self._shared.states_at(np.array([trigger_ns]))
        if outside:
            self._shared.counters('view1').add('out_of_ring', outside)
        return self._cameras.pictures(states[0], index)

    def send_all(self, trigger_ns: int, pictures: dict[str, bytes]) -> None:
        """Send one trigger's pictures."""
        time_s = (trigger_ns - self._start_ns) / NS
        stamp_ns = int(self._shared.unix_ns(trigger_ns))
        for view, jpeg in pictures.items():
            channel, counters = self._channels[view], self._shared.counters(view)
            if view in self._last and channel.frozen(time_s):
                counters.add('frozen')
                jpeg = self._last[view]
            self._last[view] = jpeg
            for name, counted in self._senders(view):
                now_ns = time.monotonic_ns()
                send_ns = (
                    int(self._shared.unix_ns(now_ns))
                    if self._options.camera_names == 'old'
                    else None
                )
                message = camera_frame.encode(
                    camera_frame.CameraFrame(name, stamp_ns, send_ns, jpeg)
                )
                if counted:
                    counters.sent(1, stamp_ns, stamp_ns)
                    channel.push(message, 1, now_ns, time_s)
                else:
                    self._send(message)

    def _senders(self, view: str) -> list[tuple[str, bool]]:
        name = self._names[view]
        if self._options.right_eyes and name.endswith('_left'):
            return [(name, True), (name.removesuffix('left') + 'right', False)]
        return [(name, True)]

    def skip(self, triggers: int) -> None:
        """Count triggers that the renderer had no time for."""
        for view in mjcf_lab.VIEWS:
            self._shared.counters(view).add('skipped', triggers)

    def poll(self, now_ns: int) -> None:
        """Send what was delayed and is due."""
        for channel in self._channels.values():
            channel.poll(now_ns)

    def _send(self, message: Message) -> bool:
        try:
            self._socket.send_multipart(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Send what is held back, close the socket and free the GL context."""
        for channel in self._channels.values():
            channel.drain()
        self._context.destroy(linger=500)
        self._cameras.close()


def corrupt(message: Message, rng: np.random.Generator) -> Message:
    """A damaged camera message: a cut picture, a header that is no JSON, or a missing part."""
    header, jpeg = message
    choice = rng.integers(0, 3)
    if choice == 0:
        return header, jpeg[: rng.integers(0, len(jpeg))]
    if choice == 1:
        return header[: rng.integers(0, len(header))], jpeg
    return (header,)


def run(options: SimOptions, shared: SharedState, ready: Callable[[], object]) -> None:
    """Body of the camera process. ready(): call once everything that can fail has been set up."""
    signal.signal(signal.SIGTERM, lambda *_: shared.stop())
    stream = CameraStream(options, shared)
    ready()
    try:
        start_ns = shared.wait_for_go()
        if start_ns is not None and _wait(stream, shared, lambda: shared.head > 0):
            stream.start(start_ns)
            _loop(stream, shared)
    finally:
        stream.close()


def _loop(stream: CameraStream, shared: SharedState) -> None:
    index = 1
    while not shared.stopped:
        late = 0
        while stream.trigger_ns(index + late + 1) < time.monotonic_ns():
            late += 1
        if late:
            stream.skip(late)
            index += late
        due_ns = stream.trigger_ns(index)
        if not _wait(stream, shared, lambda: shared.has_state(due_ns)):  # noqa: B023 - called at once
            return
        pictures = stream.render_all(due_ns, index)
        if not _wait(stream, shared, lambda: time.monotonic_ns() >= due_ns, due_ns):  # noqa: B023
            return
        stream.send_all(due_ns, pictures)
        index += 1


def _wait(
    stream: CameraStream,
    shared: SharedState,
    condition: Callable[[], bool],
    due_ns: int | None = None,
) -> bool:
    """Nap until the condition holds, sending delayed messages meanwhile; False when stopped."""
    while not condition():
        if shared.stopped:
            return False
        now_ns = time.monotonic_ns()
        stream.poll(now_ns)
        nap_ns = 5_000_000 if due_ns is None else min(max(due_ns - now_ns, 0), _LONGEST_NAP_NS)
        time.sleep(nap_ns / NS)
    return True
