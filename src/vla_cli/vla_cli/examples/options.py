"""What headless generation can be told about one episode, by `vla sim --record --headless`."""

from dataclasses import dataclass

INSERT = 'insert the needle into the trocar'
RETRACT = 'retract the needle'
STILL = 'hold still'
TASKS = {'insert': INSERT, 'retract': RETRACT, 'still': STILL}
LIMIT_S = {'insert': 60.0, 'retract': 40.0, 'still': 10.0}


@dataclass(frozen=True)
class EpisodeOptions:
    """One episode: everything follows from these values."""

    seed: int = 0
    task: str = 'insert'  # of TASKS
    noise: bool = False  # push the tool off its way now and then
    width: int = 640
    height: int = 360
    camera_rate: float = 5.0  # triggers a second
    seconds: float | None = None  # end after this; None: LIMIT_S
    eye: str = 'still'  # or moving, see vla_sim.eye_motion
    linger: float = 0.0  # s; an insertion goes on so long after it has succeeded

    @property
    def limit_s(self) -> float:
        """Longest length, s."""
        return self.seconds if self.seconds is not None else LIMIT_S[self.task]
