"""The latest-value slot."""

import threading

from vla_core.latest import LatestSlot


def test_newest_value_wins_and_unused_ones_are_counted():
    slot = LatestSlot[int]()
    assert slot.get() is None
    assert slot.take() is None
    slot.put(1)
    slot.put(2)
    slot.put(3)
    assert slot.overwritten == 2
    assert slot.take() == 3
    assert slot.take() is None
    assert slot.overwritten == 2


def test_get_leaves_the_value_and_it_counts_as_used():
    slot = LatestSlot[str]()
    slot.put('a')
    assert slot.get() == slot.get() == 'a'
    slot.put('b')
    assert slot.overwritten == 0


def test_wait_gives_none_after_the_timeout_and_after_clear():
    slot = LatestSlot[int]()
    assert slot.wait(0.0) is None
    slot.put(1)
    slot.clear()
    assert slot.wait(0.0) is None
    assert slot.overwritten == 0


def test_wait_is_woken_by_a_put_from_another_thread():
    slot = LatestSlot[int]()
    got = []
    thread = threading.Thread(target=lambda: got.append(slot.wait(30.0)))
    thread.start()
    slot.put(7)
    thread.join(timeout=10)
    assert got == [7]


def test_no_value_is_lost_uncounted_between_threads():
    slot = LatestSlot[int]()
    taken = []
    done = threading.Event()

    def consume():
        while not done.is_set() or slot.get() is not None:
            value = slot.wait(0.01)
            if value is not None:
                taken.append(value)
            elif done.is_set():
                return

    thread = threading.Thread(target=consume)
    thread.start()
    for value in range(1, 2001):
        slot.put(value)
    done.set()
    thread.join(timeout=20)
    assert taken == sorted(set(taken))
    assert taken[-1] == 2000 or slot.overwritten
