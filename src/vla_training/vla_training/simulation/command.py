"""The driver's command path over simulated devices: chunk executor and gate as on the robot.

Used by headless episodes and closed-loop evaluation, so that both judge and splice as the driver
does. Deliberately holds no loop: callers tick it every SLOT_NS of simulated time.
"""

from collections.abc import Callable

from vla_core.arms import meca500 as kin
from vla_core.execution.executor import ChunkExecutor, ExecutorSettings
from vla_core.safety.gate import SafetyGate
from vla_core.safety.limits import SafetyLimits
from vla_core.timebase import NS
from vla_drivers.command_path import CommandPath
from vla_training.simulation.devices import SimulatedDevices

SLOT_NS = NS // 50  # robot state and command, as launch/config/robot_driver.yaml


def command_path(
    devices: SimulatedDevices,
    settings: ExecutorSettings,
    on_change: Callable[[], None] = lambda: None,
) -> CommandPath:
    """Make the path from chunks to the simulated robot; `on_change` as CommandPath's."""
    gate = SafetyGate(SafetyLimits(), kin.Meca500(), SLOT_NS / NS)
    return CommandPath(
        gate, ChunkExecutor(settings), devices.robot, SLOT_NS / NS, on_change,
        lambda: devices.now_ns,
    )  # fmt: skip
