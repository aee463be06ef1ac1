"""A plan as text: the table of the command, the line of a run's start, a row of docs/scaling.md."""

from collections.abc import Iterable

from prism_pl.planning import work as assumptions
from prism_pl.planning.memory import CONTEXT, ENGINE_ASLEEP, ENGINE_WORK, FRAGMENTATION, Plan
from prism_pl.planning.remedies import Remedy
from prism_pl.planning.work import Work

_GIGA = 1e9


def line(plan: Plan) -> str:
    """What the plan comes to, for a run's start."""
    peak = plan.peak
    room = "" if plan.memory is None else f" of {plan.memory / _GIGA:.1f}"
    return (
        f"plan: {peak.total / _GIGA:.1f}{room} GB a GPU at the peak ({peak.name}), {plan.settings.devices} GPUs; "
        f"host {max(plan.host.values()) / _GIGA:.0f} GB"
    )


def memory_table(plan: Plan) -> list[str]:
    """Parts down, phases across, in GB (10^9 bytes) a GPU."""
    names = list(dict.fromkeys(name for phase in plan.phases for name in phase.parts))
    width = max(len(name) for name in [*names, "sum"])
    columns = [max(len(phase.name), 6) for phase in plan.phases]
    rows = [["GB a GPU", *(phase.name for phase in plan.phases)]]
    rows += [[name, *(_gb(phase.parts.get(name)) for phase in plan.phases)] for name in names]
    rows.append(["sum", *(_gb(phase.total) for phase in plan.phases)])
    return [
        "  ".join([row[0].ljust(width), *(cell.rjust(column) for cell, column in zip(row[1:], columns, strict=True))])
        for row in rows
    ]


def work_table(work: Work) -> list[str]:
    """Tokens, FLOPs and seconds by phase."""
    lines = [f"{'a step':<22}{'tokens':>12}{'TFLOP':>10}{'seconds':>10}"]
    for name in work.seconds:
        tokens = f"{work.tokens[name]:,.0f}" if name in work.tokens else ""
        flops = f"{work.flops[name] / 1e12:,.0f}" if name in work.flops else ""
        lines.append(f"{name:<22}{tokens:>12}{flops:>10}{work.seconds[name]:>10.1f}")
    return [*lines, f"{'step':<22}{'':>12}{sum(work.flops.values()) / 1e12:>10,.0f}{work.step:>10.1f}"]


def report(plan: Plan, work: Work, device: str, remedy: Remedy | None) -> str:
    """All that the command prints of one stage."""
    settings, load = plan.settings, plan.settings.workload
    parts = [f"{name} {network.architecture.total / _GIGA:.2f} B" for name, network in settings.networks.items()]
    lines = [
        f"{settings.stage}: {', '.join(parts)} parameters, {settings.devices} x {device}, "
        f"micro-batches of {settings.max_tokens:,} tokens",
        "",
        *memory_table(plan),
        "",
        *host_lines(plan),
    ]
    if plan.kv_tokens is not None:
        lines.append(
            f"engine: keys and values of {max(plan.kv_tokens, 0):,.0f} tokens, {max(plan.kv_sequences or 0, 0):.1f} "
            f"sequences of full length at once"
        )
    lines += ["", *work_table(work), "", verdict(plan, remedy), ""]
    lines.append(
        f"Assumed: prompts of {load.prompt_tokens:,} tokens, {load.image_share:.0%} of them of images, responses of "
        f"{load.response_tokens:,}, the longest {assumptions.TAIL:g} times that; {assumptions.SHARE_OF_FLOPS:.0%} of peak "
        f"FLOPs, {assumptions.SHARE_OF_BANDWIDTH:.0%} of the memory's bandwidth, {assumptions.SHARE_OF_LINK:.0%} of the "
        f"link's, {assumptions.DECODE_OVERHEAD * 1e3:g} ms a decoding step, {assumptions.DISK / _GIGA:g} GB/s to disk, "
        f"{assumptions.HOST_LINK / _GIGA:g} GB/s between GPU and host, {assumptions.HOST_BANDWIDTH / _GIGA:g} GB/s of the "
        f"host's memory; "
        f"{CONTEXT / _GIGA:g} GB of context and {FRAGMENTATION:.0%} of fragmentation a GPU, {ENGINE_WORK / _GIGA:g} GB of "
        f"a vLLM's work and {ENGINE_ASLEEP / _GIGA:g} GB that it keeps asleep. None of it is measured."
    )
    return "\n".join(lines)


def host_lines(plan: Plan) -> list[str]:
    """Of a node."""
    return ["host, a node: " + ", ".join(f"{name} {size / _GIGA:,.0f} GB" for name, size in plan.host.items())]


def verdict(plan: Plan, remedy: Remedy | None) -> str:
    """Whether it fits, and if not why and what would."""
    if plan.fits:
        spare = "" if plan.memory is None else f", {(plan.memory - plan.peak.total) / _GIGA:.1f} GB are left at the peak"
        return f"It fits{spare} ({plan.peak.name})."
    return f"It does not fit: {'; '.join(plan.problems)}. {cure(remedy)}"


def cure(remedy: Remedy | None) -> str:
    """The nearest setting that fits, in words."""
    if remedy is None:
        return "Nothing that was tried makes it fit: take a smaller model, more devices or GPUs with more memory."
    return (
        f"The nearest setting that fits: {', '.join(remedy.changes)} ({remedy.plan.peak.total / _GIGA:.1f} GB at the peak)."
    )


HEADER = (
    "| configuration | GPUs | states | gathers | activations, logits | engine | other | peak | in | host | s a step |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)


def row(name: str, plan: Plan, work: Work) -> str:
    """A row of docs/scaling.md: the phase that holds most, and the step."""
    peak = plan.peak
    groups = (
        ("weights", "gradients", "moments", "states"), ("gathers",), ("activations", "logits"), ("engine", "keys"),
        ("context",),
    )  # fmt: skip
    sums = [_sum(peak.parts.items(), own) / _GIGA for own in groups]
    cells = [f"{value:.1f}" for value in sums]
    host = max(plan.host.values()) / _GIGA
    return (
        f"| {name} | {plan.settings.devices} | {' | '.join(cells)} | {peak.total / _GIGA:.1f} | {peak.name} | {host:.0f} | "
        f"{work.step:.0f} |"
    )


def _sum(parts: Iterable[tuple[str, float]], words: tuple[str, ...]) -> float:
    engine = words[0] == "engine"
    return sum(size for name, size in parts if any(word in name for word in words) and (engine or "engine" not in name))


def _gb(size: float | None) -> str:
    return "" if size is None else f"{size / _GIGA:.1f}"
