"""Times on the wire: f64 Unix seconds, here turned into integer nanoseconds and back.

Called by the codecs of this subpackage. A f64 resolves 0.24 us at today's Unix times, so decoded
times are rounded to the microsecond: encoding and decoding a whole microsecond gives it back
exactly.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import WireFormatError
from vla_core.timebase import NS

# A time outside 2000-01-01 .. 2100-01-01 is not a clock that is off, it is garbage.
EARLIEST_S = 946_684_800
LATEST_S = 4_102_444_800


def encode_time(stamp_ns: int) -> float:
    """Integer ns to f64 Unix s; 'bad_time' outside the years 2000 to 2100."""
    return _checked(stamp_ns / NS)


def decode_time(unix_s: float) -> int:
    """F64 Unix s to integer ns, rounded to the microsecond; 'bad_time' if not finite or absurd."""
    whole = math.floor(_checked(unix_s))
    return whole * NS + round((unix_s - whole) * 1e6) * 1000


def encode_times(stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """`encode_time` for an array (N,)."""
    whole, rest = np.divmod(np.asarray(stamps_ns, np.int64), NS)
    # Not stamps / NS: numpy would first round the nanoseconds themselves to f64, which is 256 ns
    # coarse.
    seconds: NDArray[np.float64] = whole + rest / NS
    return _all_checked(seconds)


def decode_times(unix_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """`decode_time` for an array (N,)."""
    whole = np.floor(_all_checked(unix_s))
    micros = np.rint((unix_s - whole) * 1e6)
    result: NDArray[np.int64] = whole.astype(np.int64) * NS + micros.astype(np.int64) * 1000
    return result


def _checked(unix_s: float) -> float:
    if not EARLIEST_S <= unix_s < LATEST_S:  # also false for NaN
        raise WireFormatError('bad_time', f'time {unix_s!r} s is not a Unix time of 2000..2100')
    return unix_s


def _all_checked(unix_s: NDArray[np.float64]) -> NDArray[np.float64]:
    good = (unix_s >= EARLIEST_S) & (unix_s < LATEST_S)
    if not good.all():
        _checked(float(unix_s[~good][0]))
    return unix_s
