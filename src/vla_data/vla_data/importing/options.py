"""What the user may state about a legacy recording that the files themselves do not say.

Made by `vla import` from its options, read by the readers of the layouts. Every default is the
cautious one: where a statement is needed and missing, the reader refuses and names the option.
"""

from dataclasses import dataclass, field
from typing import Literal

from vla_core.errors import did_you_mean, VlaError

SOURCES = ('robot', 'sensor', 'cameras')
CLOCKS = ('trusted', 'estimated', 'receive')
ClockKind = Literal['trusted', 'estimated', 'receive']


@dataclass(frozen=True)
class ImportOptions:
    """Statements of the user about one or more recordings.

    clocks: per source, how its capture stamps become the receiver's time: 'trusted' (as they are),
    'estimated' (offset and drift from the least receive - send delay) or 'receive' (the time of
    arrival). Only sources whose files hold send and receive times can be estimated. Without an
    entry stamps are trusted and the measured offset is reported; beyond 100 ms an entry is needed.
    offsets_s: per source, seconds added to its stamps, for clocks measured some other way.
    """

    task: str = ''
    operator: str = ''
    notes: str = ''
    clocks: dict[str, str] = field(default_factory=dict)
    offsets_s: dict[str, float] = field(default_factory=dict)
    rebuild_hz: float | None = None  # frame rate to rebuild float32 times of frames from the index
    sensor_hz: float | None = None  # sample rate to rebuild float32 sensor times from the index
    views: dict[str, str] = field(default_factory=dict)  # legacy camera name -> view of ours
    force_scale: float = 1.0  # N per unit of the file: the sender states no unit
    force_offset: float = 0.0  # N
    profile_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, words in (('clock', self.clocks), ('offset', self.offsets_s)):
            for source in words:
                _known(f'--{name}', source, SOURCES)
        for kind in self.clocks.values():
            _known('--clock', kind, CLOCKS)
        for option, value in (
            ('--rebuild-times', self.rebuild_hz),
            ('--sensor-rate', self.sensor_hz),
        ):
            if value is not None and not 0 < value < 1e5:
                raise VlaError(f'{option} {value}: expected a rate in Hz above 0')


def _known(option: str, word: str, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        hint = did_you_mean(word, allowed)
        raise VlaError(f'{option} {word}: expected one of {", ".join(allowed)}{hint}')
