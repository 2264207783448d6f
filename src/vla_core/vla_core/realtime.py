"""What a Python process can do to keep a 10 Hz grid on a busy machine.

Called by the nodes when they become active. Everything here degrades without an error: an
unprivileged process just gets less, and the caller can show what it got. Deliberately touches only
this process.
"""

import gc
import os
import threading

from vla_core.timebase import NS

# A young collection after freeze takes well under a millisecond, a full one a few: only with this
# much time left.
YOUNG_NEEDS_NS = 20 * NS // 1000
FULL_NEEDS_NS = 50 * NS // 1000
FULL_EVERY = 100  # idle phases: 10 s at 10 Hz


class IdleCollector:
    """Garbage collection in the idle phase of a loop. Used by the loop's thread.

    `start` freezes what is loaded (a full collection over torch's objects takes 100 ms), `stop`
    gives the process its automatic collection back.
    """

    def __init__(self) -> None:
        self._idles = 0

    def start(self) -> None:
        """Collect once, set all that is alive aside, and switch automatic collection off."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def __call__(self, remaining_ns: int) -> None:
        """Collect if `remaining_ns` before the next deadline are enough for it."""
        self._idles += 1
        if self._idles % FULL_EVERY == 0 and remaining_ns > FULL_NEEDS_NS:
            gc.collect()
        elif self._idles % 10 == 0 and remaining_ns > YOUNG_NEEDS_NS:
            gc.collect(1)

    def stop(self) -> None:
        """Give the process its automatic collection back."""
        gc.enable()


def prefer_this_thread(realtime_priority: int, nice: int = 0) -> str:
    """Give the calling thread SCHED_FIFO (priority 1..99, 0 = do not ask) or else a niceness;
    return what it got.
    """
    if realtime_priority > 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(realtime_priority))
            return f'SCHED_FIFO {realtime_priority}'
        except OSError as error:
            refused = f' (SCHED_FIFO {realtime_priority} refused: {error.strerror})'
    else:
        refused = ''
    return be_nice(nice) + refused


def be_nice(nice: int) -> str:
    """Set the calling thread's niceness (-20..19, 0 = leave); on Linux it is inherited by threads
    it starts.
    """
    if nice:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        except OSError as error:
            return f'normal (niceness {nice} refused: {error.strerror})'
        return f'niceness {nice}'
    return 'normal'
