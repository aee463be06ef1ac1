"""Images as data files hold them: a path, bytes, or a dictionary with either; decoded within bounds."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from prism_pl.errors import UserError

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (Pillow only warns, up to twice its own limit)."""
MAX_BYTES = 100 * 2**20

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class ImageFile:
    """One image of a row, not decoded yet."""

    source: str
    """The row, ``file:row``; errors name it."""
    path: Path | None = None
    data: bytes | None = None

    @property
    def name(self) -> str:
        """The path, or the row that holds the bytes."""
        return str(self.path) if self.path is not None else f"{self.source} (bytes)"

    def open(self) -> Image.Image:
        """Decoded to RGB. Raises UserError that names the row if it is missing, broken or too large."""
        return self._read(lambda image: image.convert("RGB"))

    def size(self) -> tuple[int, int]:
        """Width and height from the header alone."""
        return self._read(lambda image: image.size)

    def _read(self, read: Callable[[Image.Image], _Value]) -> _Value:
        try:
            with self._stream() as stream, Image.open(stream) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UserError(
                        f"{self.source}: the image {self.name} has {width} x {height} pixels, more than {MAX_PIXELS:,}. "
                        f"Shrink the file or drop the row."
                    )
                return read(image)
        except FileNotFoundError:
            raise UserError(
                f"{self.source}: the image {self.name} does not exist. Paths are relative to the data file, "
                f"or to the data source's `image_root`."
            ) from None
        # Pillow's plugins raise what their parsers raise.
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise UserError(
                f"{self.source}: the image {self.name} cannot be decoded ({error}). Mend the file or drop the row."
            ) from None

    @contextmanager
    def _stream(self) -> Iterator[Any]:
        stream: Any = self.path
        if self.data is not None:
            size, stream = len(self.data), io.BytesIO(self.data)
        else:
            assert self.path is not None
            if not self.path.is_file():
                raise FileNotFoundError(self.path)
            size = self.path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{self.source}: the image {self.name} has {size:,} bytes, more than {MAX_BYTES:,}.")
        yield stream


def image_file(entry: Any, root: Path, source: str) -> ImageFile:
    """From a path below ``root``, bytes, or a dictionary with the keys ``bytes`` or ``path``.

    A data file may come from anywhere, so its paths may not leave ``root``; what a symbolic link in it points to may.
    """
    if isinstance(entry, dict):
        data, path = entry.get("bytes"), entry.get("path")
        entry = data if data else path
    if isinstance(entry, bytes) and entry:
        return ImageFile(source, data=entry)
    if not isinstance(entry, str) or not entry:
        raise UserError(f"{source}: an image must be a path, bytes, or a dictionary with `path` or `bytes`.")
    if entry.startswith(("http://", "https://")):
        raise UserError(
            f"{source}: the image {entry} is an address, and nothing is fetched. Download it and give its path."
        )
    path = root / entry.removeprefix("file://")
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise UserError(
            f"{source}: the image {entry} lies outside {root}. If that is meant, name a folder above it as `image_root` of "
            f"the data source."
        )
    return ImageFile(source, path=path)
