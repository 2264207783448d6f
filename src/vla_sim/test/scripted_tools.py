"""Drives the headless lab with chunks, as the robot's command path does on the wire."""

from dataclasses import dataclass, field

import numpy as np

from vla_core.arms import meca500 as kin
from vla_core.rotation import euler_to_quat
from vla_sim.lab import Lab, PHYSICS_STEP_S
from vla_sim.scripted_values import PERIOD_S, Sight

BLOCK = 5  # physics steps between two commands: 100 Hz
BLOCKS = round(PERIOD_S / (BLOCK * PHYSICS_STEP_S))
LATE_BLOCKS = 3  # a chunk takes over 30 ms after its tick


@dataclass
class Trip:
    """What happened, one entry a tick; `forces` and `surfaces` one a command."""

    plans: list = field(default_factory=list)
    truths: list = field(default_factory=list)
    forces: list = field(default_factory=list)
    rim: bool = False  # the needle touched something hard
    joints: list = field(default_factory=list)
    velocities: list = field(default_factory=list)


def sight_of(lab: Lab, opening_shift_m=(0.0, 0.0, 0.0)) -> Sight:
    truth, scene = lab.truth(), lab.scene
    return Sight(
        stamp_ns=round(truth.time_s * 1e9) + 1,
        tip_m=truth.tip_m,
        tip_xyzw=euler_to_quat(kin.euler_rad(truth.tip_rotation)),
        opening_m=scene.opening_m + np.asarray(opening_shift_m),
        trocar_xyzw=euler_to_quat(kin.euler_rad(scene.trocar_rotation)),
        tissue_depth_m=scene.tissue_depth_m,
    )


class Driver:
    """Integrates the chunks' velocity through the Jacobian into servo targets."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.joint_rad = lab.joint_rad
        self.delta = np.zeros((2, 6))

    def run(self, policy, goal, seconds: float, until_done=True, see=sight_of, alter=None) -> Trip:
        """Drive until the plan says done (and half a second longer) or the time is over."""
        trip, left = Trip(), None
        for _ in range(round(seconds / PERIOD_S)):
            plan = policy.plan(see(self.lab), goal)
            trip.plans.append(plan)
            delta = plan.delta if alter is None else alter(plan)
            self._tick(delta, trip)
            trip.truths.append(self.lab.truth())
            if until_done and left is None and plan.done:
                left = 5
            if left is not None:
                left -= 1
                if left == 0:
                    break
        return trip

    def _tick(self, delta, trip):
        for block in range(BLOCKS):
            step = self.delta[1] if block < LATE_BLOCKS else delta[0]
            speed = np.linalg.solve(kin.jacobian(self.joint_rad), step / PERIOD_S)
            for _ in range(BLOCK):
                self.joint_rad = self.joint_rad + speed * PHYSICS_STEP_S
                self.lab.command(self.joint_rad, speed)
                self.lab.step()
                contact = self.lab.contact
                trip.rim |= contact.force_n > 0 and not self.lab.truth().inside
            trip.velocities.append(step / PERIOD_S)
            trip.forces.append(contact.force_n)
            trip.joints.append(self.lab.joint_rad)
        self.delta = delta
