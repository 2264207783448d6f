"""The page of an episode: what happens when is drawn at the right place; nothing is needed."""

import base64
import re

import cv2
from made_bag import CONTRACT, NS, Scene, START_NS, VIEWS, write
import numpy as np
import pytest

from vla_data.bag_reader import open_bag
from vla_data.plot.collect import collect, MMode, THUMBNAILS, Track
from vla_data.plot.page import write_page


def without(begin_s, end_s):
    begin, end = START_NS + int(begin_s * NS), START_NS + int(end_s * NS)
    return lambda items: [(stamp, key) for stamp, key in items if not begin <= stamp < end]


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp('plot')
    path = write(folder / 'episode', Scene(edit={'sensor': without(1.0, 2.0)}))
    with open_bag(path) as bag:
        content = collect(bag, CONTRACT)
        png, html = write_page(bag, folder / 'out')
    return content, png, html


def test_png_is_one_page_that_holds_a_picture_of_every_view(page):
    content, png, _ = page
    image = cv2.imread(str(png))
    assert image.shape[1] == 1650 and 1200 < image.shape[0] < 2600
    assert image.std() > 20
    for view in VIEWS:
        assert len(content.thumbnails[view]) == THUMBNAILS and None not in content.thumbnails[view]


def test_html_needs_nothing_else_and_tells_the_check(page):
    _, png, html = page
    text = html.read_text()
    assert not re.search(r'(src|href)="(?!data:)', text)
    picture = base64.b64decode(re.search(r'base64,([^"]+)"', text)[1])
    assert picture == png.read_bytes()
    assert 'FAILS the check' in text and 'sensor' in text and 'insert' in text


def test_a_gap_of_the_sensor_is_a_gap_in_the_m_mode_picture(page):
    content = page[0]
    columns = content.mmode.shape[1]
    empty = np.isnan(content.mmode).all(axis=0)
    at = (np.arange(columns) + 0.5) / columns * content.duration_s
    assert empty[(at > 1.05) & (at < 1.95)].all()
    assert not empty[(at > 0.1) & (at < 0.95)].any() and not empty[(at > 2.05) & (at < 3.9)].any()


def test_m_mode_puts_an_echo_at_its_time_and_depth():
    picture = MMode(10.0, columns=100)
    times = np.arange(0, 10, 1 / 650)
    scans = np.zeros((len(times), 40), np.float32)
    scans[np.arange(len(times)), np.where(times < 5, 10, 30)] = 1
    picture.add(times, scans)
    drawn = picture.picture()
    assert drawn.shape == (40, 100)
    assert drawn[:, 20].argmax() == 10 and drawn[:, 80].argmax() == 30


def test_a_long_line_is_drawn_as_its_envelope_with_gaps_left_open():
    from vla_data.plot.draw import _envelope

    time_s = np.concatenate([np.arange(0, 4, 1e-3), np.arange(6, 10, 1e-3)])
    values = np.sin(50 * time_s)
    when, low, high, mean = _envelope(time_s, values, 100)
    gap = (when > 4.1) & (when < 5.9)
    assert np.isnan(mean[gap]).all() and np.isnan(low[gap]).all()
    assert np.isfinite(mean[~gap][:-1]).sum() > 75
    assert np.nanmin(low) == values.min() and np.nanmax(high) == values.max()


def test_ages_know_only_what_was_logged_by_the_tick():
    track = Track()
    for stamp in (0.0, 1.0, 2.0):
        track.add(stamp, stamp + 0.3, 0)
    ages = track.ages(np.array([0.1, 0.5, 1.2, 1.4]))
    assert np.isnan(ages[0]) and ages[1:] == pytest.approx([0.5, 1.2, 0.4])


def test_motion_is_what_the_robot_did_until_the_next_tick(page):
    ticks, moved = page[0].motion(0.1)
    rate = 0.01 * np.cos(ticks + 0.05 + page[0].start_ns * 0)  # x = 0.2 + 0.01 sin t
    assert np.allclose(moved[:, 0] / 0.1, rate, atol=2e-4)


def test_streams_that_are_not_there_are_told_not_drawn(tmp_path):
    path = write(tmp_path / 'episode', Scene(seconds=1.0, streams=('view1', 'pose')))
    with open_bag(path) as bag:
        png, html = write_page(bag, tmp_path)
        content = collect(bag, CONTRACT)
    assert content.mmode is None and not content.joints.time_s
    assert png.is_file() and 'robot/joint_states: not recorded' in html.read_text()


def test_text_of_the_episode_cannot_break_the_page(tmp_path):
    from vla_data.episode import EpisodeInfo
    from vla_data.plot.page import _facts, _html
    from vla_data.quality.check import EpisodeQuality

    class Fake:
        path, topics, start_ns = tmp_path / '<b>', {}, 0
        info = EpisodeInfo(task='<script>alert(1)</script>')

    assert '<script>' not in _html(Fake, EpisodeQuality(Fake.path, 1.0), b'')
    assert _facts(Fake)['task'].startswith('<script>')
