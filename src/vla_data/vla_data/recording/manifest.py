"""Which topics an episode holds: the manifest, launch/config/recorder/manifest.yaml.

Read by the recorder node, by `vla replay` and by the tests that compare it with the contract and
with the files for `ros2 bag` beside it. It deliberately knows no namespace: names are relative
unless they begin with '/'.
"""

from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import yaml

from vla_core.config import from_dict, load_yaml
from vla_core.errors import VlaError
from vla_data.recording.loss import Account
from vla_data.recording.qos import Qos

Group = Literal['observation', 'policy', 'command', 'status']


@dataclass(frozen=True)
class Topic:
    """One topic. `account` says how its losses are told, see recording/loss.py."""

    name: str
    type: str
    group: Group
    account: Account = 'none'
    qos: Qos = Qos()

    def __post_init__(self) -> None:
        if self.type.count('/') != 2 or '/msg/' not in self.type:
            raise ValueError(f'{self.name}: the type is package/msg/Name, not {self.type!r}')

    def resolved(self, namespace: str) -> str:
        """Return the absolute name in a namespace ('' or '/': none)."""
        if self.name.startswith('/'):
            return self.name
        prefix = namespace.strip('/')
        return f'/{prefix}/{self.name}' if prefix else f'/{self.name}'


@dataclass(frozen=True)
class Manifest:
    """All topics of an episode."""

    topics: tuple[Topic, ...]

    def __post_init__(self) -> None:
        names = [topic.name for topic in self.topics]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f'the topic {double[0]} is given twice')

    def resolved(self, namespace: str = '') -> dict[str, Topic]:
        """Return the topics by their absolute names."""
        return {topic.resolved(namespace): topic for topic in self.topics}


def load_manifest(path: str | PathLike[str]) -> Manifest:
    """Read a manifest; every mistake is a ConfigError that names file and key."""
    manifest = from_dict(Manifest, load_yaml(path), str(path))
    if not manifest.topics:
        raise VlaError(f'{path}: no topics: an episode without them would be empty')
    return manifest


def qos_overrides(manifest: Manifest, namespace: str = '') -> dict[str, dict[str, Any]]:
    """Return what `ros2 bag record/play --qos-profile-overrides-path` reads."""
    return {
        name: {
            'history': topic.qos.history,
            'depth': topic.qos.depth,
            'reliability': topic.qos.reliability,
            'durability': topic.qos.durability,
        }
        for name, topic in manifest.resolved(namespace).items()
    }


def topic_list(manifest: Manifest, namespace: str = '') -> str:
    """Return the topics on one line, for `ros2 bag record --topics $(cat FILE)`."""
    return ' '.join(manifest.resolved(namespace)) + '\n'


def overrides_text(manifest: Manifest, namespace: str = '') -> str:
    """Return the text of the override file."""
    head = '# Made from manifest.yaml by `vla_data.recording.manifest`; a test compares the two.\n'
    return head + yaml.safe_dump(qos_overrides(manifest, namespace), sort_keys=False)
