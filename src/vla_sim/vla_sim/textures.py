"""Procedural textures of the lab, as PNG files in memory for the MJCF compiler.

`mjcf_lab` names them. Seeded with constants: the pictures are the same in every process, and a
scene's seed only chooses among them.
"""

from collections.abc import Callable
from functools import cache
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]


@cache
def all_textures() -> dict[str, bytes]:
    """File name -> PNG bytes of every texture."""
    makers: dict[str, Callable[[], Picture]] = {
        'breadboard.png': breadboard,
        'wood.png': wood,
        'drape.png': drape,
        'laminate.png': laminate,
        'wall.png': wall,
        'skin.png': skin,
    }
    return {name: _png(maker()) for name, maker in makers.items()}


def breadboard(size: int = 128) -> Picture:
    """One 25 mm cell of an anodised optical table with its threaded hole: (size, size, 3)."""
    y, x = _grid(size)
    radius = np.hypot(x - 0.5, y - 0.5)
    picture = np.full((size, size, 3), (74.0, 78.0, 84.0)) + _noise(size, 1, 5.0, 3)[..., None]
    picture[radius < 0.14] = (22, 23, 25)
    picture[(radius >= 0.14) & (radius < 0.18)] = (128, 132, 138)
    return _bytes(picture)


def wood(size: int = 256) -> Picture:
    """Bench top of beech: (size, size, 3)."""
    y, x = _grid(size)
    bend = 0.03 * np.sin(2 * np.pi * x) + 0.02 * np.sin(4 * np.pi * x + 1.0)
    grain = np.sin(2 * np.pi * (14 * (y + bend))) + 0.5 * np.sin(
        2 * np.pi * (37 * (y + 1.5 * bend))
    )
    shade = 1.0 + 0.06 * grain + _noise(size, 2, 0.03, 2)
    return _bytes(np.array([186.0, 146.0, 104.0]) * shade[..., None])


def drape(size: int = 256) -> Picture:
    """Surgical drape, green-blue with soft folds: (size, size, 3)."""
    y, x = _grid(size)
    folds = np.sin(2 * np.pi * (2 * x + 0.3 * np.sin(2 * np.pi * y))) * np.cos(2 * np.pi * y)
    shade = 1.0 + 0.12 * folds + _noise(size, 3, 0.04, 1)
    return _bytes(np.array([62.0, 128.0, 132.0]) * shade[..., None])


def laminate(size: int = 256) -> Picture:
    """Light speckled laminate: (size, size, 3)."""
    rng = np.random.default_rng(4)
    picture = np.full((size, size, 3), (206.0, 204.0, 198.0)) + _noise(size, 5, 6.0, 4)[..., None]
    picture[rng.random((size, size)) < 0.02] -= 60
    return _bytes(picture)


def wall(size: int = 512) -> Picture:
    """Blurred lab wall: shelves, a window, posters: (size, size, 3)."""
    rng = np.random.default_rng(6)
    y, x = _grid(size)
    picture = np.array([196.0, 200.0, 204.0]) * (0.75 + 0.25 * y)[..., None]
    for _ in range(26):
        left, top = rng.uniform(0, 0.95), rng.uniform(0.05, 0.9)
        wide, high = rng.uniform(0.03, 0.16), rng.uniform(0.02, 0.12)
        inside = (x > left) & (x < left + wide) & (y > top) & (y < top + high)
        picture[inside] = rng.uniform(40, 230, 3)
    for level in (0.3, 0.55, 0.8):
        picture[np.abs(y - level) < 0.008] = (120, 104, 86)
    return _bytes(_blur(picture, 5))


def skin(size: int = 256) -> Picture:
    """Matt silicone pad with faint mottling, neutral so that a material's colour tints it."""
    shade = 236.0 + _noise(size, 7, 7.0, 6) + _noise(size, 8, 4.0, 1)
    return _bytes(np.repeat(shade[..., None], 3, axis=-1))


def _grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = (np.arange(size) + 0.5) / size
    y, x = np.meshgrid(axis, axis, indexing='ij')
    return y, x


def _noise(size: int, seed: int, amplitude: float, blur: int) -> NDArray[np.float64]:
    noise = _blur(np.random.default_rng(seed).standard_normal((size, size)), blur)
    return amplitude * noise / noise.std()


def _blur(picture: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    for _ in range(times):
        for axis in (0, 1):
            picture = (np.roll(picture, 1, axis) + 2 * picture + np.roll(picture, -1, axis)) / 4
    return picture


def _bytes(picture: NDArray[np.float64]) -> Picture:
    return np.clip(picture, 0, 255).astype(np.uint8)


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format='PNG')
    return file.getvalue()
