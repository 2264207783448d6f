# ruff: noqa: E501 - MJCF reads best with one element a line
"""The whole lab as MJCF: arm, table, eye phantom with trocar, props, lights and five cameras.

`compile_model` is called once per process; `apply_scene` then puts a drawn scene into the model.
Deliberately holds no physics of the needle in tissue, which MuJoCo's contacts do not model (see
`tissue`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_sim import mjcf_arm, textures
from vla_sim import scene as sc
from vla_sim.engine import mujoco

PHYSICS_STEP_S = (
    0.002  # implicit integration: the stiff servo damping is stable at twice the legacy 1 ms
)
VIEWS = ('view1', 'view2', 'view3', 'view4', 'view5')


@dataclass(frozen=True)
class CameraMount:
    """A camera outside the arm: position and look-at point in the base frame (m), vertical field of view."""

    position_m: tuple[float, float, float]
    target_m: tuple[float, float, float]
    fovy_deg: float


# Narrow views, as long lenses half a metre away: about 0.4 mm a pixel at 640x360.
EXTERNAL = (
    CameraMount((0.235, 0.520, 0.200), (0.220, 0.0, 0.112), 15.5),
    CameraMount((0.500, -0.430, 0.280), (0.225, 0.0, 0.108), 15.5),
    CameraMount((-0.010, 0.420, 0.330), (0.222, 0.0, 0.108), 15.5),
    CameraMount((0.420, 0.260, 0.560), (0.222, 0.0, 0.106), 15.5),
)
# A close-up of the last centimetres: 0.07 mm a pixel at the tip, so that it can be led into a bore of 1.1 mm.
TOOL_CAMERA_FOVY_DEG = 15.0
_TOOL_CAMERA_M = (0.091, 0.0, 0.048)  # in link 6
_TOOL_CAMERA_TARGET_M = (0.170, 0.0, 0.003)

_HEAD = """
<mujoco model="insertion_lab">
<compiler angle="radian" autolimits="true"/>
<option timestep="{step}" integrator="implicitfast"><flag contact="disable"/></option>
<visual>
 <global offwidth="{width}" offheight="{height}"/>
 <quality offsamples="{samples}" shadowsize="0" numslices="20" numstacks="10"/>
 <map znear=".01" zfar="6"/>
 <headlight ambient=".28 .28 .29" diffuse=".22 .22 .22" specular=".1 .1 .1"/>
</visual>
<statistic extent="1" center=".2 0 .15" meansize=".05"/>
<default>
 <joint damping="1" armature=".02"/>
 <geom contype="0" conaffinity="0"/>
 <default class="arm"><geom mass="0" group="2"/></default>
</default>
"""

_ASSETS = """
<asset>
 <texture name="sky" type="skybox" builtin="gradient" rgb1=".80 .84 .88" rgb2=".42 .45 .50" width="32" height="192"/>
 <texture name="breadboard" type="2d" file="breadboard.png"/>
 <texture name="wood" type="2d" file="wood.png"/>
 <texture name="drape" type="2d" file="drape.png"/>
 <texture name="laminate" type="2d" file="laminate.png"/>
 <texture name="wall" type="2d" file="wall.png"/>
 <texture name="skin" type="2d" file="skin.png"/>
 <material name="table_breadboard" texture="breadboard" texuniform="true" texrepeat="40 40" specular=".3" shininess=".3"/>
 <material name="table_wood" texture="wood" texuniform="true" texrepeat="3 3" specular=".2" shininess=".2"/>
 <material name="table_drape" texture="drape" texuniform="true" texrepeat="3 3" specular="0"/>
 <material name="table_laminate" texture="laminate" texuniform="true" texrepeat="5 5" specular=".2"/>
 <material name="wall" texture="wall" specular="0"/>
 <material name="skin" texture="skin" texuniform="true" texrepeat="14 14" specular=".15" shininess=".1"/>
 <material name="iris" rgba=".25 .45 .60 1" specular=".4"/>
 <material name="arm_light" rgba=".86 .87 .88 1" specular=".5" shininess=".5"/>
 <material name="arm_dark" rgba=".17 .18 .20 1" specular=".4" shininess=".4"/>
 <material name="steel" rgba=".66 .68 .71 1" specular=".9" shininess=".8"/>
 <material name="needle" rgba=".88 .90 .93 1" specular="1" shininess=".9"/>
 <material name="tool_blue" rgba=".12 .30 .62 1" specular=".6" shininess=".6"/>
 <material name="tool_hub" rgba=".90 .42 .10 1" specular=".4" shininess=".5"/>
 <material name="tool_camera" rgba=".10 .10 .12 1" specular=".3"/>
 <material name="glass" rgba=".05 .08 .16 1" specular="1" shininess="1"/>
 <material name="sclera" rgba=".97 .95 .93 .55" specular=".7" shininess=".8"/>
 <material name="cornea" rgba=".85 .92 .97 .28" specular="1" shininess="1"/>
 <material name="hub" rgba=".10 .35 .85 1" specular=".5" shininess=".6"/>
 <material name="bore" rgba=".03 .03 .04 1" specular="0"/>
</asset>
"""

_ROOM = """ <light name="key" pos=".5 .9 1.6" dir="-.25 -.55 -1" diffuse=".55 .54 .52" specular=".3
.3 .3" directional="true"/> <light name="fill" pos=".2 -1 1.2" dir="-.1 .7 -.8" diffuse=".26 .28
.31" specular=".1 .1 .1" directional="true"/> <geom name="table" type="box" pos=".25 0 -.02"
size=".75 .8 .02" material="table_breadboard"/> <geom name="wall_back" type="box" pos="-.95 0 .5"
size=".01 2.2 .9" material="wall"/> <geom name="wall_right" type="box" pos=".3 -1.7 .5" size="2 .01
.9" material="wall"/>
"""
# Half a dozen things that stand about on the bench: (shape, size, x, y). Their height comes from
# the size.
_PROPS = (
    ('box', (0.05, 0.035, 0.045), -0.05, -0.33),
    ('cylinder', (0.03, 0.06), 0.12, -0.42),
    ('box', (0.07, 0.012, 0.09), 0.30, -0.48),
    ('cylinder', (0.018, 0.075), -0.13, -0.20),
    ('box', (0.03, 0.03, 0.03), -0.02, 0.30),
    ('cylinder', (0.025, 0.04), -0.20, 0.12),
)


def _vector(values: Any) -> str:
    return ' '.join(f'{value:.7g}' for value in values)


def _look_at(position: Any, target: Any) -> str:
    """The xyaxes attribute of a camera (x right, y up, looking along -z) that looks at `target`."""
    back = np.asarray(position, dtype=float) - np.asarray(target, dtype=float)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return _vector([*right, *np.cross(back, right)])


def _camera(name: str, mount: CameraMount) -> str:
    axes = _look_at(mount.position_m, mount.target_m)
    return f'<camera name="{name}" pos="{_vector(mount.position_m)}" xyaxes="{axes}" fovy="{mount.fovy_deg}"/>'


def _tool_camera() -> str:
    back = np.array(_TOOL_CAMERA_M) - np.array(_TOOL_CAMERA_TARGET_M)
    back /= np.linalg.norm(back)
    right = np.array([0.0, -1.0, 0.0])  # the image's up is away from the base
    axes = _vector([*right, *np.cross(back, right)])
    return f'<camera name="view5" pos="{_vector(_TOOL_CAMERA_M)}" xyaxes="{axes}" fovy="{TOOL_CAMERA_FOVY_DEG}"/>'


def _along(direction: Any, start_m: float, end_m: float) -> str:
    direction = np.asarray(direction)
    return _vector([*(start_m * direction), *(end_m * direction)])


def _phantom() -> str:
    out = -sc.INWARD
    eye, hub = sc.EYE_RADIUS_M, sc.OPENING_FROM_EYE_CENTRE_M
    gaze = np.array(
        [np.sin(0.30), 0.0, np.cos(0.30)]
    )  # turned away from the robot: the trocar is at 45 deg
    return f"""
<body name="phantom" mocap="true">
 <geom type="box" pos="0 0 -.0115" size=".046 .038 .0065" material="skin" rgba="1 1 1 1" name="pad"/>
 <geom type="cylinder" pos="0 0 -.0054" size=".0185 .0028" material="skin" name="pad_ring"/>
 <geom type="cylinder" pos="-.034 .027 -.0048" size=".0045 .0008" rgba=".85 .12 .12 1"/>
 <geom type="cylinder" pos="-.034 -.027 -.0048" size=".0045 .0008" rgba=".10 .60 .20 1"/>
 <geom type="cylinder" pos=".034 .027 -.0048" size=".0045 .0008" rgba=".10 .25 .80 1"/>
 <geom type="box" pos="0 0 -.024" size=".03 .025 .006" material="arm_dark"/>
 <geom type="sphere" pos="0 0 -.036" size=".012" material="steel"/>
 <geom type="cylinder" fromto="{_along(gaze, 0.0105, 0.01256)}" size=".0042" material="iris"/>
 <geom type="cylinder" fromto="{_along(gaze, 0.0105, 0.01264)}" size=".0019" material="bore"/>
 <geom type="sphere" pos="{_vector(gaze * 0.0066)}" size=".0072" material="cornea"/>
 <geom type="sphere" size="{eye}" material="sclera"/>
 <geom name="hub" type="cylinder" fromto="{_along(out, eye - 0.0004, hub)}" size=".0024" material="hub"/>
 <geom name="bore" type="cylinder" fromto="{_along(out, hub - 0.0003, hub + 0.00005)}" size=".0011" material="bore"/>
 <geom name="cannula" type="cylinder" fromto="{_along(out, eye - 0.0045, eye - 0.0003)}" size=".0009" material="hub"/>
 <site name="trocar" pos="{_vector(out * hub)}" size=".0005" rgba="0 0 0 0"/>
</body>
<body name="stand" mocap="true">
 <geom type="cylinder" fromto="0 0 -.042 0 0 -.25" size=".008" material="steel"/>
 <geom type="cylinder" fromto="0 0 -.037 0 0 -.049" size=".014" material="arm_dark"/>
</body>
<geom name="foot" type="cylinder" pos="0 0 .005" size=".03 .005" material="arm_dark"/>
"""


def _props() -> str:
    rows = []
    for i, (shape, size, x, y) in enumerate(_PROPS):
        rows.append(
            f'<geom name="prop{i}" type="{shape}" pos="{x} {y} {size[-1]}" size="{_vector(size)}" rgba=".5 .5 .5 1"/>'
        )
    return '\n'.join(rows)


def model_xml(width: int, height: int, samples: int = 0) -> str:
    """MJCF of the lab for images of width x height pixels with `samples` anti-aliasing samples."""
    cameras = '\n'.join(_camera(name, mount) for name, mount in zip(VIEWS, EXTERNAL))
    head = _HEAD.format(step=PHYSICS_STEP_S, width=width, height=height, samples=samples)
    return (
        f'{head}{_ASSETS}<worldbody>{_ROOM}{_props()}{cameras}{_phantom()}'
        f'{mjcf_arm.body(_tool_camera())}</worldbody>'
        f'<actuator>{mjcf_arm.actuators()}</actuator></mujoco>'
    )


def compile_model(width: int = 640, height: int = 360, samples: int = 0) -> mujoco.MjModel:
    """Compile the lab."""
    return mujoco.MjModel.from_xml_string(
        model_xml(width, height, samples), textures.all_textures()
    )


class SceneApplier:
    """Puts drawn scenes into one model; remembers the model's nominal values. Not thread-safe."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._cam_pos = model.cam_pos.copy()
        self._cam_quat = model.cam_quat.copy()
        self._light_diffuse = model.light_diffuse.copy()
        self._prop_pos = model.geom_pos.copy()
        self._phantom = model.body('phantom').mocapid[0]
        self._stand = model.body('stand').mocapid[0]

    def apply(self, data: mujoco.MjData, scene: sc.Scene) -> None:
        """Set phantom, cameras, lights and colours for `scene`; no picture shows its tissue."""
        model = self._model
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, scene.phantom_rotation.ravel())
        self.place_phantom(data, scene.phantom_position_m, quat)
        self._apply_looks(scene)
        model.cam_pos[:] = self._cam_pos + scene.camera_shift_m
        for i in range(len(VIEWS)):
            turned = self._cam_quat[i].copy()
            mujoco.mju_quatIntegrate(turned, scene.camera_turn_rad[i], 1.0)
            model.cam_quat[i] = turned
        model.light_diffuse[:] = self._light_diffuse * scene.light_gain

    def place_phantom(self, data: mujoco.MjData, position_m: Any, quat_wxyz: Any) -> None:
        """Move the phantom (its eye's centre) and the stand under it."""
        data.mocap_pos[self._phantom] = position_m
        data.mocap_quat[self._phantom] = quat_wxyz
        ball = np.empty(3)
        mujoco.mju_rotVecQuat(
            ball, np.array([0.0, 0.0, -0.036]), np.asarray(quat_wxyz, dtype=float)
        )
        data.mocap_pos[self._stand] = np.asarray(position_m) + ball + [0.0, 0.0, 0.036]
        self._model.geom('foot').pos[:2] = data.mocap_pos[self._stand][:2]

    def phantom_pose(self, data: mujoco.MjData) -> Any:
        """Position and quaternion (w first) of the phantom (7,)."""
        return np.concatenate([data.mocap_pos[self._phantom], data.mocap_quat[self._phantom]])

    def _apply_looks(self, scene: sc.Scene) -> None:
        model = self._model
        model.geom('table').matid = model.material(sc.TABLES[scene.table]).id
        for name in ('pad', 'pad_ring'):
            model.geom(name).rgba = (*sc.PAD_COLOURS[scene.pad], 1.0)
        model.material('skin').rgba = (*sc.PAD_COLOURS[scene.pad], 1.0)
        model.material('hub').rgba = (*sc.TROCAR_COLOURS[scene.trocar], 1.0)
        for i in range(sc.PROPS):
            prop = model.geom(f'prop{i}')
            prop.pos[:2] = self._prop_pos[prop.id][:2] + scene.prop_shift_m[i]
            prop.rgba[:3] = scene.prop_rgb[i]
