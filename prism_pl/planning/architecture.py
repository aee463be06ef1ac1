"""Parameters of a Qwen3-VL by part, from its config.json alone.

    text layer      H(2 A D + 2 K D) + 2 H + 2 D + feed-forward;     dense: 3 H I;     mixture: E (3 H I + H)
    vision block    4 h^2 + 2 h i + 9 h + i
    merger          (m^2 h)^2 + m^2 h O + m^2 h + O + its norm, one at the top and one a deepstack feature

H, I, A, K, D: width, feed-forward width, heads, key-value heads and head width of the language model; E experts; h, i: the
vision tower's widths, m its merge size, O = H. Equal to transformers' classes on the meta device (tested).
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes that memory and work depend on."""

    vocabulary: int
    hidden: int
    inner: int
    """Feed-forward width, of one expert in a mixture."""
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    """The head is the embedding."""
    vision_hidden: int
    vision_inner: int
    vision_layers: int
    patch_inputs: int
    """Numbers a patch."""
    positions: int
    merge: int
    deepstack: int
    """Features that the tower hands to the first layers."""
    experts: int = 0
    """0 in a dense model."""
    top_k: int = 0
    score_heads: int = 0
    """Of a discriminator, which has no head over the vocabulary; 0 in a policy."""

    @classmethod
    def of(cls, config: PreTrainedConfig, score_heads: int = 0) -> "Architecture":
        """From a ``qwen3_vl`` or ``qwen3_vl_moe`` configuration."""
        text: Any = config.text_config
        vision: Any = config.vision_config
        mixture = config.model_type == "qwen3_vl_moe"
        return cls(
            vocabulary=text.vocab_size,
            hidden=text.hidden_size,
            inner=text.moe_intermediate_size if mixture else text.intermediate_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            tied=bool(config.tie_word_embeddings),
            vision_hidden=vision.hidden_size,
            vision_inner=vision.intermediate_size,
            vision_layers=vision.depth,
            patch_inputs=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
            positions=vision.num_position_embeddings,
            merge=vision.spatial_merge_size,
            deepstack=len(vision.deepstack_visual_indexes),
            experts=text.num_experts if mixture else 0,
            top_k=text.num_experts_per_tok if mixture else 0,
            score_heads=score_heads,
        )

    @property
    def query(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Width of all key heads together."""
        return self.kv_heads * self.head_dim

    @property
    def attention(self) -> int:
        """Weights of a layer's projections."""
        return self.hidden * (2 * self.query + 2 * self.key)

    @property
    def feed_forward(self) -> int:
        """Weights of a layer's feed-forward part, router included."""
        own = 3 * self.hidden * self.inner
        return self.experts * (own + self.hidden) if self.experts else own

    @property
    def layer(self) -> int:
        """Parameters of a text layer."""
        return self.attention + self.feed_forward + 2 * self.hidden + 2 * self.head_dim

    @property
    def vision_block(self) -> int:
        """Parameters of a block of the vision tower."""
        h, i = self.vision_hidden, self.vision_inner
        return 4 * h * h + 2 * h * i + 9 * h + i

    @property
    def merger(self) -> int:
        """Parameters of all projectors, deepstack's included."""
        wide = self.merge**2 * self.vision_hidden
        one = wide * wide + wide + wide * self.hidden + self.hidden
        return (1 + self.deepstack) * one + 2 * self.vision_hidden + self.deepstack * 2 * wide

    @property
    def vision_rest(self) -> int:
        """Patch and position embeddings."""
        return (self.patch_inputs + 1 + self.positions) * self.vision_hidden

    @property
    def embedding(self) -> int:
        """Of tokens."""
        return self.vocabulary * self.hidden

    @property
    def head(self) -> int:
        """Weights of the head that are not the embedding's."""
        if self.score_heads:
            return self.score_heads * self.hidden
        return 0 if self.tied else self.embedding

    @property
    def root(self) -> int:
        """Parameters outside layers and blocks, which FSDP gathers as one unit and keeps."""
        return self.embedding + self.head + self.hidden + self.merger + self.vision_rest

    @property
    def language_model(self) -> int:
        """Embedding, layers, norm and head."""
        return self.embedding + self.layers * self.layer + self.hidden + self.head

    @property
    def vision_tower(self) -> int:
        """Without its projectors."""
        return self.vision_layers * self.vision_block + self.vision_rest

    @property
    def total(self) -> int:
        """All parameters."""
        return self.language_model + self.vision_tower + self.merger

    @property
    def active_layer(self) -> int:
        """Weights of a layer that a token is multiplied with."""
        if not self.experts:
            return self.attention + self.feed_forward
        return self.attention + self.top_k * 3 * self.hidden * self.inner + self.experts * self.hidden

    def lora(self, rank: int, targets: tuple[str, ...]) -> int:
        """Parameters of adapters of this rank on the linear layers of these names; a mixture's experts have none."""
        h, q, k, i = self.hidden, self.query, self.key, self.inner
        shapes = {"q_proj": h + q, "k_proj": h + k, "v_proj": h + k, "o_proj": q + h}
        if not self.experts:
            shapes |= {"gate_proj": h + i, "up_proj": h + i, "down_proj": i + h}
        return self.layers * rank * sum(shapes.get(target, 0) for target in targets)
