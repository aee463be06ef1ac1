"""Images as data files hold them: a path, bytes, a ``data:`` address, or a dictionary around one; decoded within bounds."""

import base64
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from prism_pl.errors import UserError, cut, shown

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (Pillow only warns, up to twice its own limit)."""
MAX_BYTES = 100 * 2**20

_KEYS = ("bytes", "path", "image", "image_url", "url", "value", "source")
"""Where a dictionary may hold the image, in the order in which they count."""
_MOST_NESTED = 4
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

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

    @property
    def _shown(self) -> str:
        return cut(self.name)

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
                        f"{self.source}: the image {self._shown} has {width} x {height} pixels, more than {MAX_PIXELS:,}. "
                        f"Shrink the file or drop the row."
                    )
                return read(image)
        except FileNotFoundError:
            raise UserError(
                f"{self.source}: the image {self._shown} does not exist. Paths are relative to the data file, "
                f"or to the data source's `image_root`."
            ) from None
        # Pillow's plugins raise what their parsers raise.
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise UserError(
                f"{self.source}: the image {self._shown} cannot be decoded ({cut(str(error))}). Mend the file or "
                f"drop the row."
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
            raise UserError(f"{self.source}: the image {self._shown} has {size:,} bytes, more than {MAX_BYTES:,}.")
        yield stream


def image_file(entry: Any, root: Path, source: str) -> ImageFile:
    """From a path below ``root``, bytes, a ``data:`` address, or what typed content holds around one of these.

    A data file may come from anywhere, so its paths may not leave ``root``; what a symbolic link in it points to may.
    """
    original = entry
    for _ in range(_MOST_NESTED):
        if isinstance(entry, dict):
            entry = _inside(entry)
    if isinstance(entry, bytes) and entry:
        return ImageFile(source, data=entry)
    if not isinstance(entry, str) or not entry:
        raise UserError(
            f"{source}: an image must be a path, bytes, a `data:` address, or a dictionary with one of these; "
            f"it is {shown(original)}."
        )
    if entry[:5].lower() == "data:":
        return ImageFile(source, data=_decoded(entry, source))
    if _ADDRESS.match(entry) and not entry.startswith("file://"):
        raise UserError(
            f"{source}: the image {cut(entry)} is an address, and nothing is fetched. Download it and give its path."
        )
    path = root / entry.removeprefix("file://")
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise UserError(
            f"{source}: the image {cut(entry)} lies outside {root}. If that is meant, name a folder above it as "
            f"`image_root` of the data source."
        )
    return ImageFile(source, path=path)


def _inside(entry: dict[str, Any]) -> Any:
    """What a dictionary wraps: datasets' ``bytes`` and ``path``, OpenAI's ``image_url``, Anthropic's ``source``, ..."""
    if entry.get("type") == "base64" and isinstance(entry.get("data"), str):
        return f"data:{entry.get('media_type')};base64,{entry['data']}"
    return next((entry[key] for key in _KEYS if entry.get(key)), None)


def _decoded(address: str, source: str) -> bytes:
    head, comma, content = address.partition(",")
    try:
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError("it is not `data:image/...;base64,...`")
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError as error:
        raise UserError(f"{source}: the image {cut(address[:60])}... cannot be decoded ({error}).") from None
