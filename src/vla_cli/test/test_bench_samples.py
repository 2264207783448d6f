"""`vla bench samples`: what it prints and writes. Speeds themselves are not tested."""

import json
import os

import cv2
import numpy as np

from vla_cli import main as vla
from vla_cli.bench import samples
from vla_core.contract import Contract, SensorSpec, ViewSpec
from vla_data.synthetic import Shape, write_episode

CONTRACT = Contract(
    'small', 1, (ViewSpec('view1', 'cameras/view1'),), sensor=SensorSpec(channels=5)
)


def picture() -> bytes:
    return cv2.imencode('.jpg', np.full((36, 64, 3), 90, np.uint8))[1].tobytes()


def test_an_episode_is_measured_in_order_by_jumps_and_with_decoding(tmp_path, capsys):
    write_episode(tmp_path / 'ep', CONTRACT, Shape(duration_s=3.0, pictures=(picture(),)))
    allowed = os.sched_getaffinity(0)
    out = tmp_path / 'result.json'
    argv = ['bench', 'samples', str(tmp_path / 'ep'), '--jumps', '3', '--json', str(out)]
    assert vla.main(argv) == 0
    result = json.loads(out.read_text())
    assert result['samples'] == 28 and result['jumps']['samples'] == 3
    assert result['decode']['size_px'] == [64, 36] and result['decode']['pictures'] >= 14
    assert result['in_order']['times_real_time'] > 0
    text = capsys.readouterr().out
    assert 'in order' in text and 'decoding alone' in text and 'wanted: 20 times' in text
    assert os.sched_getaffinity(0) == allowed  # the process has all its cores back


def test_a_made_up_episode_has_pictures_of_the_size_of_the_lab():
    made = samples.make_pictures()
    assert len(set(made)) == 6 and all(60_000 < len(jpeg) < 300_000 for jpeg in made)
    image = cv2.imdecode(np.frombuffer(made[0], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (720, 1280, 3)


def test_pictures_that_cannot_be_decoded_are_said_to_be_so(tmp_path, capsys):
    write_episode(tmp_path / 'ep', CONTRACT, Shape(duration_s=1.0, jpeg_bytes=50))
    assert vla.main(['bench', 'samples', str(tmp_path / 'ep'), '--jumps', '1']) == 0
    assert 'no pictures that could be decoded' in capsys.readouterr().out
