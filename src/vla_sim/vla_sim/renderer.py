"""Offscreen pictures of the lab from its five cameras.

`Lab` and the camera stream own one each. GL contexts belong to a thread: make, use and close a
renderer in the same thread.
"""

import weakref

import numpy as np
from numpy.typing import NDArray

from vla_sim import gl
from vla_sim.engine import mujoco
from vla_sim.mjcf_lab import VIEWS

Picture = NDArray[np.uint8]

NOISE_LEVELS = 5  # the sensor noise of a camera, in grey levels, peak to peak
_NOISE_ROWS = 64


class LabRenderer:
    """Renders views of one model; single-threaded."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """Make the GL context; GraphicsError if the driver refuses."""
        gl.require()
        try:
            self._renderer = mujoco.Renderer(model, height, width, max_geom=400)
        except (RuntimeError, ImportError, AttributeError, mujoco.FatalError) as error:
            text = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            raise gl.GraphicsError(
                f'offscreen rendering failed ({text}): {gl.INSTALL_HINT}'
            ) from error
        # Also at exit, while GL can still be called: MuJoCo's own clean-up is too late for OSMesa.
        self._finalizer = weakref.finalize(self, self._renderer.close)
        rng = np.random.default_rng(0xCA)
        self._noise = rng.integers(
            0, NOISE_LEVELS, (height + _NOISE_ROWS, width, 3), dtype=np.uint8
        )
        self._picture = np.empty((height, width, 3), dtype=np.uint8)

    def render(self, data: mujoco.MjData, view: str, noise: int | None = None) -> Picture:
        """Picture (H, W, 3) uint8 RGB of a view ('view1' .. 'view5'), valid until the next call.

        noise: running number of the picture; it chooses the camera noise, so that no two pictures
        of a still scene are equal, as with a real camera. None: no noise.
        """
        if view not in VIEWS:
            raise ValueError(f'{view} is not one of {", ".join(VIEWS)}')
        self._renderer.update_scene(data, view)
        self._renderer.render(out=self._picture)
        if noise is not None:
            first = noise * 29 % _NOISE_ROWS
            np.minimum(self._picture, 255 - NOISE_LEVELS, out=self._picture)
            self._picture += self._noise[first : first + len(self._picture)]
        return self._picture

    def close(self) -> None:
        """Free the GL context."""
        self._finalizer()
