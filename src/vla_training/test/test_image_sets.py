"""Image sets of a recording: complete, new, and dated when they were known."""

from conftest import grey, stamp_of
import numpy as np

from vla_data.bag_reader import open_bag
from vla_data.samples import SampleReader
from vla_data.synthetic import START_NS
from vla_training.cache.image_sets import image_sets, WAIT_NS

MS = 10**6


def sets(path, contract):
    with open_bag(path) as bag:
        return list(image_sets(bag, contract))


def test_each_camera_period_gives_one_set_of_new_pictures(episode, contract):
    path = episode(seconds=4.0)
    found = sets(path, contract)
    assert len(found) == 20
    for number, images in enumerate(found):
        assert {picture.stamp_ns for picture in images.pictures} == {START_NS + number * 200 * MS}
        assert images.known_ns == START_NS + number * 200 * MS + 40 * MS
        assert images.stale_views == 0
        assert images.task == 'insert the needle'


def test_the_newest_set_known_at_a_tick_is_what_the_sample_holds(episode, contract):
    path = episode(seconds=3.0)
    found = sets(path, contract)
    for sample in SampleReader(path, contract):
        known = [images for images in found if images.known_ns <= sample.tick_ns][-1]
        assert [picture.jpeg for picture in known.pictures] == [
            sample.views[view].jpeg for view in contract.view_names
        ]


def test_a_frozen_view_is_waited_for_and_then_left_stale(episode, contract):
    frozen = contract.views[1].topic

    def freeze(topic, message, store):
        if topic == f'/{frozen}' and stamp_of(message) > START_NS + 10**9:
            message.data = np.frombuffer(grey(77), np.uint8)

    found = sets(episode(seconds=4.0, change=freeze), contract)
    late = [images for images in found if images.known_ns > START_NS + 2 * 10**9]
    assert late and all(images.stale_views == 1 for images in late)
    for images in late:
        newest = max(picture.stamp_ns for picture in images.pictures)
        assert images.known_ns <= newest + 40 * MS + WAIT_NS
        assert images.known_ns >= newest + 40 * MS
        # The frozen picture keeps the time of its content.
        assert images.pictures[1].stamp_ns <= START_NS + 1200 * MS
