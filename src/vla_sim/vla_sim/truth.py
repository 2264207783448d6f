"""What only a simulator knows, on a loopback port: for tests and the scripted expert.

The world process publishes a `TruthSample` as JSON, 100 times a second; `TruthClient` receives.
Deliberately not part of any device: a driver that listened here could not run in a lab.
"""

from dataclasses import dataclass
import json
import threading
import time
from typing import Any, TYPE_CHECKING

import numpy as np
import zmq

from vla_core.arms import meca500 as kin
from vla_core.errors import DeviceError, StaleDataError
from vla_core.rotation import rotvec_to_quat
from vla_core.timebase import NS
from vla_sim.meca.frames import rotation_vector
from vla_sim.options import DEFAULT_TRUTH_PORT, SimOptions
from vla_sim.shared import SharedState, STEP_NS

if TYPE_CHECKING:
    from vla_sim.world import World

RATE_HZ = 100


@dataclass(frozen=True)
class TruthSample:
    """The scene at one instant. Lengths m, angles rad, base frame; quaternions x, y, z, w."""

    stamp_ns: int  # Unix time
    joint_rad: list[float]  # (6,) of the physics
    joint_rad_s: list[float]  # (6,)
    tip_m: list[float]  # (3,) of the needle
    tip_quat: list[float]  # (4,), z along the needle
    tip_speed_m_s: float
    opening_m: list[float]  # (3,) centre of the trocar's opening
    axis: list[float]  # (3,) unit vector into the eye
    trocar_quat: list[float]  # (4,), z inward
    tissue_depth_m: float  # opening to tissue along the axis
    depth_m: float  # of the tip along the axis; negative before the opening
    radial_m: float  # of the tip from the axis
    angle_rad: float  # between needle and axis
    force_n: float  # along the needle; positive pushes back
    side_n: float  # across it, on the trocar's wall
    distance_m: float  # tip to the first surface along the needle
    surface: int  # see tissue.Surface
    inside: bool
    valve_open: bool
    tissue_punctured: bool
    commanded_speed_m_s: float  # of the needle's tip, by the joints the robot commands
    last_motion_ns: int  # Unix time the robot last got a command to move; 0: never
    # and was first told to stop since: zero velocity, PauseMotion, ClearMotion, loss, stop button
    last_stop_ns: int
    activated: bool
    homed: bool
    paused: bool
    error: int  # the robot's error code, 0 when none
    estop: bool
    pstop2: bool
    powered: bool


class TruthPublisher:
    """Publishes the world's truth; lives in the world process, single-threaded."""

    def __init__(self, options: SimOptions, shared: SharedState, world: 'World') -> None:
        """Bind the port, if it is not 0; DeviceError with one clear line if it is taken."""
        self._shared, self._world = shared, world
        self._start_ns = self._index = 0
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        if options.truth_port:
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.PUB)
            self._socket.setsockopt(zmq.SNDHWM, 200)
            bind_loopback(self._socket, options.truth_port, '--truth-port')

    def start(self, start_ns: int) -> None:
        """Lay the schedule."""
        self._start_ns = start_ns

    def emit_due(self, now_ns: int) -> None:
        """Publish the newest truth when it is time; none is made up for a missed one."""
        index = (now_ns - self._start_ns) * RATE_HZ // NS
        if self._context is not None and index > self._index:
            self._index = index
            self._socket.send(json.dumps(vars(self.sample())).encode())

    def sample(self) -> TruthSample:
        """Everything about the newest state of the scene."""
        shared, lab, meca = self._shared, self._world.lab, self._world.meca
        stamp_ns = self._start_ns + (shared.head - 1) * STEP_NS
        joint_rad, joint_rad_s = lab.joint_rad, lab.joint_rad_s
        speed = _tip_speed(joint_rad, joint_rad_s)
        robot = None if meca is None else meca.robot
        return TruthSample(
            stamp_ns=int(shared.unix_ns(stamp_ns)),
            joint_rad=joint_rad.tolist(),
            joint_rad_s=joint_rad_s.tolist(),
            tip_speed_m_s=speed,
            opening_m=lab.opening_m.tolist(),
            axis=lab.trocar_rotation[:, 2].tolist(),
            trocar_quat=_quat(lab.trocar_rotation),
            tissue_depth_m=lab.scene.tissue_depth_m,
            **_needle(lab),
            commanded_speed_m_s=speed
            if robot is None
            else _tip_speed(robot.arm.joint_rad, robot.arm.joint_rad_s),
            last_motion_ns=0 if robot is None else robot.last_motion_ns,
            last_stop_ns=0 if robot is None else robot.last_stop_ns,
            activated=robot is not None and robot.activated,
            homed=robot is not None and robot.homed,
            paused=robot is not None and robot.paused,
            error=0 if robot is None else int(robot.error or 0),
            estop=robot is not None and robot.estop != 0,
            pstop2=robot is not None and robot.pstop2 != 0,
            powered=meca is None or meca.powered,
        )

    def close(self) -> None:
        """Close the port."""
        if self._context is not None:
            self._context.destroy(linger=0)


def _needle(lab: Any) -> dict[str, Any]:
    truth = lab.truth()
    return {
        'tip_m': truth.tip_m.tolist(),
        'tip_quat': _quat(truth.tip_rotation),
        'depth_m': truth.depth_m,
        'radial_m': truth.radial_m,
        'angle_rad': truth.angle_rad,
        'force_n': truth.contact.force_n,
        'side_n': truth.contact.side_n,
        'distance_m': truth.contact.distance_m,
        'surface': int(truth.contact.surface),
        'inside': truth.inside,
        'valve_open': truth.valve_open,
        'tissue_punctured': truth.tissue_punctured,
    }


def _quat(rotation: Any) -> list[float]:
    quat: list[float] = rotvec_to_quat(rotation_vector(rotation)).tolist()
    return quat


def _tip_speed(joint_rad: Any, joint_rad_s: Any) -> float:
    if np.abs(joint_rad_s).max() < 1e-9:
        return 0.0
    return float(np.linalg.norm(kin.jacobian(joint_rad)[:3] @ joint_rad_s))


def bind_loopback(socket: 'zmq.Socket[bytes]', port: int, option: str) -> None:
    """Bind to a loopback port; DeviceError with one clear line if it is taken."""
    address = f'tcp://127.0.0.1:{port}'
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.context.destroy(linger=0)
        raise DeviceError(
            f'simulator: cannot listen on {address}: {error.strerror}; stop what uses it, or '
            f'choose another with {option} (0 = off)'
        ) from error


class TruthClient:
    """Receives the truth in a thread of its own; `newest` and `wait` from any thread.

    A condition guards the newest sample.
    """

    def __init__(self, port: int = DEFAULT_TRUTH_PORT) -> None:
        self._newest: TruthSample | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._port = port
        self._thread = threading.Thread(target=self._receive, name='truth', daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.CONFLATE, 1)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RCVTIMEO, 50)
        socket.connect(f'tcp://127.0.0.1:{self._port}')
        socket.subscribe(b'')
        while not self._stop.is_set():
            try:
                data = socket.recv()
            except zmq.Again:
                continue
            with self._changed:
                self._newest = TruthSample(**json.loads(data))
                self._changed.notify_all()
        socket.close(0)

    def newest(self) -> TruthSample | None:
        """The newest sample, None before the first."""
        with self._changed:
            return self._newest

    def wait(self, condition: Any = None, timeout_s: float = 5.0) -> TruthSample:
        """Wait for a new sample, or the first new one for which condition(sample) is true.

        StaleDataError when it does not come in time.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            seen = self._newest
            while True:
                sample = self._newest
                new = sample is not None and sample is not seen
                if new and (condition is None or condition(sample)):
                    assert sample is not None
                    return sample
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    raise StaleDataError(self._missing(seen, timeout_s))

    def _missing(self, before: TruthSample | None, timeout_s: float) -> str:
        if self._newest is before:
            return (
                f'no truth from the simulator on port {self._port} within {timeout_s:g} s: is it '
                'running with this --truth-port?'
            )
        return f'what was waited for did not become true within {timeout_s:g} s: {self._newest}'

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def __enter__(self) -> 'TruthClient':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
