"""The lab with its emulated Meca500 in command: one physics step at a time, without sockets.

The world process steps it on the wire side, headless generation in simulated time, so the arm
obeys the same commands in both. Deliberately knows no clock: time is counted in physics steps.
"""

import numpy as np

from vla_core.arms import meca500 as kin
from vla_core.errors import DeviceError
from vla_core.rotation import euler_to_quat
from vla_sim.lab import Lab, PHYSICS_STEP_S
from vla_sim.meca.commands import receive
from vla_sim.meca.controller import Controller
from vla_sim.robot_stream import ENCODER_NOISE_RAD
from vla_sim.scripted_values import Sight

RECOVER_S = 2.0  # the emulated robot activates and homes in 0.6 s


class CommandedLab:
    """A `Lab` whose arm follows a `Controller`; single-threaded."""

    def __init__(self, lab: Lab, robot: Controller, seed: int) -> None:
        """`seed` draws the encoders' noise."""
        self.lab, self.robot = lab, robot
        self._rng = np.random.default_rng([seed, 0x3EC4])
        self.draw_noise()

    def step(self) -> None:
        """Advance robot and physics by PHYSICS_STEP_S; the robot measures its joints."""
        lab, robot = self.lab, self.robot
        robot.step(PHYSICS_STEP_S)
        lab.drive(robot.arm.joint_rad, robot.arm.joint_rad_s)
        robot.measured_rad = lab.joint_rad + self._noise_rad
        robot.measured_rad_s = lab.joint_rad_s

    def draw_noise(self) -> None:
        """Draw the encoders' noise anew; to be called before their reading is used."""
        self._noise_rad = ENCODER_NOISE_RAD * self._rng.standard_normal(6)

    def send(self, name: str, *values: float) -> None:
        """Give the robot a command as its control client would; answers are thrown away."""
        receive(self.robot, f'{name}({",".join(str(value) for value in values)})')
        self.robot.replies.clear()
        self.robot.events.clear()

    def recover(self, tool_m: float, velocity_timeout_s: float) -> None:
        """Activate, home, set tool and velocity time-out; DeviceError when it cannot be done."""
        self.send('ActivateRobot')
        self.send('Home')
        for _ in range(round(RECOVER_S / PHYSICS_STEP_S)):
            self.step()
            if self.robot.homed:
                break
        else:
            raise DeviceError(f'the emulated robot was not homed within {RECOVER_S:g} s')
        self.send('ResumeMotion')
        self.send('SetTrf', 0, 0, round(tool_m * 1e3, 4), 0, 0, 0)
        self.send('SetVelTimeout', velocity_timeout_s)
        self.step()

    def sight(self, stamp_ns: int) -> Sight:
        """What the scripted expert is shown now."""
        lab = self.lab
        position, rotation = lab.tcp_pose()
        return Sight(
            stamp_ns=stamp_ns,
            tip_m=position,
            tip_xyzw=euler_to_quat(kin.euler_rad(rotation)),
            opening_m=lab.opening_m,
            trocar_xyzw=euler_to_quat(kin.euler_rad(lab.trocar_rotation)),
            tissue_depth_m=lab.scene.tissue_depth_m,
        )
