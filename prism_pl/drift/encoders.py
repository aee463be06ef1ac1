"""Fixed encoders that give every response a point: the base policy's hidden states, or a sentence encoder's.

An encoder reads the response's text alone, without its prompt and image, teacher and policy by the same path. It must be
the same for all that is compared, so it is never the policy under test.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from prism_pl.errors import UserError
from prism_pl.hub import model_folder
from prism_pl.model.attention import attention_of, padded_shape
from prism_pl.model.backbone import hidden_states
from prism_pl.model.packing import make_groups, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.ranges import PositiveInt
from prism_pl.types import Prompt


@dataclass(frozen=True, kw_only=True)
class ResponseEncoder(ABC):
    """Texts to points. The network lives only while it embeds."""

    path: str | None = None
    """A Hugging Face folder or hub name; null is the model that the stage started from, where there is a stage."""

    @abstractmethod
    def embed(self, texts: Sequence[str], base: str | None, device: torch.device) -> torch.Tensor:
        """The texts' points (N, H), fp32 on the CPU. ``base`` stands in for a ``path`` of null.

        Raises UserError if neither is given.
        """

    def source(self, base: str | None) -> str:
        """The network's name."""
        if (name := self.path or base) is None:
            raise UserError(
                f"encoder.path: {type(self).__name__} needs a model here, as there is no stage that started from one. Name "
                f"the base policy, the same for all that you compare."
            )
        return name


@dataclass(frozen=True, kw_only=True)
class HiddenStates(ResponseEncoder):
    """The mean of a policy's last hidden states over the response's tokens, in the precision of its file."""

    max_tokens: PositiveInt = 8192
    """Tokens of a micro-batch."""

    @torch.no_grad()
    def embed(self, texts: Sequence[str], base: str | None, device: torch.device) -> torch.Tensor:
        name = self.source(base)
        tokenizer = AutoTokenizer.from_pretrained(model_folder(name, "encoder.path"))
        policy = Policy.load(name, "encoder.path", as_stored=True).to(device).eval()
        model, width = policy.vlm.model, policy.vlm.config.text_config.hidden_size
        end = tokenizer.eos_token_id
        # A packed segment continues a prompt: here a single token, the one that ends whatever came before.
        start = Prompt("response", "", (end,), (end,), torch.zeros(3, 1, dtype=torch.long))
        ids = [(*tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), end) for text in texts]
        shape = padded_shape(attention_of(model), device, self.max_tokens)
        point_BH = torch.zeros(len(texts), width)
        for groups in micro_batches(make_groups([start] * len(ids), [[own] for own in ids]), self.max_tokens):
            packed = pack(groups, *shape).to(device)
            hidden_NH = hidden_states(model, packed).float()
            in_segment_N = packed.segment_N >= 0
            total_BH = hidden_NH.new_zeros(len(packed.order_B), width)
            total_BH.index_add_(0, packed.segment_N[in_segment_N], hidden_NH[in_segment_N])
            point_BH[packed.order_B.cpu()] = (total_BH / packed.token_mask_BT.sum(1, keepdim=True)).cpu()
        return point_BH


@dataclass(frozen=True, kw_only=True)
class SentenceEncoder(ResponseEncoder):
    """Any text encoder that transformers' AutoModel loads: the mean of its last hidden states over the text's tokens."""

    max_tokens: PositiveInt = 512
    """What lies behind so many tokens of a text is not read."""
    batch_size: PositiveInt = 32
    """Texts that are read at once."""

    @torch.no_grad()
    def embed(self, texts: Sequence[str], base: str | None, device: torch.device) -> torch.Tensor:
        folder = model_folder(self.source(base), "encoder.path")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModel.from_pretrained(folder, use_safetensors=True).to(device).eval()
        parts = [torch.zeros(0, model.config.hidden_size)]
        for start in range(0, len(texts), self.batch_size):
            # An empty text would have no token to take a mean of.
            own = [text or " " for text in texts[start : start + self.batch_size]]
            read = tokenizer(own, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt").to(device)
            mask_BT1 = read["attention_mask"][..., None]
            hidden_BTH = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state.float()
            parts.append(((hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1).clamp_min(1)).cpu())
        return torch.cat(parts)
