"""Whether an episode is being recorded, finished or was recovered, as its custom data say it.

Used by the writer, the recovery and the catalog. Kept beside the episode's info in the same map.
"""

from collections.abc import Mapping

from vla_data.episode import EpisodeInfo

STATE_KEY = 'vla.state'
RECORDING = 'recording'  # written at the start; found later, it means: the writer was killed
FINISHED = 'finished'
RECOVERED = 'recovered'


def with_state(info: EpisodeInfo, state: str) -> dict[str, str]:
    """Return the custom data of an episode in this state."""
    return {**info.to_strings(), STATE_KEY: state}


def state_of(custom: Mapping[str, str]) -> str:
    """Return the state; '' for a bag that this suite did not write."""
    return custom.get(STATE_KEY, '')
