"""From a file's bytes to pixels, and from pixels to the network's image size, all in uint8.

JPEGs are decoded by libjpeg-turbo through simplejpeg: the same pixels as PIL's, quicker, since
nothing is copied. Resizing is torch's antialiased bilinear one on uint8, which differs from PIL's
by rounding only (docs/data.md has the measured differences). What simplejpeg does not take (PNG,
CMYK, a JPEG that it calls faulty) goes to PIL: a picture is damaged where PIL can't decode it.
"""

import io

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import interpolate

from fullscale.data.augmentation import Box

Pixels = NDArray[np.uint8]  # height, width, 3
_JPEG = b"\xff\xd8"
# For CMYK and others the two decoders convert colours in different ways.
_SAME_IN_BOTH_DECODERS = {"YCbCr", "Gray"}
# libjpeg-turbo's scaled transforms are quicker from half the size on only.
_MIN_SCALE = 2.0
_PIL_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class DamagedPictureError(ValueError):
    """A picture's bytes can't be decoded; the message is the decoder's reason."""


def picture_size(data: bytes) -> tuple[int, int]:
    """Return width and height without decoding.

    Args:
        data: the file.

    Returns:
        Pixels.

    Raises:
        DamagedPictureError: where not even the header can be read.
    """
    if data.startswith(_JPEG):
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            return width, height
        except ValueError:
            pass  # PIL has the last word
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except _PIL_ERRORS as error:
        raise DamagedPictureError(str(error)) from error


class Decoder:
    """Decodes pictures into one piece of memory; fresh memory for each takes a fifth longer."""

    def __init__(self) -> None:
        """Start without memory; the largest picture says how much."""
        self._memory = np.empty(0, dtype=np.uint8)

    def decode(self, data: bytes, *, at_least: tuple[int, int] | None = None) -> Pixels:
        """Decode one picture.

        Args:
            data: the file.
            at_least: height and width that suffice: a JPEG may then be decoded at a fraction of its
                size, which is quicker and another picture. None decodes at full size.

        Returns:
            RGB, shape (height, width, 3), until the next picture is decoded.

        Raises:
            DamagedPictureError: where PIL can't decode it either.
        """
        if data.startswith(_JPEG):
            try:
                height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
                if colours in _SAME_IN_BOTH_DECODERS:
                    return self._decode_jpeg(data, height * width * 3, at_least or (0, 0))
            except ValueError:
                pass  # PIL has the last word
        try:
            with Image.open(io.BytesIO(data)) as picture:
                return np.array(picture.convert("RGB"), dtype=np.uint8)
        except UnidentifiedImageError as error:
            # PIL's own words name an address in memory.
            raise DamagedPictureError("no format of pictures that PIL knows") from error
        except _PIL_ERRORS as error:
            raise DamagedPictureError(str(error)) from error

    def _decode_jpeg(self, data: bytes, num_bytes: int, at_least: tuple[int, int]) -> Pixels:
        if len(self._memory) < num_bytes:
            self._memory = np.empty(num_bytes, dtype=np.uint8)
        pixels: Pixels = simplejpeg.decode_jpeg(
            data,
            min_height=at_least[0],
            min_width=at_least[1],
            min_factor=_MIN_SCALE,
            buffer=self._memory,
        )
        return pixels


def resized_crop(pixels: Pixels, box: Box, *, height: int, width: int) -> Tensor:
    """Cut a part and resize it, antialiased.

    Args:
        pixels: a picture.
        box: the part.
        height: of the result.
        width: of the result.

    Returns:
        uint8, shape (3, height, width).
    """
    left, top, right, bottom = box
    # In one piece, channels last: torch is twice as quick there, and stays in that layout.
    part = torch.from_numpy(np.ascontiguousarray(pixels[top:bottom, left:right]))
    part = part[None].permute(0, 3, 1, 2)
    if part.shape[2:] == (height, width):
        return part[0]
    return interpolate(part, size=(height, width), mode="bilinear", antialias=True)[0]
