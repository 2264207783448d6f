"""Helpers for tests that need the simulator's truth without a simulator.

Used by the tests of every package; needs no pytest. Nothing here is used by a running system.
"""

from typing import Any

from vla_sim.truth import TruthSample


def truth_sample(stamp_ns: int, **values: Any) -> TruthSample:
    """Return a scene with the needle centimetres in front of the opening, but for `values`."""
    usual: dict[str, Any] = {
        'joint_rad': [0.0] * 6, 'joint_rad_s': [0.0] * 6, 'tip_m': [0.2, 0.0, 0.15],
        'tip_quat': [0.0, 0.97, 0.0, 0.243], 'tip_speed_m_s': 0.0,
        'opening_m': [0.235, 0.0, 0.105], 'axis': [0.47, 0.0, -0.88],
        'trocar_quat': [0.0, 0.97, 0.0, 0.243], 'tissue_depth_m': 0.018, 'depth_m': -0.05,
        'radial_m': 0.0, 'angle_rad': 0.0, 'force_n': 0.0, 'side_n': 0.0, 'distance_m': 1.0,
        'surface': 0, 'inside': False, 'valve_open': False, 'tissue_punctured': False,
        'commanded_speed_m_s': 0.0, 'last_motion_ns': 0, 'last_stop_ns': 0, 'activated': True,
        'homed': True, 'paused': False, 'error': 0, 'estop': False, 'pstop2': False,
        'powered': True,
    }  # fmt: skip
    return TruthSample(stamp_ns, **(usual | values))
