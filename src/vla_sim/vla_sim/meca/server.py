"""The emulated Meca500 on TCP: one control client, any number of monitoring clients.

Lives in the world process, whose loop calls `poll` to take commands and `emit` after each stretch
of physics. Non-blocking throughout: a client that does not read is dropped when its buffer is
full. Deliberately no threads, and no idea of motion.
"""

from collections import Counter
import select
import socket
import struct

from vla_core.errors import DeviceError
from vla_sim.meca import monitoring
from vla_sim.meca.codes import Code
from vla_sim.meca.commands import BANNER, receive
from vla_sim.meca.controller import Controller
from vla_sim.meca.protocol import LineReader, message

BUFFER_LIMIT = 1 << 20  # bytes a client may leave unread
_USER_ALREADY = 'Another user is already connected, closing connection.'
_RESET_ON_CLOSE = struct.pack('ii', 1, 0)


class Client:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.reader = sock, LineReader()
        self.broken = False
        self._unsent = b''

    def send(self, data: bytes) -> None:
        """Send now what the network takes; the rest next time."""
        data = self._unsent + data
        try:
            sent = self.socket.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken = True
            return
        self._unsent = data[sent:]
        self.broken = self.broken or len(self._unsent) > BUFFER_LIMIT

    def take(self) -> list[str | None]:
        """Lines that have come; marks the connection broken when it has ended."""
        lines: list[str | None] = []
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return lines
            except OSError:
                data = b''
            if not data:
                self.broken = True
                return lines
            lines += self.reader.feed(data)

    def close(self, reset: bool = False) -> None:
        """Close; reset: as a host that has forgotten the connection."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.socket.close()


class MecaServer:
    """Both ports of one emulated robot; single-threaded."""

    def __init__(self, host: str, control_port: int, monitor_port: int, robot: Controller) -> None:
        """Listen; DeviceError with one clear line if a port is taken."""
        self.robot = robot
        self.counts: Counter[str] = Counter()
        self._address = (host, control_port, monitor_port)
        self._epoll = select.epoll()
        self._control: Client | None = None
        self._monitors: list[Client] = []
        self._dead: list[Client] = []
        self._listeners: list[socket.socket] = []
        self._next_cycle_s = 0.0
        self.powered = True
        self._listen()

    def _listen(self) -> None:
        host, *ports = self._address
        for port, option in zip(ports, ('--meca-control-port', '--meca-monitor-port')):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError as error:
                self.close()
                raise DeviceError(
                    f'robot: cannot listen on {host}:{port}: {error.strerror}; stop what uses '
                    f'it, or choose another with {option}'
                ) from error
            listener.listen(16)
            listener.setblocking(False)
            self._epoll.register(listener, select.EPOLLIN)

    # -- commands

    def wait(self, seconds: float) -> None:
        """Sleep until somebody writes or `seconds` have passed."""
        self._epoll.poll(max(seconds, 0.0))

    def poll(self, now_ns: int) -> None:
        """Accept clients and take commands; now_ns: Unix time."""
        if not self.powered:
            return
        self.robot.now_ns = now_ns
        for monitor in self._monitors:
            self.counts['ignored_on_monitor_port'] += len(monitor.take())
        self._take_commands()
        self._accept()

    def _take_commands(self) -> None:
        if self._control is not None:
            for line in self._control.take():
                receive(self.robot, line)
        self.flush()

    def _accept(self) -> None:
        for index, listener in enumerate(self._listeners):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue
            client = Client(sock)
            if index == 0:
                self._take_commands()  # the user before may have just left
            if index == 1:
                client.send(message(Code.CONNECTED, BANNER))
                client.send(b''.join(monitoring.state_messages(self.robot)))
                self._monitors.append(client)
            elif self._control is None:
                client.send(message(Code.CONNECTED, BANNER))
                self._control = client
            else:
                self.counts['second_user_refused'] += 1
                client.send(message(Code.USER_ALREADY, _USER_ALREADY))
                client.close()
                continue
            self._epoll.register(sock, select.EPOLLIN)

    # -- messages

    def emit(self) -> None:
        """Send what the last stretch of physics has brought."""
        robot = self.robot
        if not self.powered:
            return
        if robot.watchdog_until_s is not None and robot.time_s > robot.watchdog_until_s:
            self.counts['watchdog'] += 1
            self._drop_control()
        self.flush()

    def after_step(self) -> None:
        """Put the real-time stream into line when it is due; called after every physics step."""
        robot = self.robot
        if robot.time_s >= self._next_cycle_s - 1e-6:
            interval_s = robot.monitoring_interval_s
            late_s = robot.time_s - self._next_cycle_s
            self._next_cycle_s += interval_s * (1 + max(0.0, late_s // interval_s))
            self._next_cycle_s = min(self._next_cycle_s, robot.time_s + interval_s)
            if self._monitors or (self._control is not None and robot.control_monitoring):
                robot.events.append(monitoring.cycle(robot))

    def flush(self) -> None:
        """Hand everything to the clients and let go of those that are gone."""
        robot = self.robot
        events = b''.join(robot.events)
        if self._control is not None:
            copy = events if robot.control_monitoring else b''
            self._control.send(b''.join(robot.replies) + copy)
            if self._control.broken:
                self._drop_control()
        robot.replies.clear()
        robot.events.clear()
        for monitor in self._monitors:
            monitor.send(events)
        for monitor in [monitor for monitor in self._monitors if monitor.broken]:
            self._monitors.remove(monitor)
            self._forget(monitor)

    def _drop_control(self) -> None:
        if self._control is not None:
            self._forget(self._control)
            self._control = None
            self.counts['control_lost'] += 1
            self.robot.connection_lost()

    def _forget(self, client: Client) -> None:
        self._epoll.unregister(client.socket)
        client.close()

    # -- power

    def power(self, on: bool) -> None:
        """Cut the power: sockets go dead without a word. Or give it back: a controller boots."""
        if on == self.powered:
            return
        self.powered = on
        if on:
            self.robot.reboot()
            self._next_cycle_s = 0.0
            for client in self._dead:
                client.close(reset=True)
            self._dead.clear()
            self._listen()
            return
        for client in [*self._monitors, *([self._control] if self._control else [])]:
            self._epoll.unregister(client.socket)
            self._dead.append(client)
        self._control = None
        self._monitors.clear()
        self._stop_listening()
        self.robot.connection_lost()
        self.robot.activated = self.robot.homed = False

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            if listener.fileno() >= 0:
                listener.close()  # leaves epoll by itself
        self._listeners.clear()

    def close(self) -> None:
        """Close everything."""
        self._stop_listening()
        for client in [*self._monitors, *self._dead, *([self._control] if self._control else [])]:
            client.close()
        self._epoll.close()
