"""Choice of the offscreen GL backend: EGL first, OSMesa where EGL has no driver.

`engine` calls `prepare` before it imports MuJoCo, because MuJoCo picks its backend on import.
`MUJOCO_GL`, where set, is obeyed. Deliberately makes no rendering context: that is the renderer's.
"""

import ctypes
import ctypes.util
import os

from vla_core.errors import VlaError

INSTALL_HINT = 'sudo apt-get install libegl1 libgl1 libgl1-mesa-dri (or libosmesa6)'
NO_GRAPHICS = 'disable'  # MuJoCo's word for: load no GL at all
OFFSCREEN = ('egl', 'osmesa')
# What the user asked for; survives into the child processes once MUJOCO_GL says disable.
_ASKED = 'VLA_SIM_REFUSED_GL'
_EGL_PLATFORM_DEVICE = 0x313F
_MAX_DEVICES = 16


class GraphicsError(VlaError):
    """No way to render offscreen on this machine."""


def prepare() -> None:
    """Choose a backend before MuJoCo is imported; without one physics works, `require` raises."""
    # llvmpipe's worker threads would compete with everything else on a small machine.
    os.environ.setdefault('LP_NUM_THREADS', '0')
    asked = os.environ.get('MUJOCO_GL', '').strip().lower()
    backend = asked or _probe() or NO_GRAPHICS
    if asked and asked not in OFFSCREEN:
        # MuJoCo would refuse an unknown word with a traceback; physics needs no backend at all.
        os.environ.setdefault(_ASKED, asked)
        backend = NO_GRAPHICS
    os.environ['MUJOCO_GL'] = backend
    if backend in OFFSCREEN:
        os.environ.setdefault('PYOPENGL_PLATFORM', backend)


def require() -> None:
    """Raise GraphicsError, with the packages to install, unless an offscreen backend was found."""
    asked = os.environ.get(_ASKED, '')
    if asked not in ('', NO_GRAPHICS):
        raise GraphicsError(
            f'MUJOCO_GL={asked!r} cannot render with GL offscreen: use egl or osmesa, or unset it'
        )
    if os.environ.get('MUJOCO_GL', NO_GRAPHICS) == NO_GRAPHICS:
        raise GraphicsError(f'no GL library for offscreen rendering: {INSTALL_HINT}')


def _probe() -> str | None:
    if egl_works():
        return 'egl'
    return 'osmesa' if ctypes.util.find_library('OSMesa') else None


def egl_works() -> bool:
    """Say whether EGL is installed and has a device that initialises."""
    name = ctypes.util.find_library('EGL')
    if name is None or ctypes.util.find_library('GL') is None:
        return False
    try:
        egl = ctypes.CDLL(name)
        query, display_of = _extensions(egl)
    except (OSError, AttributeError):
        return False
    if not query or not display_of:
        return False
    devices, count = (ctypes.c_void_p * _MAX_DEVICES)(), ctypes.c_int(0)
    if not query(_MAX_DEVICES, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [ctypes.c_void_p] * 3
    return any(_initialises(egl, display_of, devices[i]) for i in range(count.value))


def _extensions(egl: ctypes.CDLL) -> tuple:
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    query = egl.eglGetProcAddress(b'eglQueryDevicesEXT')
    display = egl.eglGetProcAddress(b'eglGetPlatformDisplayEXT')
    if not query or not display:
        return None, None
    pointer = ctypes.c_void_p
    return (
        ctypes.CFUNCTYPE(
            ctypes.c_uint, ctypes.c_int, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int)
        )(query),
        ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(display),
    )


def _initialises(egl: ctypes.CDLL, display_of, device: int | None) -> bool:
    display = display_of(_EGL_PLATFORM_DEVICE, device, None)
    if not display or not egl.eglInitialize(display, None, None):
        return False
    egl.eglTerminate.argtypes = [ctypes.c_void_p]
    egl.eglTerminate(display)
    return True
