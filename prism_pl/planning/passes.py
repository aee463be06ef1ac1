"""How a stage's networks go through its largest micro-batch."""

from prism_pl.planning.activations import Pass, Shape, held
from prism_pl.planning.settings import Settings


def pass_of(settings: Settings, *, on_gpu: bool) -> Pass:
    """As the stage's networks compute."""
    return Pass(
        device="cuda" if on_gpu else "cpu",
        width=settings.width,
        shards=settings.gathers,
        ranks=settings.ranks,
        offload=settings.offload,
        likelihood=settings.likelihood,
    )


def shape_of(settings: Settings, network: str, own: Pass) -> Shape:
    """The micro-batch of an update that holds most: of the longest sequences, or of those of mean length."""
    work = settings.workload

    def shape(prompt: int, response: int) -> Shape:
        policy = network == "policy"
        segment, count = (response, settings.group_size) if policy else (max(1, response // 2), settings.segments)
        padded = own.device == "cuda"
        return Shape.of(settings.max_tokens, prompt, segment, count, work.image_share, learnt=policy, padded=padded)

    full, mean = shape(settings.max_prompt, settings.max_new), shape(work.prompt_tokens, work.response_tokens)
    arch = settings.networks[network].architecture
    return max(full, mean, key=lambda s: held(arch, s, own, checkpointing=True).inside)
