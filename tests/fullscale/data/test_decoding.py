"""Our pixels against PIL's."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from fullscale.data.augmentation import crop_box, draw_view
from fullscale.data.decoding import DamagedPictureError, Decoder, picture_size, resized_crop
from fullscale.data.normalization import IMAGENET


def decode(data, **options):
    return Decoder().decode(data, **options)


def smooth(rng, width, height, grain=4):
    coarse = rng.integers(0, 256, (height // grain, width // grain, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {"quality": 90}),
        ("RGB", "JPEG", {"quality": 95, "subsampling": 0}),
        ("RGB", "JPEG", {"quality": 60, "subsampling": 1, "progressive": True}),
        ("L", "JPEG", {"quality": 90}),
        ("CMYK", "JPEG", {"quality": 90}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("RGB", "BMP", {}),
    ],
)
def test_every_kind_of_file_gives_pils_own_pixels(mode, kind, options):
    data = encoded(smooth(np.random.default_rng(1), 101, 67).convert(mode), kind, **options)
    with Image.open(io.BytesIO(data)) as picture:
        want = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(decode(data), want)
    assert picture_size(data) == (101, 67)


def test_resized_crops_are_pils_antialiased_ones_within_rounding():
    rng = np.random.default_rng(2)
    apart = []
    for _ in range(40):
        picture = smooth(rng, 300, 200)
        box = crop_box(rng, width=300, height=200)
        want = picture.crop(box).resize((64, 64), Image.Resampling.BILINEAR)
        got = resized_crop(np.array(picture), box, height=64, width=64)
        apart.append(np.abs(got.permute(1, 2, 0).numpy().astype(int) - np.asarray(want)))
    # 0.013 on photographs' sizes (docs/data.md). Without antialiasing it is 0.3 and more there.
    assert np.mean(apart) < 0.03
    assert np.max(apart) <= 2  # each of two passes rounds once


def test_one_decoder_takes_pictures_of_any_size_one_after_the_other():
    rng, decoder = np.random.default_rng(6), Decoder()
    for width, height in [(60, 40), (200, 100), (40, 60), (201, 99)]:
        data = encoded(smooth(rng, width, height))
        np.testing.assert_array_equal(decoder.decode(data), decode(data))


def test_a_scaled_jpeg_is_large_enough_smaller_than_the_whole_and_alike():
    picture = smooth(np.random.default_rng(3), 400, 320, grain=16)
    data = encoded(picture, quality=95)
    scaled, whole = decode(data, at_least=(90, 100)), decode(data)
    assert 90 <= scaled.shape[0] <= 160
    assert 100 <= scaled.shape[1] <= 200
    want = resized_crop(whole, (0, 0, 400, 320), height=scaled.shape[0], width=scaled.shape[1])
    assert (
        0 < np.abs(scaled.astype(int) - want.permute(1, 2, 0).numpy()).mean() < 6
    )  # other pictures differ by 60


@pytest.mark.parametrize("cut", [0, 2, 10, 300])
def test_bytes_that_pil_can_not_decode_are_damaged(cut):
    data = encoded(smooth(np.random.default_rng(4), 100, 80))
    with pytest.raises(DamagedPictureError):
        decode(data[:cut])
    with pytest.raises(DamagedPictureError):
        decode(b"GIF89a" + data)


def test_bytes_after_the_end_of_a_jpeg_are_no_damage():
    data = encoded(smooth(np.random.default_rng(4), 100, 80))
    np.testing.assert_array_equal(decode(data + b"rubbish"), decode(data))


def test_normalised_on_the_device_the_values_are_torchvisions():
    images = torch.from_numpy(np.random.default_rng(5).integers(0, 256, (2, 3, 8, 8), np.uint8))
    scaled = v2.functional.to_dtype(images, torch.float32, scale=True)
    want = v2.functional.normalize(scaled, mean=IMAGENET.mean, std=IMAGENET.std)
    torch.testing.assert_close(IMAGENET.apply(images, dtype=torch.float32), want)
    double = IMAGENET.apply(images, dtype=torch.float64)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double, want.double(), rtol=1e-5, atol=1e-6)
    assert IMAGENET.apply(images, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_half_of_the_views_are_mirrored_and_crops_cover_their_range():
    views = [draw_view(seed=0, position=p, width=500, height=375) for p in range(2000)]
    mirrored = np.mean([flag for _, flag in views])
    assert abs(mirrored - 0.5) < 4 * 0.5 / np.sqrt(2000)  # standard error of a fair coin
    share = [(r - x) * (b - y) / (500 * 375) for (x, y, r, b), _ in views]
    assert min(share) < 0.1
    assert max(share) > 0.9
