"""Orders to a running simulator, on a loopback port: faults now, stop buttons, power, a push.

The world process answers (`ControlServer`); tests ask (`ControlClient`). An order is a JSON object
with `command` and its values; the answer has `ok`, and `error` with one line when it is false.
Deliberately off unless a port is given.
"""

from collections.abc import Callable
from dataclasses import asdict
import json
import math
from typing import Any, TYPE_CHECKING

import zmq

from vla_core.errors import DeviceError, did_you_mean, VlaError
from vla_core.timebase import NS
from vla_sim.faults import Fault, KINDS, LiveFaults, TARGETS
from vla_sim.meca.codes import Code
from vla_sim.meca.server import MecaServer
from vla_sim.shared import SharedState
from vla_sim.truth import bind_loopback, TruthPublisher, TruthSample

if TYPE_CHECKING:
    from vla_sim.options import SimOptions
    from vla_sim.world import World

Order = dict[str, Any]
FOR_EVER_S = 1e9


class OrderError(VlaError):
    """An order makes no sense; the text is the answer."""


class ControlServer:
    """Takes orders; lives in the world process, single-threaded."""

    def __init__(
        self, options: 'SimOptions', shared: SharedState, world: 'World', truth: TruthPublisher
    ) -> None:
        """Bind the port, if it is not 0; DeviceError with one clear line if it is taken."""
        self._world, self._truth = world, truth
        self._shared = shared
        self._faults = LiveFaults(shared)
        self._now_ns = 0
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        if options.control_port:
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.REP)
            bind_loopback(self._socket, options.control_port, '--control-port')

    def poll(self, now_ns: int) -> None:
        """Answer what has come; now_ns: steady clock."""
        if self._context is None:
            return
        self._now_ns = now_ns
        while self._socket.poll(0):
            self._socket.send(json.dumps(self._answer(self._socket.recv())).encode())

    def _answer(self, data: bytes) -> Order:
        try:
            order = json.loads(data)
            if not isinstance(order, dict):
                raise OrderError('expected a JSON object with "command"')
            return {'ok': True, **self.obey(order)}
        except ValueError as error:
            return {'ok': False, 'error': f'not JSON: {error}'}
        except VlaError as error:
            return {'ok': False, 'error': str(error)}

    def obey(self, order: Order) -> Order:
        """Carry out one order and return what it answers; OrderError if it makes no sense."""
        orders: dict[str, Callable[[Order], Order | None]] = {
            'fault': self._fault,
            'clear_faults': lambda _: self._faults.clear(),
            'push': self._push,
            'estop': lambda order: self._meca().robot.set_estop(_on(order)),
            'pstop2': lambda order: self._meca().robot.set_pstop2(_on(order)),
            'power': lambda order: self._meca().power(_on(order)),
            'robot_error': self._robot_error,
            'truth': lambda _: {'truth': asdict(self._truth.sample())},
        }
        name = str(order.get('command'))
        if name not in orders:
            raise OrderError(
                f'{name} is not one of {", ".join(orders)}{did_you_mean(name, orders)}'
            )
        return orders[name](order) or {}

    def _meca(self) -> MecaServer:
        if self._world.meca is None:
            raise OrderError('there is no commanded robot: start with --motion commanded')
        return self._world.meca

    def _fault(self, order: Order) -> None:
        kind, target = order.get('kind'), order.get('target')
        if kind not in KINDS:
            raise OrderError(f'kind = {kind}: expected one of {", ".join(KINDS)}')
        if target is not None and target not in TARGETS:
            raise OrderError(f'target = {target}: expected one of {", ".join(TARGETS)}, or none')
        value = _number(order, 'value', 0.0, 60_000.0 if kind == 'delay_ms' else 1.0, 1.0)
        seconds = _number(order, 'seconds', 0.0, FOR_EVER_S, FOR_EVER_S)
        start_s = (self._now_ns - self._shared.start_ns) / NS
        self._faults.switch(Fault(kind, target, value, start_s, seconds))

    def _push(self, order: Order) -> None:
        self._world.lab.push(
            _number(order, 'newton', -10.0, 10.0), _number(order, 'seconds', 0.0, 60.0)
        )

    def _robot_error(self, order: Order) -> None:
        number = int(_number(order, 'code', 1000, 3999, int(Code.ERROR_MOTION)))
        self._meca().robot.fail(number, 'Error injected by the simulator.')

    def close(self) -> None:
        """Close the port."""
        if self._context is not None:
            self._context.destroy(linger=100)


def _on(order: Order) -> bool:
    value = order.get('on')
    if not isinstance(value, bool):
        raise OrderError(f'on = {value}: expected true or false')
    return value


def _number(
    order: Order, key: str, low: float, high: float, default: float | None = None
) -> float:
    value = order.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise OrderError(f'{key} = {value}: expected a number')
    if not low <= value <= high:
        raise OrderError(f'{key} = {value}: expected {low:g} to {high:g}')
    return float(value)


class ControlClient:
    """Gives orders and waits for the answer; one thread at a time.

    Every method raises DeviceError when the simulator does not answer in time, or says no.
    """

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._port, self._timeout_s = port, timeout_s

    def order(self, command: str, **values: Any) -> Order:
        """Give one order."""
        socket = self._context.socket(zmq.REQ)
        try:
            socket.setsockopt(zmq.RCVTIMEO, int(self._timeout_s * 1000))
            socket.connect(f'tcp://127.0.0.1:{self._port}')
            socket.send(json.dumps({'command': command, **values}).encode())
            answer: Order = json.loads(socket.recv())
        except zmq.Again:
            raise DeviceError(
                f'simulator: no answer on port {self._port} within {self._timeout_s:g} s; is it '
                'running with this --control-port?'
            ) from None
        finally:
            socket.close(0)
        if not answer.pop('ok'):
            raise DeviceError(f'simulator: {answer["error"]}')
        return answer

    def fault(
        self,
        kind: str,
        target: str | None = None,
        value: float = 1.0,
        seconds: float | None = None,
    ) -> None:
        """Switch a fault on now; value 0 switches it off. See `faults` for kinds and targets."""
        self.order('fault', kind=kind, target=target, value=value, seconds=seconds)

    def clear_faults(self) -> None:
        """Switch all live faults off; those of the command line stay."""
        self.order('clear_faults')

    def push(self, newton: float, seconds: float) -> None:
        """Push the needle back along its axis."""
        self.order('push', newton=newton, seconds=seconds)

    def estop(self, on: bool) -> None:
        """Press or release the emergency stop."""
        self.order('estop', on=on)

    def pstop2(self, on: bool) -> None:
        """Raise or lower the protective stop's input."""
        self.order('pstop2', on=on)

    def power(self, on: bool) -> None:
        """Cut the robot's power, or give it back."""
        self.order('power', on=on)

    def robot_error(self, code: int = Code.ERROR_MOTION) -> None:
        """Put the robot into error mode."""
        self.order('robot_error', code=int(code))

    def truth(self) -> TruthSample:
        """Ask for the truth now."""
        return TruthSample(**self.order('truth')['truth'])

    def close(self) -> None:
        """Close."""
        self._context.destroy(linger=0)

    def __enter__(self) -> 'ControlClient':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
