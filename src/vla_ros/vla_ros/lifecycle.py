"""The one lifecycle base of all nodes: autostart, parameters, diagnostics, workers, fatal errors.

Subclasses implement the hooks `configure`, `activate`, `deactivate`, `cleanup` (no arguments, no
result; raise a VlaError to say what is wrong) and `health`. They do not override rclpy's `on_*`:
rclpy swallows an exception raised there without a word, so this class implements those and guards
the hooks. It deliberately knows nothing about processes and exit codes; that is `vla_ros.spin`.
"""

from collections.abc import Callable, Sequence
import inspect
import threading

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile

from vla_core.errors import VlaError
from vla_core.health import HealthItem, Level
from vla_ros import params
from vla_ros.diagnostics import DiagnosticsPublisher

_FINAL = ('on_configure', 'on_activate', 'on_deactivate', 'on_cleanup', 'on_shutdown', 'on_error')
# rclpy keeps these on the node under names that a subclass would like, too.
_TAKEN = frozenset(
    (
        '_clock',
        '_context',
        '_logger',
        '_parameters',
        '_descriptors',
        '_publishers',
        '_subscriptions',
        '_clients',
        '_services',
        '_timers',
        '_guards',
        '_callbacks',
    )
)
JOIN_TIMEOUT_S = 2.0


class VlaLifecycleNode(LifecycleNode):
    """A lifecycle node that starts itself, reports its health and dies with one clear line.

    Threads: the hooks and `health` run on the executor's thread, workers on their own. `fail` may
    be called from any thread. `self.params` is the parameter dataclass, read anew at every
    configure.
    """

    def __init__(self, name: str, parameters: type, *, hardware_id: str = '', **kwargs):
        """Declare the parameters of the dataclass `parameters`, whose values live in
        config/<name>.yaml.

        Raises ConfigError. `kwargs` go to rclpy's Node (namespace, parameter_overrides, ...).
        """
        super().__init__(name, **kwargs)
        self.failure: BaseException | None = None
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self._parameters_type = parameters
        self._managed: list[tuple[Callable, object]] = []
        self._workers: list[threading.Thread] = []
        self.declare_parameter(
            'autostart',
            True,
            params.ParamSpec(
                'autostart',
                bool,
                'configure and activate by itself; false: wait for a lifecycle manager',
                read_only=True,
            ).descriptor(),
        )
        params.declare(self, parameters, name)
        self.params = params.read(self, parameters)
        self._diagnostics = DiagnosticsPublisher(self, hardware_id or name, self._all_health)
        # A second request for a state that the node already has must not end the process.
        self._service_change_state.callback = self._refuse_impossible(
            self._service_change_state.callback
        )
        self._start_timer = None
        if self.get_parameter('autostart').value:
            self._start_timer = self.create_timer(
                0.0, self._autostart, clock=Clock(clock_type=ClockType.STEADY_TIME)
            )

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in _FINAL:
            if name in cls.__dict__:
                raise TypeError(
                    f'{cls.__name__}: implement {name.removeprefix("on_")}(self), '
                    f'not {name}: rclpy swallows exceptions raised there'
                )

    def __setattr__(self, name: str, value: object) -> None:
        if name in _TAKEN and name in self.__dict__:
            raise TypeError(f'{type(self).__name__}.{name} belongs to rclpy: choose another name')
        super().__setattr__(name, value)

    # Hooks ---------------------------------------------------------------------------------------
    # --------------

    def configure(self) -> None:
        """Open devices, create publishers (`add_publisher`) and subscriptions. VlaError refuses
        the transition.
        """

    def activate(self) -> None:
        """Start workers. Publishers are already enabled."""

    def deactivate(self) -> None:
        """Stop workers; afterwards publishers are disabled."""

    def cleanup(self) -> None:
        """Release everything that configure took. Must also work after a configure that failed
        half-way.
        """

    def health(self) -> Sequence[HealthItem]:
        """Return what goes to /diagnostics, once a second, in every lifecycle state."""
        return ()

    # What subclasses use
    # ---------------------------------------------------------------------------------------

    @property
    def state_label(self) -> str:
        """The lifecycle state: 'unconfigured', 'inactive', 'active', ..."""
        return self._state_machine.current_state[1]

    def now_ns(self) -> int:
        """The node's time (ROS time under use_sim_time), ns since the Unix epoch."""
        return self.get_clock().now().nanoseconds

    def add_publisher(self, message_type, topic: str, qos: QoSProfile):
        """Create a publisher that sends only while the node is active; cleanup destroys it."""
        publisher = self.create_lifecycle_publisher(message_type, topic, qos)
        self._managed.append((self.destroy_lifecycle_publisher, publisher))
        return publisher

    def add_subscription(
        self,
        message_type,
        topic: str,
        callback: Callable,
        qos: QoSProfile,
        *,
        callback_group=None,
        raw: bool = False,
    ):
        """Create a subscription that cleanup destroys. It also hears messages while the node is
        inactive. raw: the callback gets the bytes.
        """
        subscription = self.create_subscription(
            message_type, topic, callback, qos, callback_group=callback_group, raw=raw
        )
        self._managed.append((self.destroy_subscription, subscription))
        return subscription

    def add_client(self, service_type, name: str):
        """Create a client of a service that cleanup destroys."""
        client = self.create_client(service_type, name)
        self._managed.append((self.destroy_client, client))
        return client

    def add_service(self, service_type, name: str, callback: Callable):
        """Create a service that cleanup destroys. It also answers while the node is inactive.

        A callback that is a coroutine gets a callback group of its own: while it waits, the other
        callbacks of the node go on.
        """
        group = ReentrantCallbackGroup() if inspect.iscoroutinefunction(callback) else None
        service = self.create_service(service_type, name, callback, callback_group=group)
        self._managed.append((self.destroy_service, service))
        return service

    def add_timer(self, period_s: float, callback: Callable):
        """Create a timer on the steady clock that cleanup destroys."""
        timer = self.create_timer(
            period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._managed.append((self.destroy_timer, timer))
        return timer

    def start_worker(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """Run `target` in a daemon thread; an exception that leaves it is fatal for the node
        (`fail`).
        """

        def guarded():
            try:
                target()
            except Exception as error:  # noqa: BLE001 - a dead worker must never go unnoticed
                if self.context.ok():  # else: the process is ending and publishers are gone
                    self.fail(error)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._workers.append(thread)
        thread.start()
        return thread

    def join_workers(self, timeout_s: float = JOIN_TIMEOUT_S) -> None:
        """Wait for all workers, which must have been told to stop; a worker that does not is
        fatal.
        """
        workers, self._workers = self._workers, []
        for thread in workers:
            thread.join(timeout_s)
            if thread.is_alive():
                self.fail(RuntimeError(f'worker {thread.name} did not stop within {timeout_s} s'))

    def fail(self, error: BaseException) -> None:
        """Report a fatal error: one log line (a traceback only for a bug), diagnostics ERROR,
        `on_failure`.
        """
        if self.failure is not None:
            return
        self.failure = error
        if isinstance(error, VlaError):
            self.get_logger().fatal(one_line(error))
        else:
            import traceback

            trace = ''.join(traceback.format_exception(error))
            self.get_logger().fatal(
                f'unexpected {type(error).__name__}: {one_line(error)}\n{trace}'
            )
        try:
            if self.context.ok():
                self._diagnostics.publish()
        finally:  # what is broken may be the diagnostics
            self.on_failure(error)

    # Lifecycle machinery
    # ---------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and call `configure`; on an error call `cleanup` and stay
        unconfigured.
        """
        self.params = params.read(self, self._parameters_type)
        result = self._guard(
            'configure',
            lambda: (super(VlaLifecycleNode, self).on_configure(state), self.configure()),
        )
        if result is not TransitionCallbackReturn.SUCCESS:
            self._guard('cleanup', self._clean)
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, then call `activate`."""
        return self._guard(
            'activate', lambda: (super(VlaLifecycleNode, self).on_activate(state), self.activate())
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `deactivate`, then disable the publishers."""
        return self._guard(
            'deactivate',
            lambda: (
                self.deactivate(),
                self.join_workers(),
                super(VlaLifecycleNode, self).on_deactivate(state),
            ),
        )

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `cleanup` and destroy what `add_*` created."""
        return self._guard('cleanup', self._clean)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate if active, clean up if configured."""
        return self._guard('shutdown', lambda: self._wind_down(state.label))

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up after an unexpected error in a transition."""
        return self._guard('error', lambda: self._wind_down('active'))

    def shutdown(self) -> None:
        """Bring the node to its finalized state; called once by whoever spins it."""
        if self.state_label in ('unconfigured', 'inactive', 'active'):
            self.trigger_shutdown()

    def _wind_down(self, label: str) -> None:
        if label == 'active':
            self.deactivate()
            self.join_workers()
        if label != 'unconfigured':
            self._clean()

    def _clean(self) -> None:
        try:
            self.cleanup()
        finally:
            managed, self._managed = self._managed, []
            for destroy, entity in reversed(managed):
                destroy(entity)

    def _guard(self, name: str, action: Callable) -> TransitionCallbackReturn:
        try:
            action()
        except VlaError as error:
            # Without autostart somebody else manages this node: refuse the transition and let them
            # retry.
            if self.get_parameter('autostart').value:
                self.fail(error)
            else:
                self.get_logger().error(f'{name}: {one_line(error)}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001 - rclpy would drop it in silence
            self.fail(error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        self.destroy_timer(self._start_timer)
        if self.state_label != 'unconfigured':
            return
        if self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _refuse_impossible(self, callback: Callable) -> Callable:
        from rclpy.impl.implementation_singleton import rclpy_implementation

        def change_state(request, response):
            try:
                return callback(request, response)
            except rclpy_implementation.RCLError:
                self.get_logger().warning(
                    f'transition {request.transition.label or request.transition.id} is not '
                    f'possible in state {self.state_label}'
                )
                response.success = False
                return response

        return change_state

    def _all_health(self) -> list[HealthItem]:
        state = self.state_label
        if self.failure is not None:
            own = HealthItem('lifecycle', Level.ERROR, one_line(self.failure), {'state': state})
        else:
            own = HealthItem('lifecycle', Level.OK, state, {'state': state})
        return [own, *self.health()]


def one_line(error: BaseException) -> str:
    """Return an error's text on one line; its type where it has no text."""
    return ' '.join(str(error).split()) or type(error).__name__
