"""The lab in one process, without sockets: physics of arm and needle, cameras and sensor.

The world process steps it on the wire side; tests and headless evaluation use it directly, faster
than real time. Everything is determined by the seed and the commands. Deliberately knows no clock:
time is counted in physics steps of `PHYSICS_STEP_S`.
"""

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.rotation import rotate, rotvec_to_quat
from vla_sim import mjcf_arm, mjcf_lab
from vla_sim import scene as sc
from vla_sim.cannula import EYE_N_M, giving_way
from vla_sim.engine import mujoco
from vla_sim.expert import Expert, Setpoint
from vla_sim.eye_motion import EyeMotion
from vla_sim.oct_signal import OctSignal
from vla_sim.renderer import LabRenderer
from vla_sim.shared import COLUMNS
from vla_sim.tissue import Contact, FAR_M, Surface, Tissue

PHYSICS_STEP_S = mjcf_lab.PHYSICS_STEP_S
VIEWS = mjcf_lab.VIEWS
_LEAD_S = mjcf_arm.SERVO_KV / mjcf_arm.SERVO_KP

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What only a simulator knows. Metres, rad, base frame unless said otherwise."""

    time_s: float
    joint_rad: Array  # (6,)
    tip_m: Array  # (3,)
    tip_rotation: Array  # (3, 3), z along the needle
    depth_m: float  # of the tip along the trocar's axis; negative before the opening
    radial_m: float  # of the tip from that axis
    angle_rad: float  # between needle and axis
    contact: Contact
    inside: bool
    valve_open: bool
    tissue_punctured: bool


class Lab:
    """One scene and its arm. Single-threaded; rendering stays in its first thread."""

    def __init__(
        self,
        seed: int = 0,
        width: int = 640,
        height: int = 360,
        ranges: sc.SceneRanges = sc.DEFAULT_RANGES,
        moving: bool = False,
    ) -> None:
        """`moving`: the eye moves, see `eye_motion`."""
        self._size = (width, height)
        self._moving = moving
        self._ranges = ranges
        self._renderer: LabRenderer | None = None
        self.model = mjcf_lab.compile_model(width, height)
        self.data = mujoco.MjData(self.model)
        self._applier = mjcf_lab.SceneApplier(self.model)
        tip = self.model.site('needle_tip').id
        # Views into MuJoCo's memory: its attribute look-ups would cost more than a physics step.
        self._tip_position, self._tip_matrix = self.data.site_xpos[tip], self.data.site_xmat[tip]
        self._qpos, self._qvel, self._ctrl = self.data.qpos, self.data.qvel, self.data.ctrl
        self._needle_force = self.data.xfrc_applied[self.model.body('link6').id, :3]
        self.reset(seed)

    def reset(
        self, seed: int, joint_rad: Array | None = None, script_start_s: float = 0.0
    ) -> None:
        """Draw the scene of `seed` and put the arm at rest.

        joint_rad (6,): by default where the expert begins its cycle. script_start_s: the script's
        time at this instant; begin at the start of a cycle, since a needle does not appear inside
        an eye.
        """
        self.scene = sc.draw_scene(seed, self._ranges)
        self.expert = Expert(self.scene, PHYSICS_STEP_S)
        self._sensor = OctSignal(seed)
        self._push_n = self._push_until_s = 0.0
        self._samples = self._pictures = self._steps = 0
        self._script_start_s = script_start_s
        self._tissue = Tissue(self.scene)
        self._contact = Contact(FAR_M, Surface.NOTHING, 0.0)
        self._motion = EyeMotion(seed) if self._moving else None
        self.opening_m, self.trocar_rotation = self.scene.opening_m, self.scene.trocar_rotation
        self._free_opening_m, self._phantom_m = self.opening_m, self.scene.phantom_position_m
        self._way = (0.0, 0.0)
        self._to_trocar = self.trocar_rotation.T.copy()
        mujoco.mj_resetData(self.model, self.data)
        self._applier.apply(self.data, self.scene)
        self._phantom_quat = self._applier.phantom_pose(self.data)[3:]
        if self._motion is not None:
            self._move_eye(self._motion)
        start = (
            self.setpoint().joint_rad if joint_rad is None else np.asarray(joint_rad, dtype=float)
        )
        self._qpos[:] = start
        self._previous_depth = None
        self.command(start)
        mujoco.mj_forward(self.model, self.data)
        self._feel()

    def command(self, joint_rad: Array, joint_rad_s: Array | None = None) -> None:
        """Set the servos' target (6,) rad, cut to the joint limits, and its speed (6,) rad/s.

        The servos are heavily damped (kv / kp = 0.1 s); the speed, fed forward, takes their lag
        away.
        """
        target = np.minimum(np.maximum(joint_rad, kin.JOINT_MIN_RAD), kin.JOINT_MAX_RAD)
        self._ctrl[:] = target if joint_rad_s is None else target + _LEAD_S * joint_rad_s

    def step(self, steps: int = 1) -> None:
        """Advance the physics by `steps` x PHYSICS_STEP_S."""
        for _ in range(steps):
            if self._motion is not None:
                self._move_eye(self._motion)
            mujoco.mj_step(self.model, self.data)
            self._steps += 1
            # mj_step leaves the kinematics one step behind qpos.
            mujoco.mj_kinematics(self.model, self.data)
            self._feel()

    def _move_eye(self, motion: EyeMotion) -> None:
        """Put phantom, opening and trocar frame where they are after the coming step."""
        offset_m, turn_rad = motion.at(self.time_s + PHYSICS_STEP_S)
        turn = rotate(rotvec_to_quat(turn_rad), np.eye(3)).T
        rotation = turn @ self.scene.phantom_rotation
        centre_m = self.scene.phantom_position_m + offset_m
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, rotation.ravel())
        self._phantom_m, self._phantom_quat = centre_m, quat
        to_opening_m = self.scene.opening_m - self.scene.phantom_position_m
        self._free_opening_m = centre_m + turn @ to_opening_m
        self.trocar_rotation = turn @ self.scene.trocar_rotation
        self._to_trocar = self.trocar_rotation.T
        self._place_eye()

    def _place_eye(self) -> None:
        """Put phantom and opening where eye motion and needle have brought them."""
        way_m = self.trocar_rotation[:, :2] @ self._way
        self.opening_m = self._free_opening_m + way_m
        self._applier.place_phantom(self.data, self._phantom_m + way_m, self._phantom_quat)

    def drive(self, joint_rad: Array, joint_rad_s: Array) -> None:
        """Advance by one physics step with these joints (6,) rad and speeds (6,) commanded."""
        self.command(joint_rad, joint_rad_s)
        self.step()

    def push(self, newton: float, seconds: float) -> None:
        """Push the needle back along its axis for a while, beside what the tissue does.

        newton: force on the needle's tip, positive pushes back; the sensor feels it too.
        """
        self._push_n, self._push_until_s = newton, self.time_s + seconds

    def follow_expert(self, steps: int = 1) -> None:
        """Advance with the scripted expert in command; its time runs with physics time."""
        for _ in range(steps):
            setpoint = self.setpoint()
            self.command(setpoint.joint_rad, setpoint.joint_rad_s)
            self.step()

    def setpoint(self) -> Setpoint:
        """What the scripted expert wants at this instant."""
        return self.expert.at(self._script_start_s + self.time_s)

    def _feel(self) -> None:
        """Update the needle's contact and put its force on the arm for the next step."""
        tip, along = self._tip_position, self._tip_matrix[2::3]
        local = (self._to_trocar @ (tip - self._free_opening_m)).tolist()
        local_along = (self._to_trocar @ along).tolist()
        way = giving_way(local, local_along) if self._tissue.inside else (0.0, 0.0)
        if way != self._way:
            self._way = way
            self._place_eye()
        local[0] -= way[0]
        local[1] -= way[1]
        previous = local[2] if self._previous_depth is None else self._previous_depth
        self._previous_depth = local[2]
        self._contact = self._tissue.update(
            local, local_along, (local[2] - previous) / PHYSICS_STEP_S,
            EYE_N_M * math.hypot(*way),
        )  # fmt: skip
        if self.time_s < self._push_until_s:
            pushed_n = self._contact.force_n + self._push_n
            self._contact = self._contact._replace(force_n=pushed_n)
        self._local, self._local_along = local, local_along
        # Through the needle's own axis, on which link 6's centre of mass nearly lies.
        self._needle_force[:] = -self._contact.force_n * along

    @property
    def time_s(self) -> float:
        """Physics time since the reset."""
        return self._steps * PHYSICS_STEP_S

    @property
    def joint_rad(self) -> Array:
        """Joint angles (6,), a copy."""
        return self._qpos.copy()

    @property
    def joint_rad_s(self) -> Array:
        """Joint speeds (6,), a copy."""
        return self._qvel.copy()

    def tcp_pose(self) -> tuple[Array, Array]:
        """Needle tip in the base frame: position (3,) m, rotation (3, 3), copies."""
        return self._tip_position.copy(), self._tip_matrix.reshape(3, 3).copy()

    def truth(self) -> Truth:
        """Everything about the present instant."""
        position, rotation = self.tcp_pose()
        x, y, depth = self._local
        tissue = self._tissue
        return Truth(
            self.time_s, self.joint_rad, position, rotation, depth, float(np.hypot(x, y)),
            float(np.arccos(np.clip(self._local_along[2], -1.0, 1.0))),
            self._contact, tissue.inside, tissue.valve_open, tissue.tissue_punctured,
        )  # fmt: skip

    @property
    def contact(self) -> Contact:
        """The needle's contact after the last step."""
        return self._contact

    def write_state(self, state: Array, scripted: bool = True) -> None:
        """Fill state (WIDTH,) with this instant, in the columns of `shared.COLUMNS`.

        scripted: the script's phase and cycle too; a commanded arm has none (0, 0).
        """
        contact, tissue = self._contact, self._tissue
        setpoint = self.setpoint() if scripted else None
        phase, cycle = (setpoint.phase, setpoint.cycle) if setpoint else (0, 0)
        x, y, depth = self._local
        state[COLUMNS.joint] = self._qpos
        state[COLUMNS.joint_speed] = self._qvel
        state[COLUMNS.tip] = self._tip_position
        state[COLUMNS.phantom] = self._applier.phantom_pose(self.data)
        state[COLUMNS.contact] = (
            contact.distance_m, contact.force_n, depth, math.hypot(x, y), contact.side_n,
            contact.surface, phase, cycle, tissue.inside + 2 * tissue.valve_open + 4 *
            tissue.tissue_punctured,
        )  # fmt: skip

    def sample_sensor(self) -> tuple[float, NDArray[np.float32]]:
        """One sensor sample: force (sensor units) and A-scan (1025,) float32."""
        contact = self._contact
        force, profile = self._sensor.synthesise(
            np.array([self._samples]), np.array([self.time_s]), np.array([contact.distance_m]),
            np.array([int(contact.surface)]), np.array([contact.force_n]),
        )  # fmt: skip
        self._samples += 1
        return float(force[0]), profile[0]

    def render(self, view: str, noise: bool = True) -> NDArray[np.uint8]:
        """Picture (H, W, 3) uint8 RGB of a view; a copy. GraphicsError where there is no GL."""
        if self._renderer is None:
            self._renderer = LabRenderer(self.model, *self._size)
        mujoco.mj_camlight(self.model, self.data)
        self._pictures += 1
        return self._renderer.render(self.data, view, self._pictures if noise else None).copy()

    def close(self) -> None:
        """Free the GL context, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
