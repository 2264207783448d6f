"""The message types of an episode for `rosbags`: Jazzy's, the suite's, and those inside the bag.

Called by the reader, the writers, the importer and headless generation. A definition that a bag
brings wins over ours, so that an old bag stays readable after a message has grown. Deliberately
needs no ROS: the suite's definitions are read from the `.msg` files of vla_msgs.
"""

from collections.abc import Iterable
import os
from pathlib import Path
from typing import Any

from rosbags.typesys import get_types_from_msg, get_typestore, Stores

from vla_core.errors import VlaError

PACKAGE = 'vla_msgs'


def make_typestore(definitions: Iterable[tuple[str, str]] = (), suite: bool = True) -> Any:
    """Return a rosbags typestore (Jazzy) with `definitions` and the suite's messages.

    definitions: (type name, text of the .msg file with its dependencies), as a bag's schemas hold
    them. The first definition of a type wins. VlaError when one cannot be parsed.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in definitions:
        _register(store, name, text)
    if suite:
        for name, text in suite_definitions().items():
            _register(store, name, text)
    return store


def suite_definitions() -> dict[str, str]:
    """Type name -> text of every message of vla_msgs, without the text of what they include."""
    folder = messages_folder()
    paths = sorted(folder.glob('*.msg'))
    return {f'{PACKAGE}/msg/{path.stem}': path.read_text() for path in paths}


def messages_folder() -> Path:
    """Where the `.msg` files of vla_msgs are: an installed prefix, or the checkout."""
    prefixes = [part for part in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if part]
    checkout = Path(__file__).resolve().parents[2] / PACKAGE / 'msg'
    for folder in (*(Path(part, 'share', PACKAGE, 'msg') for part in prefixes), checkout):
        if folder.is_dir() and any(folder.glob('*.msg')):
            return folder
    raise VlaError(f'the message definitions of {PACKAGE} are not installed: build the workspace')


def _register(store: Any, name: str, text: str) -> None:
    try:
        types = get_types_from_msg(text, name)
    except Exception as error:  # noqa: BLE001 - the parser raises whatever its grammar raises
        raise VlaError(f'the definition of {name} cannot be read: {_one_line(error)}') from error
    store.register({key: value for key, value in types.items() if key not in store.fielddefs})


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split())[:160]
