"""Pairs of real handwritten digits (scikit-learn's ``load_digits``, UCI, 1,797 images of 8x8) as 64x32 pictures."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from prism_pl.embedded.demonstrations import Scene

# By file position, so that no held-out digit image is ever seen in training (ingredients of the task, not of the model).
NUM_TRAINING_DIGITS = 1347
_CELL = 32
_MAX_SHIFT = 3
# Mean ink (0 to 16) above which a digit counts as bold: the median of the training digits.
_BOLD_INK = 4.9


@dataclass(frozen=True)
class DigitPool:
    """Digit images (N, 8, 8) in 0..16 with their labels (N,)."""

    images: np.ndarray
    labels: np.ndarray


def load_pools() -> tuple[DigitPool, DigitPool]:
    """The training and the held-out digits; they share no image."""
    digits = load_digits()
    cut = NUM_TRAINING_DIGITS
    return (
        DigitPool(digits.images[:cut], digits.target[:cut]),
        DigitPool(digits.images[cut:], digits.target[cut:]),
    )


def draw_scene(pool: DigitPool, rng: random.Random) -> tuple[Image.Image, Scene]:
    """Two random digits of the pool side by side, each shifted by up to 3 pixels and slightly blurred."""
    left, right = rng.randrange(len(pool.labels)), rng.randrange(len(pool.labels))
    canvas = Image.new("L", (2 * _CELL, _CELL))
    for column, index in enumerate((left, right)):
        canvas.paste(_render(pool.images[index], rng), (column * _CELL, 0))
    bold = [bool(pool.images[index].mean() > _BOLD_INK) for index in (left, right)]
    scene = Scene(int(pool.labels[left]), int(pool.labels[right]), bold[0], bold[1])
    return canvas.convert("RGB"), scene


def _render(digit: np.ndarray, rng: random.Random) -> Image.Image:
    picture = Image.fromarray((digit * (255 / 16)).astype(np.uint8)).resize((_CELL, _CELL), Image.Resampling.BILINEAR)
    picture = picture.filter(ImageFilter.GaussianBlur(0.7))
    shifted = Image.new("L", (_CELL, _CELL))
    shifted.paste(picture, (rng.randint(-_MAX_SHIFT, _MAX_SHIFT), rng.randint(-_MAX_SHIFT, _MAX_SHIFT)))
    return shifted
