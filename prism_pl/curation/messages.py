"""A row as the messages of a chat completion, its images as ``data:`` URLs.

The teacher must see the pixels that the policy sees. A PNG or JPEG that decodes to the same pixels everywhere goes as it
is; transparency, orientation tags and other formats are settled here, by the decoder of the trainer.
"""

import base64
import io
import math
from collections.abc import Iterator
from typing import Any

from PIL import Image

from prism_pl.data.conversation import PromptRow, check_marks, typed_parts
from prism_pl.data.images import ImageFile

MAX_IMAGE_BYTES = 3 * 2**20
"""Larger images become JPEGs, and then smaller ones: endpoints refuse requests of more than some megabytes."""
_MAX_SIDE = 16384
_JPEG_QUALITY = 95


def chat_messages(row: PromptRow, max_image_bytes: int | None = MAX_IMAGE_BYTES) -> list[dict[str, Any]]:
    """All turns with their roles, the system prompt included; each image stands where its mark stood."""
    check_marks(row)
    images = iter(row.images)
    return [{"role": turn["role"], "content": _content(turn["content"], images, max_image_bytes)} for turn in row.messages]


def _content(text: str, images: Iterator[ImageFile], max_bytes: int | None) -> str | list[dict[str, Any]]:
    parts = typed_parts(text)
    if isinstance(parts, str):
        return parts
    return [
        {"type": "image_url", "image_url": {"url": data_url(next(images), max_bytes)}} if part["type"] == "image" else part
        for part in parts
    ]


def data_url(image: ImageFile, max_bytes: int | None = MAX_IMAGE_BYTES) -> str:
    """``data:image/png;base64,...``, of at most so many bytes before base64; without a limit no pixel changes."""
    kind, content = _portable(image, math.inf if max_bytes is None else max_bytes)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _portable(image: ImageFile, max_bytes: float) -> tuple[str, bytes]:
    pixels = image.open()
    raw = image.data if image.data is not None else image.path.read_bytes() if image.path else b""
    with Image.open(io.BytesIO(raw)) as file:
        unambiguous = file.mode in ("RGB", "L") and not {"exif", "transparency"} & set(file.info)
        kind = {"PNG": "png", "JPEG": "jpeg"}.get(file.format or "")
    if kind is not None and unambiguous and len(raw) <= max_bytes:
        return kind, raw
    kind, content = "png", _encoded(pixels, "PNG")
    pixels.thumbnail((_MAX_SIDE, _MAX_SIDE))
    while len(content) > max_bytes:
        kind, content = "jpeg", _encoded(pixels, "JPEG", quality=_JPEG_QUALITY)
        pixels.thumbnail((pixels.width * 3 // 4, pixels.height * 3 // 4))
    return kind, content


def _encoded(pixels: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    pixels.save(stream, kind, **options)
    return stream.getvalue()
