"""What is known about an episode as a whole, and how it travels inside the bag.

Written by the recorder, the importer and headless generation, read by everything that opens an
episode. The same flat map of strings goes into `custom_data` of metadata.yaml and into an MCAP
metadata record named RECORD, so that either survives alone. Deliberately touches no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
import json
from typing import Any

import yaml

from vla_core.config import from_dict
from vla_core.contract import Contract
from vla_core.errors import VlaError

RECORD = 'vla_episode'  # name of the MCAP metadata record
PREFIX = 'vla.'  # of the keys, so that other tools' custom data stays apart
FORMAT = '1'
OUTCOMES = ('', 'success', 'failure', 'aborted', 'discarded')  # '': not judged


@dataclass(frozen=True)
class EpisodeInfo:
    """Everything about one episode that is not a message. Times are Unix ns, 0 = unknown.

    Unknown text is '', unknown maps are empty: a bag of `ros2 bag record` has no info at all.
    """

    task: str = ''
    operator: str = ''
    notes: str = ''
    outcome: str = ''  # one of OUTCOMES
    ended_because: str = ''  # why the recording ended, when nobody asked it to: disk full, ...
    tags: tuple[str, ...] = ()
    started_ns: int = 0
    ended_ns: int = 0
    contract_yaml: str = ''
    contract_hash: str = ''
    software_version: str = ''
    source: str = ''  # 'live', 'headless', 'import collector', ...
    calibration: dict[str, Any] = field(default_factory=dict)
    # Per topic: counts by kind, such as received, written, lost_sequence, lost_source.
    loss: dict[str, dict[str, int]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # the importer's report and the like

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            allowed = ', '.join(repr(outcome) for outcome in OUTCOMES)
            raise VlaError(f'outcome {self.outcome!r}: expected one of {allowed}')

    def to_strings(self) -> dict[str, str]:
        """Return the flat map for metadata.yaml and MCAP; unknown fields are left out."""
        flat = {f'{PREFIX}format': FORMAT}
        for item in fields(self):
            value = getattr(self, item.name)
            if not value:
                continue
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            flat[PREFIX + item.name] = text
        return flat

    def contract(self) -> Contract | None:
        """Return the contract the episode was recorded under; None when it has none.

        ConfigError names the key when the text is not a contract.
        """
        if not self.contract_yaml:
            return None
        try:
            data = yaml.safe_load(self.contract_yaml)
        except yaml.YAMLError as error:
            text = ' '.join(str(error).split())
            raise VlaError(f'the contract in the episode is not YAML: {text}') from error
        return from_dict(Contract, data, 'contract in the episode')


def info_from_strings(flat: Mapping[str, str] | None) -> EpisodeInfo:
    """Read back `EpisodeInfo.to_strings`; keys of other tools are ignored, so are unknown ones of
    ours (a newer version's). VlaError names a key that holds what it must not.
    """
    values: dict[str, Any] = {}
    for item in fields(EpisodeInfo):
        text = (flat or {}).get(PREFIX + item.name)
        if text is None:
            continue
        values[item.name] = _value(item.name, text)
    return EpisodeInfo(**values)


def has_info(flat: Mapping[str, str] | None) -> bool:
    """Say whether the map holds an episode's info."""
    return bool(flat) and f'{PREFIX}format' in flat


_TEXTS = {
    item.name for item in fields(EpisodeInfo) if item.type is str or item.type == 'str'
}  # kept as they are; the others are JSON


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        raise VlaError(f'{PREFIX}{name} is not JSON: {error}') from error
    wanted = list if name == 'tags' else (int if name.endswith('_ns') else dict)
    if not isinstance(value, wanted):
        raise VlaError(f'{PREFIX}{name}: expected {wanted.__name__}, got {text[:40]!r}')
    return tuple(str(tag) for tag in value) if name == 'tags' else value
