import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_inference.engine.jpeg import BadImage, decode_jpeg, jpeg_size, reduction


def encode(picture, quality=95):
    return cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_the_size_is_read_from_the_headers(width, height):
    assert jpeg_size(encode(np.zeros((height, width, 3), np.uint8))) == (width, height)


@given(st.binary(max_size=200))
def test_headers_of_anything_do_not_raise(data):
    jpeg_size(data)


@pytest.mark.parametrize(
    ('size', 'factor'),
    [
        ((640, 360), 1),
        ((1279, 720), 2),
        ((1280, 720), 2),
        ((1279, 700), 1),
        ((1920, 1080), 2),
        ((2560, 1440), 4),
        ((5120, 2880), 8),
        (None, 1),
    ],
)
def test_the_decoder_never_goes_below_the_wanted_size(size, factor):
    assert reduction(size, 640, 360) == factor


@pytest.mark.parametrize('size', [(640, 360), (1280, 720), (1920, 1080), (320, 180), (640, 480)])
def test_colours_are_rgb_and_the_size_is_the_models(size):
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[:, :, 2] = 200  # red in OpenCV's order
    rgb = decode_jpeg(encode(picture), 640, 360)
    assert rgb.shape == (360, 640, 3) and rgb.dtype == np.uint8
    assert rgb[..., 0].mean() > 190 and rgb[..., 1:].mean() < 10


def test_decoding_small_looks_like_decoding_large_and_shrinking():
    x, y = np.meshgrid(np.arange(1280), np.arange(720))
    picture = np.stack([x * 255 // 1280, y * 255 // 720, (x + y) % 256], axis=2).astype(np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 3)
    data = encode(picture)
    full = cv2.resize(
        cv2.imdecode(np.frombuffer(data, np.uint8), 1), (640, 360), interpolation=cv2.INTER_AREA
    )
    rgb = decode_jpeg(data, 640, 360)
    assert np.abs(rgb[..., ::-1].astype(int) - full).mean() < 1.5


def test_a_mono_jpeg_becomes_three_channels():
    assert decode_jpeg(encode(np.full((360, 640), 90, np.uint8)), 640, 360).shape == (360, 640, 3)


@pytest.mark.parametrize('data', [b'x', b'\xff\xd8\xff\xd9', b'\xff\xd8' + b'\0' * 100])
def test_rubbish_is_a_bad_image(data):
    with pytest.raises(BadImage):
        decode_jpeg(data, 640, 360)
