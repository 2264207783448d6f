"""The five cameras' pictures of a state of the scene, as JPEG.

The camera process sends them on the wire, headless generation writes them to episodes.
Deliberately no schedule and no sockets. GL belongs to the thread that makes one.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_sim import mjcf_lab
from vla_sim import scene as sc
from vla_sim.engine import mujoco
from vla_sim.renderer import LabRenderer, Picture
from vla_sim.shared import COLUMNS

JPEG_QUALITY = 75


class SceneCameras:
    """Renders one scene; single-threaded."""

    def __init__(self, scene: sc.Scene, width: int, height: int) -> None:
        """Make the GL context; GraphicsError when that fails."""
        self._model = mjcf_lab.compile_model(width, height)
        self._data = mujoco.MjData(self._model)
        self._applier = mjcf_lab.SceneApplier(self._model)
        self._applier.apply(self._data, scene)
        self._renderer = LabRenderer(self._model, width, height)
        mujoco.mj_forward(self._model, self._data)
        for view in mjcf_lab.VIEWS:  # the first pictures take long: shaders, textures
            self._renderer.render(self._data, view)

    def pictures(self, state: NDArray[np.float64], index: int) -> dict[str, bytes]:
        """JPEG of each view of a state (WIDTH,), see `shared.COLUMNS`; `index` draws the noise."""
        data = self._data
        data.qpos[:] = state[COLUMNS.joint]
        self._applier.place_phantom(
            data, state[COLUMNS.phantom_position], state[COLUMNS.phantom_quat]
        )
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_camlight(self._model, data)
        return {
            view: encode_jpeg(self._renderer.render(data, view, index * len(mjcf_lab.VIEWS) + i))
            for i, view in enumerate(mjcf_lab.VIEWS)
        }

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()


def encode_jpeg(picture: Picture) -> bytes:
    """Baseline JPEG of picture (H, W, 3) RGB."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format='JPEG', quality=JPEG_QUALITY)
    return file.getvalue()
