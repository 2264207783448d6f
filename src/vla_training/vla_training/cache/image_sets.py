"""The image sets of an episode: which pictures a vision-language pass could have run on, and when.

Used by the cache and by the training data. A set is closed as the live image inbox closes one: as
soon as every view has brought a new picture, or when the others have been waited for. New is what
has new content: a camera that repeats a frame brings nothing. Deliberately decodes no picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from vla_core.contract import Contract
from vla_core.freshness import ContentTracker
from vla_core.timebase import NS
from vla_data.bag_reader import Bag
from vla_data.samples import cdr
from vla_data.samples.feed import SHORT_CUTS
from vla_data.samples.topics import find_topics, InputTopics, stamp_ns

WAIT_NS = 3 * NS // 10  # for missing views, as the live image inbox does


@dataclass(frozen=True)
class Picture:
    """One picture: the JPEG as recorded, and when its content was acquired (Unix ns)."""

    stamp_ns: int
    jpeg: bytes


@dataclass(frozen=True)
class ImageSet:
    """One picture a view, in model order. `known_ns`: log time when the receiver had them all."""

    known_ns: int
    task: str
    pictures: tuple[Picture, ...]
    stale_views: int = 0  # views that brought nothing new


@dataclass
class _Slot:
    tracker: ContentTracker = field(default_factory=ContentTracker)
    picture: Picture | None = None
    unused: bool = False


def image_sets(
    bag: Bag, contract: Contract, topics: InputTopics | None = None
) -> Iterator[ImageSet]:
    """Yield the image sets of a bag in order of time. One of a view that never comes: none.

    BagError where the bag cannot be read or does not fit the contract.
    """
    topics = topics or find_topics(bag, contract)
    names = {topic: kind for topic, kind in topics.kinds.items() if kind in contract.view_names}
    if len(names) < len(contract.views):
        return
    slots = {view: _Slot() for view in contract.view_names}
    first_ns: int | None = None  # of the first new picture that is in no set yet
    last_ns = 0  # of the last one
    for topic, log_ns, data in bag.raw(names):
        if first_ns is not None and log_ns > first_ns + WAIT_NS:
            if all(slot.picture for slot in slots.values()):
                yield _close(slots, max(first_ns + WAIT_NS, last_ns), bag, topics)
                first_ns = None
        slot = slots[names[topic]]
        acquired_ns, jpeg = _image(bag, topic, data)
        if not jpeg or not slot.tracker.observe(acquired_ns, hash(jpeg)):
            continue
        slot.picture, slot.unused = Picture(acquired_ns, jpeg), True
        first_ns, last_ns = log_ns if first_ns is None else first_ns, log_ns
        if all(slot.unused for slot in slots.values()):
            yield _close(slots, log_ns, bag, topics)
            first_ns = None


def task_at(bag: Bag, topics: InputTopics, time_ns: int) -> str:
    """Instruction in force at a log time."""
    known = [text for log_ns, text in topics.tasks if log_ns <= time_ns]
    return known[-1] if known else bag.info.task


def _close(
    slots: dict[str, _Slot], known_ns: int, bag: Bag, topics: InputTopics
) -> ImageSet:  # fmt: skip
    stale = sum(not slot.unused for slot in slots.values())
    pictures = tuple(slot.picture for slot in slots.values() if slot.picture is not None)
    for slot in slots.values():
        slot.unused = False
    return ImageSet(known_ns, task_at(bag, topics, known_ns), pictures, stale)


def _image(bag: Bag, topic: str, data: bytes) -> tuple[int, bytes]:
    if bag.topics[topic].type in SHORT_CUTS:
        found = cdr.compressed_image(data)
        if found is not None:
            return found
    message = bag.decode(topic, data)
    return stamp_ns(message), message.data.tobytes()
