"""Pictures as bytes: lossless, with an id that follows the pixels; blank ones are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.dataset import images


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_images_are_lossless(image_format: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    data = images.encode(image, image_format)
    assert np.array_equal(images.decode(data), image)
    assert images.encode(image, image_format) == data


def test_image_ids_follow_pixels_and_shape() -> None:
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert images.image_id(image) == images.image_id(image.copy())
    assert images.image_id(image[::-1]) != images.image_id(image)
    assert images.image_id(image.reshape(4, 3, 3)) != images.image_id(image)


def test_blank_images_are_found() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    batch[1] = 0
    batch[3] = (10, 20, 30)
    assert images.blank(batch) == [1, 3]
