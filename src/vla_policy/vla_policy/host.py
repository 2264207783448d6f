"""Settings of the process that runs the models on a CPU.

Called once by the main function of a process (the VLM node, the benchmark), never by a library:
they hold for the whole process. Deliberately not needed for correctness.
"""

import ctypes
import sys

KEPT_BYTES = 32 * 1024 * 1024  # glibc's own upper bound for its self-adjusting thresholds
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks of up to 32 MB instead of returning them to the kernel.

    A pass frees and takes the same megabytes hundreds of times; the page faults were 13 % of its
    CPU time (nano, one core: 75 to 65 ms) for 14 MB more memory. False where the C library is not
    glibc.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return all(mallopt(option, KEPT_BYTES) for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
