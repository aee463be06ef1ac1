"""Real handwritten digits (scikit-learn's ``load_digits``, UCI, 1,797 images of 8x8) as 96x32 pictures, three in a row."""

import random
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from prism_pl.embedded.demonstrations import Scene

# Of the digit images; none of these is ever seen in training, and every digit is in each part. Half of them are held out
# for the stages, where settings are chosen; the other half are for the study, which chooses nothing.
_UNSEEN_SHARE = 0.25
_CELL = 32
_MAX_SHIFT = 3
# Mean ink (0 to 16) above which a digit counts as bold: the median of the training digits.
_BOLD_INK = 4.9


@dataclass(frozen=True)
class DigitPool:
    """Digit images (N, 8, 8) in 0..16 with their labels (N,)."""

    images: np.ndarray
    labels: np.ndarray

    @cached_property
    def pictures(self) -> list[Image.Image]:
        """Each image as a slightly blurred 32x32 picture."""
        return [_picture(image) for image in self.images]


@dataclass(frozen=True)
class DigitPools:
    """Pools that share no image."""

    training: DigitPool
    heldout: DigitPool
    test: DigitPool


def load_pools() -> DigitPools:
    """All digits of scikit-learn, split by a fixed seed: 75 % training, 12.5 % held out, 12.5 % test."""
    digits = load_digits()
    training, unseen = _split(DigitPool(digits.images, digits.target), _UNSEEN_SHARE)
    heldout, test = _split(unseen, 0.5)
    return DigitPools(training, heldout, test)


def _split(pool: DigitPool, share: float) -> tuple[DigitPool, DigitPool]:
    """The pool without ``share`` of its images, and these; every digit is in both in its proportion."""
    parts = train_test_split(pool.images, pool.labels, test_size=share, stratify=pool.labels, random_state=0)
    images, other_images, labels, other_labels = parts
    return DigitPool(images, labels), DigitPool(other_images, other_labels)


def draw_scene(pool: DigitPool, rng: random.Random) -> tuple[Image.Image, Scene]:
    """Three random digits of the pool side by side, each shifted by up to 3 pixels and slightly blurred."""
    first, second, third = (rng.randrange(len(pool.labels)) for _ in range(3))
    canvas = Image.new("L", (3 * _CELL, _CELL))
    for column, index in enumerate((first, second, third)):
        canvas.paste(_shifted(pool.pictures[index], rng), (column * _CELL, 0))

    def label(index: int) -> int:
        return int(pool.labels[index])

    def is_bold(index: int) -> bool:
        return bool(pool.images[index].mean() > _BOLD_INK)

    scene = Scene((label(first), label(second), label(third)), (is_bold(first), is_bold(second), is_bold(third)))
    return canvas.convert("RGB"), scene


def _picture(digit: np.ndarray) -> Image.Image:
    picture = Image.fromarray((digit * (255 / 16)).astype(np.uint8)).resize((_CELL, _CELL), Image.Resampling.BILINEAR)
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def _shifted(picture: Image.Image, rng: random.Random) -> Image.Image:
    shifted = Image.new("L", (_CELL, _CELL))
    shifted.paste(picture, (rng.randint(-_MAX_SHIFT, _MAX_SHIFT), rng.randint(-_MAX_SHIFT, _MAX_SHIFT)))
    return shifted
