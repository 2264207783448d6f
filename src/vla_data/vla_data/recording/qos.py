"""Quality of service as an episode keeps it: plain values, in rosbag2's spelling.

Used by the manifest, the writer and the replay; the recorder node turns them into rclpy's. It
deliberately knows only the four settings this suite uses; the others have their ROS defaults.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import yaml

# rosbag2's spelling of "no limit": INT64_MAX nanoseconds.
_INFINITE = {'sec': 9223372036, 'nsec': 854775807}


@dataclass(frozen=True)
class Qos:
    """The profile of one topic."""

    depth: int = 10
    reliability: Literal['reliable', 'best_effort'] = 'reliable'
    durability: Literal['volatile', 'transient_local'] = 'volatile'
    history: Literal['keep_last', 'keep_all'] = 'keep_last'

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 100_000:
            raise ValueError(f'depth must be from 1 to 100000, not {self.depth}')

    @property
    def latched(self) -> bool:
        """Whether a subscriber that comes later still gets the last message."""
        return self.durability == 'transient_local'

    def to_rosbag2(self) -> dict[str, Any]:
        """Return the map of metadata.yaml (version 9) and of QoS override files."""
        return {
            'history': self.history,
            'depth': self.depth,
            'reliability': self.reliability,
            'durability': self.durability,
            'deadline': dict(_INFINITE),
            'lifespan': dict(_INFINITE),
            'liveliness': 'automatic',
            'liveliness_lease_duration': dict(_INFINITE),
            'avoid_ros_namespace_conventions': False,
        }


def profiles_text(profiles: Iterable[Qos]) -> str:
    """Return the `offered_qos_profiles` text of an MCAP channel."""
    return yaml.safe_dump([qos.to_rosbag2() for qos in profiles], sort_keys=False).strip()


_RMW_NUMBERS = {
    'history': {1: 'keep_last', 2: 'keep_all'},
    'reliability': {1: 'reliable', 2: 'best_effort'},
    'durability': {1: 'transient_local', 2: 'volatile'},
}  # rmw/types.h; bags before version 9 hold numbers


def qos_from_rosbag2(profile: dict[str, Any]) -> Qos:
    """Read one profile of any rosbag2 version; what is unknown becomes the default."""
    known = {}
    for key, numbers in _RMW_NUMBERS.items():
        value = profile.get(key)
        value = numbers.get(value) if isinstance(value, int) else str(value).lower()
        if value in numbers.values():
            known[key] = value
    depth = profile.get('depth')
    if isinstance(depth, int) and 1 <= depth <= 100_000:
        known['depth'] = depth
    return Qos(**known)


def qos_from_profiles(profiles: list | str | None) -> Qos:
    """Return the profile that serves the offered ones of a topic: the first, latched if any is."""
    if isinstance(profiles, str):
        try:
            profiles = yaml.safe_load(profiles)
        except yaml.YAMLError:
            profiles = None
    found = [qos_from_rosbag2(item) for item in profiles or [] if isinstance(item, dict)]
    if not found:
        return Qos()
    return next((qos for qos in found if qos.latched), found[0])
