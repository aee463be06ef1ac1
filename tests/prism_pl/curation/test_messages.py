"""Rows as chat messages: texts, order of images, and the pixels that a teacher's decoder gets."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prism_pl.curation.messages import chat_messages, data_url
from prism_pl.data.conversation import PromptRow
from prism_pl.data.images import ImageFile
from prism_pl.errors import UserError


def picture(width: int = 8, height: int = 6, mode: str = "RGB", seed: int = 0) -> Image.Image:
    channels = {"RGB": 3, "RGBA": 4}[mode]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8), mode)


def decoded(url: str) -> tuple[str, bytes, Image.Image]:
    """Kind, bytes and picture of a data URL."""
    head, _, tail = url.partition(",")
    content = base64.b64decode(tail, validate=True)
    kind = head.removeprefix("data:image/").removesuffix(";base64")
    image = Image.open(io.BytesIO(content))
    assert (image.format or "").lower() == kind
    return kind, content, image


def test_turns_keep_their_roles_and_images_their_places(tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 2)):
        picture(seed=seed).save(tmp_path / name)
    row = PromptRow(
        source="file:1",
        messages=(
            {"role": "system", "content": "Caption, think, answer."},
            {"role": "user", "content": "<image>What is it?"},
            {"role": "assistant", "content": "Noise."},
            {"role": "user", "content": "And <image>\nthis?"},
        ),
        images=(ImageFile("file:1", path=tmp_path / "a.png"), ImageFile("file:1", data=(tmp_path / "b.png").read_bytes())),
    )
    system, first, reply, second = chat_messages(row)
    assert system == {"role": "system", "content": "Caption, think, answer."}
    assert reply == {"role": "assistant", "content": "Noise."}
    assert (first["role"], second["role"]) == ("user", "user")
    assert [part["type"] for part in first["content"]] == ["image_url", "text"]
    assert [part["type"] for part in second["content"]] == ["text", "image_url", "text"]
    assert [part["text"] for part in second["content"] if "text" in part] == ["And ", "\nthis?"]
    # A PNG goes byte by byte as it is.
    assert decoded(first["content"][0]["image_url"]["url"])[1] == (tmp_path / "a.png").read_bytes()
    assert decoded(second["content"][1]["image_url"]["url"])[1] == (tmp_path / "b.png").read_bytes()


def test_marks_and_images_must_agree() -> None:
    row = PromptRow("file:3", ({"role": "user", "content": "<image><image>Both?"},), ())
    with pytest.raises(UserError, match="file:3: 2 <image> marks in the messages, but 0 images"):
        chat_messages(row)


def test_a_jpeg_goes_as_it_is(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    assert decoded(data_url(ImageFile("r", path=tmp_path / "a.jpg")))[:2] == ("jpeg", (tmp_path / "a.jpg").read_bytes())


def test_what_decoders_read_differently_is_settled_here(tmp_path: Path) -> None:
    rotated = Image.Exif()
    rotated[0x0112] = 6
    picture().save(tmp_path / "rotated.jpg", exif=rotated)
    picture(mode="RGBA").save(tmp_path / "transparent.png")
    picture().convert("P").save(tmp_path / "palette.png", transparency=0)
    picture().save(tmp_path / "a.bmp")
    picture().save(tmp_path / "a.webp", lossless=True)
    for name in ("rotated.jpg", "transparent.png", "palette.png", "a.bmp", "a.webp"):
        file = ImageFile("r", path=tmp_path / name)
        kind, _, image = decoded(data_url(file))
        assert (kind, image.mode) == ("png", "RGB")
        # The policy's own pixels.
        assert np.array_equal(np.asarray(image), np.asarray(file.open()))


def test_a_large_image_is_bounded_unless_there_is_no_limit(tmp_path: Path) -> None:
    picture(200, 100).save(tmp_path / "large.png")
    picture(200, 100).save(tmp_path / "large.bmp")
    assert (tmp_path / "large.png").stat().st_size > 60_000
    for name in ("large.png", "large.bmp"):
        file = ImageFile("r", path=tmp_path / name)
        kind, content, image = decoded(data_url(file, None))
        assert (kind, len(content) > 20_000) == ("png", True)
        assert np.array_equal(np.asarray(image), np.asarray(file.open()))
    kind, content, image = decoded(data_url(ImageFile("r", path=tmp_path / "large.png"), 20_000))
    assert kind == "jpeg"
    assert 10_000 < len(content) <= 20_000
    # Noise needs a step or two of three quarters; the shape stays.
    assert image.size in ((150, 75), (112, 56))


def test_a_broken_image_names_its_row(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"file:9: the image .*cut.png cannot be decoded"):
        data_url(ImageFile("file:9", path=tmp_path / "cut.png"))
