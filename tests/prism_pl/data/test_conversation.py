"""Prompts against transformers' own processor and positions, and errors that name their source."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from prism_pl.data.conversation import PromptEncoder, PromptRow, rope_positions
from prism_pl.data.images import ImageFile
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt

PAD = 9
"""The image token of the examples by hand."""


def save_image(path: Path, width: int, height: int) -> Path:
    Image.new("RGB", (width, height), (200, 30, 90)).save(path)
    return path


def make_row(paths: tuple[Path, ...], text: str | None = None, source: str = "rows.jsonl:7") -> PromptRow:
    content = "<image>" * len(paths) + "Largest digit?" if text is None else text
    return PromptRow(source, ({"role": "user", "content": content},), tuple(ImageFile(source, path=path) for path in paths))


def test_rope_positions_by_hand() -> None:
    # Text 0 1, an image of 4 x 6 patches = 2 x 3 merged from position 2, then text from 2 + max(2, 3) = 5.
    positions_3T = rope_positions([1, 2, *[PAD] * 6, 3, 4], PAD, torch.tensor([[1, 4, 6]]), 2)
    assert positions_3T.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]


def stock_positions(policy: Policy, prompt: Prompt) -> torch.Tensor:
    """Those of transformers, (3, T)."""
    input_ids = torch.tensor([prompt.input_ids])
    expected_3BT, _ = policy.vlm.model.get_rope_index(
        input_ids,
        mm_token_type_ids=(input_ids == policy.vlm.config.image_token_id).int(),
        image_grid_thw=prompt.image_grid,
        attention_mask=torch.ones_like(input_ids),
    )
    return expected_3BT[:, 0]


def test_rope_positions_equal_transformers(policy: Policy, prompts: list[Prompt], mixed_prompts: list[Prompt]) -> None:
    """Images of four shapes, text only, and two images in one prompt."""
    for prompt in [prompts[0], *mixed_prompts]:
        assert torch.equal(prompt.positions_3T, stock_positions(policy, prompt)), prompt.source


def test_rope_positions_equal_transformers_between_texts(policy: Policy, encoder: PromptEncoder, tmp_path: Path) -> None:
    """Two images of different shape with text before, between and after."""
    paths = (save_image(tmp_path / "a.png", 160, 64), save_image(tmp_path / "b.png", 64, 224))
    (prompt,) = encoder.encode([make_row(paths, "First <image> then <image> which is larger?")])
    assert torch.equal(prompt.positions_3T, stock_positions(policy, prompt))
    assert prompt.question == "First  then  which is larger?"


def test_placeholders_count_the_merged_patches(
    encoder: PromptEncoder, prompts: list[Prompt], mixed_prompts: list[Prompt]
) -> None:
    image_id = encoder.processor.image_token_id
    # Patches of 16, merged 2 x 2, so one placeholder for 32 x 32 pixels: 96x32 is 3 * 1 = 3, 96x192 is 3 * 6 = 18, 128x128
    # is 16, 192x64 is 12, no image is 0, and 64x128 with 128x64 is 8 + 8.
    counts = [prompt.input_ids.count(image_id) for prompt in [prompts[0], *mixed_prompts]]
    assert counts == [3, 18, 16, 12, 0, 16]
    for prompt, count in zip([prompts[0], *mixed_prompts], counts, strict=True):
        if prompt.image_grid is None:
            assert prompt.pixel_values is None
            continue
        patches = int(prompt.image_grid.prod(-1).sum())
        assert (patches // 4, patches) == (count, len(prompt.pixel_values))
        assert prompt.engine_ids.count(image_id) == len(prompt.images) == len(prompt.image_grid)


def test_engine_ids_are_the_prompt_with_one_placeholder_an_image(
    encoder: PromptEncoder, mixed_prompts: list[Prompt]
) -> None:
    image_id = encoder.processor.image_token_id
    for prompt in mixed_prompts:
        sizes = iter(prompt.image_grid.prod(-1).tolist() if prompt.image_grid is not None else [])
        expanded = [
            token for own in prompt.engine_ids for token in ([own] * (next(sizes) // 4) if own == image_id else [own])
        ]
        assert tuple(expanded) == prompt.input_ids


def test_a_prompt_does_not_depend_on_its_batch(encoder: PromptEncoder, tmp_path: Path) -> None:
    """Pixels of neighbours are split at the right places."""
    rows = []
    for index, size in enumerate([(48, 96), (64, 64), (32, 32)]):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", size, (80 * index, 10, 200 - 80 * index)).save(path)
        rows.append(make_row((path,)))
    rows.insert(1, make_row((), "No picture."))
    for together, row in zip(encoder.encode(rows), rows, strict=True):
        (alone,) = encoder.encode([row])
        assert together.input_ids == alone.input_ids
        assert torch.equal(together.positions_3T, alone.positions_3T)
        if row.images:
            assert torch.equal(together.pixel_values, alone.pixel_values)
            assert torch.equal(together.image_grid, alone.image_grid)
        else:
            assert together.pixel_values is None


def test_count_tokens_is_the_length_of_the_encoded_prompt(encoder: PromptEncoder, tmp_path: Path) -> None:
    # Odd sizes are rounded to multiples of 32, tiny ones grow to the processor's minimum, huge ones shrink to its maximum.
    sizes = [(128, 64), (66, 94), (16, 16), (200, 40), (900, 700), (62, 800)]
    paths = [save_image(tmp_path / f"{index}.png", *size) for index, size in enumerate(sizes)]
    rows = [make_row((path,)) for path in paths]
    rows += [make_row((), "Only text."), make_row(tuple(paths[:3]), "a <image> b <image><image>")]
    roomy = PromptEncoder(EMBEDDED_NAME, 4096)
    counts = roomy.count_tokens(rows)
    assert counts == [len(prompt.input_ids) for prompt in roomy.encode(rows)]
    # 128x64 has 8 placeholders, and the text-only prompt none: the counts are of different prompts, not one constant.
    assert len(set(counts)) > 4


def test_response_ids_end_in_the_end_token(encoder: PromptEncoder) -> None:
    ids = encoder.response_ids("The answer.")
    assert encoder.tokenizer.decode(ids) == "The answer.<|im_end|>"
    assert ids[-1] == encoder.tokenizer.eos_token_id


@pytest.mark.parametrize("typed", ["<|image_pad|>", "<|video_pad|>", "<|im_end|>"])
def test_special_tokens_spelled_in_a_response_stay_text(encoder: PromptEncoder, typed: str) -> None:
    ids = encoder.response_ids(f"It says {typed}.")
    assert encoder.tokenizer.convert_tokens_to_ids(typed) not in ids[:-1]
    assert encoder.tokenizer.decode(ids[:-1]) == f"It says {typed}."


def test_a_missing_image_is_named(encoder: PromptEncoder, tmp_path: Path) -> None:
    row = make_row((tmp_path / "lost.png",))
    for read in (encoder.encode, encoder.count_tokens):
        with pytest.raises(UserError, match=r"^rows\.jsonl:7: the image .*lost\.png does not exist"):
            read([row])


def test_an_undecodable_image_is_named(encoder: PromptEncoder, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for read in (encoder.encode, encoder.count_tokens):
        with pytest.raises(UserError, match=r"^rows\.jsonl:7: the image .*text\.png cannot be decoded"):
            read([make_row((tmp_path / "text.png",))])
    whole = save_image(tmp_path / "whole.png", 640, 480).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"^rows\.jsonl:7: the image .*cut\.png cannot be decoded"):
        ImageFile("rows.jsonl:7", path=tmp_path / "cut.png").open()


@pytest.mark.parametrize(("marks", "images"), [(0, 1), (1, 0), (2, 1), (1, 2)])
def test_marks_must_match_images(encoder: PromptEncoder, tmp_path: Path, marks: int, images: int) -> None:
    path = save_image(tmp_path / "a.png", 32, 32)
    row = make_row((path,) * images, "<image>" * marks + "Which?")
    for read in (encoder.encode, encoder.count_tokens):
        with pytest.raises(UserError, match=rf"^rows\.jsonl:7: {marks} <image> marks in the messages, but {images} images"):
            read([row])


def test_marks_are_counted_over_all_messages(encoder: PromptEncoder, tmp_path: Path) -> None:
    paths = (save_image(tmp_path / "a.png", 64, 64), save_image(tmp_path / "b.png", 128, 64))
    row = make_row(paths)
    turns = ({"role": "system", "content": "See <image>."}, {"role": "user", "content": "And <image>?"})
    (prompt,) = encoder.encode([replace(row, messages=turns)])
    # 64x64 is 2 * 2 placeholders, 128x64 is 8, in this order.
    assert prompt.input_ids.count(encoder.processor.image_token_id) == 12
    assert prompt.image_grid.tolist() == [[1, 4, 4], [1, 4, 8]]


def test_the_prompt_limit_is_exact_and_named(tmp_path: Path) -> None:
    row = make_row((save_image(tmp_path / "a.png", 128, 128),))
    (length,) = PromptEncoder(EMBEDDED_NAME, 4096).count_tokens([row])
    assert len(PromptEncoder(EMBEDDED_NAME, length).encode([row])) == 1
    with pytest.raises(
        UserError, match=rf"^rows\.jsonl:7: the prompt has {length} tokens, .*data\.max_prompt_tokens is {length - 1}"
    ):
        PromptEncoder(EMBEDDED_NAME, length - 1).encode([row])


@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("typed", ["<|image_pad|>", "<|video_pad|>"])
def test_a_placeholder_typed_in_a_text_is_named(
    encoder: PromptEncoder, tmp_path: Path, with_image: bool, typed: str
) -> None:
    """The tokenizer would read it as a placeholder token: an image that is not there."""
    paths = (save_image(tmp_path / "a.png", 32, 32),) if with_image else ()
    row = make_row(paths, "<image>" * with_image + f"What does {typed} mean?")
    for read in (encoder.encode, encoder.count_tokens):
        with pytest.raises(UserError, match=rf"^rows\.jsonl:7: .*{re.escape(typed)}"):
            read([row])
