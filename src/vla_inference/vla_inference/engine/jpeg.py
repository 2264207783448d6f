"""JPEG to RGB at the model's size, as cheaply as the decoder allows.

Called by the VLM worker's thread only. Where the picture is at least twice as large as needed, the
decoder itself scales by 2, 4 or 8 in the frequency domain (a 1280x720 camera costs a third then).
Deliberately knows no ROS: the drivers pass the cameras' JPEG through untouched.
"""

import cv2
import numpy as np

_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
# Start-of-frame markers of ITU T.81, table B.1: C0..CF without C4 (Huffman tables), C8 (reserved),
# CC (arithmetic coding).
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}


class BadImage(ValueError):  # noqa: N818 - reads like what it is
    """The bytes are no decodable JPEG picture."""


def jpeg_size(jpeg: bytes) -> tuple[int, int] | None:
    """Return (width, height) from the headers without decoding; None where they do not tell."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
        elif marker in _SIZE_MARKERS:
            return int.from_bytes(jpeg[at + 7 : at + 9], 'big'), int.from_bytes(
                jpeg[at + 5 : at + 7], 'big'
            )
        else:
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], 'big')
    return None


def reduction(size: tuple[int, int] | None, width: int, height: int) -> int:
    """Return by how much the decoder may shrink a picture without going below the wanted size: 1,
    2, 4 or 8.
    """
    if size is not None:
        for factor in _REDUCED:
            # libjpeg rounds up: ceil(size / factor).
            if -(-size[0] // factor) >= width and -(-size[1] // factor) >= height:
                return factor
    return 1


def decode_jpeg(jpeg: bytes, width: int, height: int) -> np.ndarray:
    """Return (height, width, 3) uint8 RGB; scaled without keeping the aspect.

    Raises BadImage.
    """
    factor = reduction(jpeg_size(jpeg), width, height)
    flags = _REDUCED.get(factor, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
    except cv2.error as error:
        raise BadImage(f'{len(jpeg)} bytes: {error}') from error
    if bgr is None:
        raise BadImage(f'{len(jpeg)} bytes are no picture')
    if bgr.shape[:2] != (height, width):
        shrink = bgr.shape[0] >= height and bgr.shape[1] >= width
        bgr = cv2.resize(
            bgr, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
