"""How an eye gives way to a needle that leans on the wall of its trocar.

`Lab` asks after every physics step. An eye hangs in soft tissue: it goes with an instrument inside
it, and the trocar feels the force of what was left behind. Deliberately without inertia or memory,
and in plain floats: the tissue around an eye damps it well below the time of a control step.

Stiffness: 0.45 gf a degree of the resting orbit, 0.3 more with muscles that fixate (fig. 9 of
PubMed Central 1785298; 0.5 gf measured by Simonsz, Vision Research 24, 1984), at the eye's radius.
"""

import math

from vla_sim import scene as sc
from vla_sim.tissue import BORE_RADIUS_M

_GF_N = 0.00980665
EYE_N_M = 0.75 * _GF_N / (math.radians(1.0) * sc.EYE_RADIUS_M)  # 34 N/m
CANNULA_M = sc.TROCAR_HUB_M + 0.0045  # from the opening to its lower end


def giving_way(
    tip_m: tuple[float, float, float], along: tuple[float, float, float]
) -> tuple[float, float]:
    """How far (x, y) m the eye goes with a needle inside; (0, 0) while it is free in the bore.

    Tip and direction (unit) in the frame of the trocar as it is without the needle.
    """
    x, y, depth = tip_m
    lean_x, lean_y = (along[0] / along[2], along[1] / along[2]) if along[2] > 0.1 else (0.0, 0.0)
    inner = max(depth - CANNULA_M, 0.0)  # of the needle, beyond the cannula's end
    end_x, end_y = _beyond_the_wall(x - lean_x * inner, y - lean_y * inner)
    top_x, top_y = _beyond_the_wall(x - lean_x * depth - end_x, y - lean_y * depth - end_y)
    return end_x + top_x, end_y + top_y


def _beyond_the_wall(x: float, y: float) -> tuple[float, float]:
    radial = math.hypot(x, y)
    if radial <= BORE_RADIUS_M:
        return 0.0, 0.0
    share = 1.0 - BORE_RADIUS_M / radial
    return share * x, share * y
