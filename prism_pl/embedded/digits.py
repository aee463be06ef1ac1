"""Real handwritten digits (scikit-learn's ``load_digits``, UCI, 1,797 images of 8x8) as 96x32 pictures, three in a row."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from prism_pl.embedded.demonstrations import Scene

# Of the digit images; no held-out one is ever seen in training, and every writer and digit is in both parts.
_HELDOUT_SHARE = 0.25
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
    parts = train_test_split(digits.images, digits.target, test_size=_HELDOUT_SHARE, stratify=digits.target, random_state=0)
    training, heldout, training_labels, heldout_labels = parts
    return DigitPool(training, training_labels), DigitPool(heldout, heldout_labels)


def draw_scene(pool: DigitPool, rng: random.Random) -> tuple[Image.Image, Scene]:
    """Three random digits of the pool side by side, each shifted by up to 3 pixels and slightly blurred."""
    first, second, third = (rng.randrange(len(pool.labels)) for _ in range(3))
    canvas = Image.new("L", (3 * _CELL, _CELL))
    for column, index in enumerate((first, second, third)):
        canvas.paste(_render(pool.images[index], rng), (column * _CELL, 0))

    def label(index: int) -> int:
        return int(pool.labels[index])

    def is_bold(index: int) -> bool:
        return bool(pool.images[index].mean() > _BOLD_INK)

    scene = Scene((label(first), label(second), label(third)), (is_bold(first), is_bold(second), is_bold(third)))
    return canvas.convert("RGB"), scene


def _render(digit: np.ndarray, rng: random.Random) -> Image.Image:
    picture = Image.fromarray((digit * (255 / 16)).astype(np.uint8)).resize((_CELL, _CELL), Image.Resampling.BILINEAR)
    picture = picture.filter(ImageFilter.GaussianBlur(0.7))
    shifted = Image.new("L", (_CELL, _CELL))
    shifted.paste(picture, (rng.randint(-_MAX_SHIFT, _MAX_SHIFT), rng.randint(-_MAX_SHIFT, _MAX_SHIFT)))
    return shifted
