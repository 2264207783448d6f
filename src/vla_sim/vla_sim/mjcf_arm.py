# ruff: noqa: E501 - MJCF reads best with one element a line
"""MJCF of the Meca500 with its needle tool.

`mjcf_lab` puts it into the scene. Dimensions and limits come from `vla_core.arms.meca500`; housings are
simple shapes of about the right size. Deliberately without contact geometry: `tissue` makes the
needle's forces, and nothing in the scripted motion comes near the table.

Actuators: position servos, kp 500 / kv 50 (J1-J3) and 200 / 20 (J4-J6) (legacy
simulator; its +-10 N m would saturate in the fastest moves of a commanded arm). Gravity is compensated on the arm, as its controller does.
"""

import numpy as np

from vla_core.arms import meca500 as kin

ARM_JOINTS = tuple(f'joint{i}' for i in range(1, 7))
SERVO_KP = np.array([500.0, 500.0, 500.0, 200.0, 200.0, 200.0])
SERVO_KV = np.array([50.0, 50.0, 50.0, 20.0, 20.0, 20.0])
SERVO_LIMIT_NM = 60.0  # a saturated servo's damping would be explicit, and chatter at 2 ms

NEEDLE_RADIUS_M = 0.0006  # thicker than a 25-gauge needle (0.26 mm), so that it is seen at 640x360
_BACK_M = kin.FLANGE_M + kin.TOOL_TIP_M - kin.NEEDLE_LENGTH_M
_TIP_M = kin.FLANGE_M + kin.TOOL_TIP_M

_LINK0 = """
<geom class="arm" type="box" pos="-.012 0 .012" size=".075 .062 .012" material="arm_dark"/>
<geom class="arm" type="cylinder" pos="0 0 .05" size=".052 .042" material="arm_light"/>
<geom class="arm" type="box" pos="-.058 0 .05" size=".018 .036 .03" material="arm_dark"/>
<geom class="arm" type="cylinder" fromto="-.075 .018 .05 -.088 .018 .05" size=".007" material="steel"/>
<geom class="arm" type="cylinder" fromto="-.075 -.018 .05 -.088 -.018 .05" size=".007" material="steel"/>
"""
_LINK1 = """
<geom class="arm" type="cylinder" pos="0 0 -.039" size=".05 .004" material="arm_dark"/>
<geom class="arm" type="cylinder" pos="0 0 -.018" size=".046 .018" material="arm_light"/>
<geom class="arm" type="cylinder" fromto="0 -.05 0 0 .05 0" size=".038" material="arm_light"/>
<geom class="arm" type="cylinder" fromto="0 -.054 0 0 .054 0" size=".024" material="arm_dark"/>
"""
_LINK2 = """
<geom class="arm" type="box" pos="0 .033 .0675" size=".026 .012 .0675" material="arm_light"/>
<geom class="arm" type="box" pos="0 -.033 .0675" size=".026 .012 .0675" material="arm_light"/>
<geom class="arm" type="box" pos="0 0 .0675" size=".02 .026 .03" material="arm_dark"/>
<geom class="arm" type="cylinder" fromto="0 -.047 .135 0 .047 .135" size=".031" material="arm_light"/>
<geom class="arm" type="cylinder" fromto="0 -.05 .135 0 .05 .135" size=".019" material="arm_dark"/>
"""
_LINK3 = """
<geom class="arm" type="box" pos=".004 0 .02" size=".026 .02 .026" material="arm_light"/>
<geom class="arm" type="cylinder" fromto="-.03 0 .038 .06 0 .038" size=".028" material="arm_light"/>
<geom class="arm" type="cylinder" fromto="-.034 0 .038 -.03 0 .038" size=".02" material="arm_dark"/>
<geom class="arm" type="cylinder" fromto=".06 0 .038 .066 0 .038" size=".025" material="arm_dark"/>
"""
_LINK4 = """
<geom class="arm" type="cylinder" fromto="-.054 0 0 -.028 0 0" size=".024" material="arm_light"/>
<geom class="arm" type="box" pos="-.013 .019 0" size=".02 .006 .018" material="arm_light"/>
<geom class="arm" type="box" pos="-.013 -.019 0" size=".02 .006 .018" material="arm_light"/>
<geom class="arm" type="cylinder" fromto="0 -.027 0 0 .027 0" size=".018" material="arm_dark"/>
"""
_LINK5 = """
<geom class="arm" type="cylinder" fromto="0 -.013 0 0 .013 0" size=".018" material="arm_light"/>
<geom class="arm" type="cylinder" fromto="0 0 0 .034 0 0" size=".016" material="arm_light"/>
"""


def _tool() -> str:
    return f"""
<geom class="arm" type="cylinder" fromto=".034 0 0 .062 0 0" size=".0155" material="arm_dark"/>
<geom class="arm" type="cylinder" fromto=".062 0 0 {kin.FLANGE_M} 0 0" size=".0125" material="steel"/>
<geom class="arm" type="cylinder" fromto="{kin.FLANGE_M} 0 0 .092 0 0" size=".0105" material="tool_blue"/>
<geom class="arm" type="cylinder" fromto=".092 0 0 .108 0 0" size=".0055" material="steel"/>
<geom class="arm" type="cylinder" fromto=".108 0 0 {_BACK_M} 0 0" size=".0026" material="tool_hub"/>
<geom class="arm" type="capsule" fromto="{_BACK_M} 0 0 {_TIP_M - NEEDLE_RADIUS_M} 0 0" size="{NEEDLE_RADIUS_M}"
  material="needle"/>
<geom class="arm" type="box" pos=".078 0 .024" size=".004 .009 .022" material="arm_dark"/> <geom
class="arm" type="box" pos=".078 0 .048" size=".009 .015 .009" material="tool_camera"/> <geom
class="arm" type="cylinder" fromto=".086 0 .048 .09 0 .048" size=".005" material="glass"/> <site
name="needle_tip" pos="{_TIP_M} 0 0" quat=".70710678 0 .70710678 0" size=".0005" rgba="0 0 0 0"/>
<site name="needle_back" pos="{_BACK_M} 0 0" size=".0005" rgba="0 0 0 0"/>
"""


def _joint(index: int, axis: str) -> str:
    low, high = kin.JOINT_MIN_RAD[index], kin.JOINT_MAX_RAD[index]
    return f'<joint name="{ARM_JOINTS[index]}" axis="{axis}" range="{low} {high}"/>'


def _inertial(mass_kg: float, pos: str, radius_m: float) -> str:
    moment = 0.4 * mass_kg * radius_m**2
    return f'<inertial mass="{mass_kg}" pos="{pos}" diaginertia="{moment} {moment} {moment}"/>'


def body(tool_camera: str) -> str:
    """MJCF of the arm's bodies; `tool_camera` is the `<camera>` element that rides on link 6.

    Masses sum to the arm's 4.6 kg (manual); their split is an estimate and only shapes the
    transients.
    """
    return f"""
<body name="base_link" gravcomp="1">{_LINK0}
 <body name="link1" pos="0 0 {kin.BASE_HEIGHT_M}" gravcomp="1">{_inertial(1.1, '0 0 -.01', 0.06)}
  {_joint(0, '0 0 1')}{_LINK1}
  <body name="link2" gravcomp="1">{_inertial(0.9, '0 0 .0675', 0.07)}
   {_joint(1, '0 1 0')}{_LINK2}
   <body name="link3" pos="0 0 {kin.UPPER_ARM_M}" gravcomp="1">{_inertial(0.8, '.01 0 .03', 0.05)}
    {_joint(2, '0 1 0')}{_LINK3} <body name="link4" pos="{kin.FOREARM_M} 0 {kin.ELBOW_OFFSET_M}"
    gravcomp="1">{_inertial(0.3, '-.03 0 0', 0.03)}
     {_joint(3, '1 0 0')}{_LINK4}
     <body name="link5" gravcomp="1">{_inertial(0.2, '.015 0 0', 0.025)}
      {_joint(4, '0 1 0')}{_LINK5}
      <body name="link6" gravcomp="1">{_inertial(0.15, '.06 0 .005', 0.03)}
       {_joint(5, '1 0 0')}{_tool()}{tool_camera}
      </body></body></body></body></body></body></body>"""


def actuators() -> str:
    """MJCF of the six position servos."""
    rows = (
        f'<position name="servo{i + 1}" joint="{ARM_JOINTS[i]}" kp="{SERVO_KP[i]}" kv="{SERVO_KV[i]}" '
        f'forcerange="{-SERVO_LIMIT_NM} {SERVO_LIMIT_NM}"/>'
        for i in range(6)
    )
    return '\n'.join(rows)
