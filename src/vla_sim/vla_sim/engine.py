"""The one place that imports MuJoCo, because its GL backend must be chosen first.

Everyone else writes `from vla_sim.engine import mujoco`.
"""

from vla_sim import gl

gl.prepare()

import mujoco  # noqa: E402, F401 - after the choice, and for others to import
