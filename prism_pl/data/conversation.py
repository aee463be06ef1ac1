"""Messages and images to token ids, once, by the processor that the checkpoint ships."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor

from prism_pl.data.images import ImageFile
from prism_pl.errors import UserError
from prism_pl.hub import model_folder
from prism_pl.types import Prompt

IMAGE_MARK = "<image>"


@dataclass(frozen=True)
class PromptRow:
    """A row of a prompt set before tokenisation."""

    source: str
    messages: tuple[dict[str, str], ...]
    """All turns before the response; ``<image>`` marks where an image stands."""
    images: tuple[ImageFile, ...]
    answer: str | None = None
    """The true answer."""
    also_right: tuple[str, ...] = ()
    """Further true answers, any of which counts."""
    options: tuple[str, ...] = ()
    teacher: str | None = None
    student: str | None = None
    """A policy's response, in rows that are pairs."""
    response: str | None = None
    """Of a demonstration: what is learnt after the turns."""
    learnt: tuple[int, ...] = ()
    """Of a demonstration: the assistant's turns among ``messages`` that are learnt as well."""
    default_system: bool = False
    """Whether the system turn is the data source's ``system_prompt``, because the row has none."""

    @property
    def question(self) -> str:
        """The text of the last turn, without the marks of its images."""
        return self.messages[-1]["content"].replace(IMAGE_MARK, "").strip()


@dataclass(frozen=True)
class Outline:
    """A prompt's text and the size of its images: enough for its length."""

    texts: tuple[str, ...]
    """The chat text, without the turns that are learnt."""
    learnt: tuple[str, ...]
    """The turns that are learnt, each after one of ``texts``."""
    image_tokens: int
    """Tokens of the images more than their marks."""


class PromptEncoder:
    """Turns rows into prompts with the stock processor; refuses what trainer and engine could read differently."""

    def __init__(self, model: str, max_prompt_tokens: int) -> None:
        self.processor = AutoProcessor.from_pretrained(model_folder(model, "the processor"))
        self.tokenizer = self.processor.tokenizer
        self.max_prompt_tokens = max_prompt_tokens

    def encode(self, rows: Sequence[PromptRow]) -> list[Prompt]:
        """One prompt a row. Raises UserError naming the row for a missing image or a prompt over the limit."""
        pieces = [self._pieces(row) for row in rows]
        texts = [self._chat_text(row.messages) for row in rows]
        images = [[image.open() for image in row.images] for row in rows]
        flat = [image for group in images for image in group]
        batch = self.processor(text=texts, images=flat or None)
        engine_ids = self._ids(texts)
        grids = torch.as_tensor(batch["image_grid_thw"]).split([len(group) for group in images]) if flat else None
        pixels = self._split_pixels(batch, images) if flat else None
        prompts = []
        for index, row in enumerate(rows):
            ids, own_engine_ids = batch["input_ids"][index], engine_ids[index]
            spans: tuple[tuple[int, int], ...] = ()
            if row.learnt:
                own_engine_ids, ids, spans = self._with_learnt(pieces[index], grids[index] if grids is not None else None)
            if len(ids) > self.max_prompt_tokens:
                raise UserError(
                    f"{row.source}: the prompt has {len(ids)} tokens, the limit data.max_prompt_tokens is "
                    f"{self.max_prompt_tokens}. Raise the limit, shrink the image or drop the row."
                )
            grid = grids[index] if grids is not None and images[index] else None
            prompts.append(
                Prompt(
                    source=row.source,
                    question=row.question,
                    input_ids=tuple(ids),
                    engine_ids=tuple(own_engine_ids),
                    positions_3T=rope_positions(
                        ids, self.processor.image_token_id, grid, self.processor.image_processor.merge_size
                    ),
                    images=tuple(images[index]),
                    image_paths=tuple(image.name for image in row.images),
                    pixel_values=pixels[index] if pixels is not None and images[index] else None,
                    image_grid=grid,
                    answer=row.answer,
                    also_right=row.also_right,
                    options=row.options,
                    teacher=row.teacher,
                    learnt=spans,
                )
            )
        return prompts

    def count_tokens(self, rows: Sequence[PromptRow]) -> list[int]:
        """Prompt lengths in tokens, images included, from the images' headers alone. Checks marks and image files."""
        return self.count_outlines([self.outline(row) for row in rows])

    def outline(self, row: PromptRow) -> Outline:
        """What ``count_outlines`` needs of a row. Raises UserError for a bad row."""
        texts, learnt = self._pieces(row)
        return Outline(texts, learnt, sum(self._image_tokens(image) - 1 for image in row.images))

    def count_outlines(self, outlines: Sequence[Outline]) -> list[int]:
        """Prompt lengths, many at a time."""
        texts = [text for outline in outlines for text in outline.texts]
        learnt = [text for outline in outlines for text in outline.learnt]
        own = iter(len(ids) for ids in self._ids(texts))
        further = iter(self.count_response_tokens(learnt))
        return [sum(islice(own, len(o.texts))) + sum(islice(further, len(o.learnt))) + o.image_tokens for o in outlines]

    @property
    def fingerprint(self) -> str:
        """Changes whenever a prompt's length may."""
        parts = (
            self.tokenizer.backend_tokenizer.to_str(), self.processor.chat_template,
            self.processor.image_processor.to_json_string(),
        )  # fmt: skip
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _image_tokens(self, image: ImageFile) -> int:
        width, height = image.size()
        processor = self.processor.image_processor
        return processor.get_number_of_image_patches(height, width, {}) // processor.merge_size**2

    def response_ids(self, text: str) -> tuple[int, ...]:
        """The ids of a response and its end token. A special token spelled in the text stays text."""
        ids = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return (*ids, self.tokenizer.eos_token_id)

    def count_response_tokens(self, texts: Sequence[str]) -> list[int]:
        """Lengths of ``response_ids``, many at a time."""
        if not texts:
            return []
        ids = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [len(row) + 1 for row in ids]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []

    def _pieces(self, row: PromptRow) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The chat text cut at the turns that are learnt, and these: one text more than turns.

        Raises UserError for a bad row, and for a chat template under which a turn is not followed as it was learnt.
        """
        check_marks(row)
        for token in (self.processor.image_token, self.processor.video_token):
            if any(token in message["content"] for message in row.messages):
                raise UserError(
                    f"{row.source}: the text holds the placeholder {token}, which stands for an image that is not there. "
                    f"Mark images with {IMAGE_MARK}, or remove it from the text."
                )
        whole, start, pieces = self._chat_text(row.messages), 0, []
        learnt = tuple(row.messages[index]["content"] for index in row.learnt)
        for index, text in zip(row.learnt, learnt, strict=True):
            before = self._chat_text(row.messages[:index])
            said = f"{before}{text}{self.tokenizer.eos_token}"
            if not whole.startswith(said):
                raise UserError(
                    f"{row.source}: the model's chat template shows earlier turns of the assistant otherwise than it said "
                    f"them, so several cannot be learnt in one row. Say `data.mask_history: true` to learn the last."
                )
            pieces.append(whole[start : len(before)])
            start = len(said)
        return (*pieces, whole[start:]), learnt

    def _chat_text(self, messages: Sequence[dict[str, str]]) -> str:
        turns = [{"role": message["role"], "content": typed_parts(message["content"])} for message in messages]
        return self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)

    def _with_learnt(
        self, pieces: tuple[tuple[str, ...], tuple[str, ...]], grid: torch.Tensor | None
    ) -> tuple[list[int], list[int], tuple[tuple[int, int], ...]]:
        """Ids with one placeholder an image, ids with all of them, and where among the latter the learnt turns are.

        A learnt turn has the ids of ``response_ids``, whatever it spells and follows.
        """
        texts, learnt = pieces
        image_id, merged = self.processor.image_token_id, self.processor.image_processor.merge_size**2
        sizes = iter([] if grid is None else (grid.prod(-1) // merged).tolist())
        short: list[int] = []
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for text_ids, text in zip(self._ids(texts), (*learnt, None), strict=True):
            short += text_ids
            ids += [own for token in text_ids for own in ([token] * next(sizes) if token == image_id else [token])]
            if text is not None:
                said = self.response_ids(text)
                spans.append((len(ids), len(ids) + len(said)))
                short += said
                ids += said
        return short, ids, tuple(spans)

    def _split_pixels(self, batch: Any, images: list[list[Image.Image]]) -> list[torch.Tensor]:
        patches = torch.as_tensor(batch["image_grid_thw"]).prod(-1).tolist()
        sizes, start = [], 0
        for group in images:
            sizes.append(sum(patches[start : start + len(group)]))
            start += len(group)
        return list(torch.as_tensor(batch["pixel_values"]).split(sizes))


def check_marks(row: PromptRow) -> None:
    """Raises UserError if the row has not exactly one ``<image>`` mark for each image."""
    marks = sum(message["content"].count(IMAGE_MARK) for message in row.messages)
    if marks != len(row.images):
        raise UserError(
            f"{row.source}: {marks} {IMAGE_MARK} marks in the messages, but {len(row.images)} images. "
            f"Each image needs exactly one mark."
        )


def typed_parts(content: str) -> str | list[dict[str, str]]:
    """A turn's text cut at its ``<image>`` marks; as it is if it has none.

    >>> typed_parts("<image>Add."), typed_parts("Add.")
    ([{'type': 'image'}, {'type': 'text', 'text': 'Add.'}], 'Add.')
    """
    if IMAGE_MARK not in content:
        return content
    parts: list[dict[str, str]] = []
    for index, text in enumerate(content.split(IMAGE_MARK)):
        if index:
            parts.append({"type": "image"})
        if text:
            parts.append({"type": "text", "text": text})
    return parts


def rope_positions(
    input_ids: Sequence[int], image_token_id: int, grid: torch.Tensor | None, merge_size: int
) -> torch.Tensor:
    """M-RoPE positions (3, T) of a prompt: text advances all three axes by one, an image spans its merged grid.

    After an image of h x w merged patches text goes on at the image's start + max(h, w) (Qwen2-VL, arXiv 2409.12191,
    section 2.1). Equal to transformers' ``get_rope_index`` (tested), without needing the model.
    """
    ids = torch.as_tensor(input_ids)
    pieces: list[torch.Tensor] = []
    position = index = image = 0
    while index < len(ids):
        if ids[index] != image_token_id:
            end = index
            while end < len(ids) and ids[end] != image_token_id:
                end += 1
            pieces.append(torch.arange(position, position + end - index).expand(3, -1))
            position += end - index
            index = end
            continue
        if grid is None or image >= len(grid):
            raise UserError("The prompt holds more image placeholders than images: is an image token typed in a text?")
        frames, height, width = (int(size) for size in grid[image] // torch.tensor([1, merge_size, merge_size]))
        axes = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
        pieces.append(torch.stack(axes).reshape(3, -1) + position)
        position += max(height, width)
        index += frames * height * width
        image += 1
    return torch.cat(pieces, dim=1)
