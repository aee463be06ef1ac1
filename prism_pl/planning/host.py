"""Memory of the host of a node.

loading:  2 P, mapped pages of the files, shared by a node's ranks; 4 P a network besides that is not sharded
checkpoint:  1.44 (4 P + 8 t), the ranks' copies, pinned and kept; 2 P of the largest network, exported meanwhile
offload:  1.44 (4 P + 4 t) + 8 t + 4 t, weights and gradients pinned, moments, AdamW's step; the copies of a
checkpoint are then not pinned. Inputs of checkpointed layers: 1.44 of them for each rank
"""

from prism_pl.planning.activations import BF16, FP32, layer_inputs
from prism_pl.planning.passes import pass_of, shape_of
from prism_pl.planning.settings import Network, Settings

_GPUS_A_NODE = 8
_PROCESS = 6e9
"""A process with its libraries. Assumed."""
_PINNED = 1.44
"""Torch rounds pinned blocks up to powers of two: 1 / ln 2 is the mean for sizes spread evenly by their logarithm."""


def host_memory(settings: Settings) -> dict[str, float]:
    """Of the node of the first rank, by moment, in bytes."""
    here = min(settings.devices, _GPUS_A_NODE)
    in_process = settings.engine is not None and settings.engine.in_process
    processes = here * _PROCESS * (1 + in_process)
    # Of what is shared out over the ranks.
    share = here * settings.copies / settings.devices
    sizes = [network.architecture.total for network in settings.networks.values()]
    # Sharded, a layer goes from the file's pages to its shares on the GPU; whole, it is made fp32 first.
    loading = sum(BF16 * size + (0 if settings.shards else FP32 * size) for size in sizes)
    states = sum(FP32 * n.architecture.total + 2 * FP32 * n.trained for n in settings.networks.values())
    copies = _PINNED * states * share
    kept = 0.0
    if settings.zero:
        # DeepSpeed is given whole networks in fp32 by every rank.
        loading = sum((BF16 + here * FP32) * size for size in sizes)
    if settings.host_shards:
        copies /= _PINNED
        kept = sum(_host_states(network) for network in settings.networks.values())
        if settings.reference and settings.policy is not None:
            kept += _PINNED * FP32 * settings.policy.architecture.total
        if settings.probe is not None:
            kept += _host_states(settings.probe.network)
        kept *= share
    elif settings.offload:
        trained = sum(n.trained for n in settings.networks.values())
        kept = (4 * FP32 * trained + (FP32 * sum(sizes) if settings.zero == 3 else 0)) * share
    kept += here * sum(_host_inputs(settings, name) for name in settings.networks)
    return {
        "loading": processes + loading + kept,
        "checkpoint": processes + kept + copies + BF16 * max(sizes, default=0),
    }


def _host_states(network: Network) -> float:
    """Of a network whose shards are on the host, all of them together."""
    pinned = _PINNED * FP32 * (network.architecture.total + network.trained)
    return pinned + 3 * FP32 * network.trained


def _host_inputs(settings: Settings, name: str) -> float:
    """Of a rank's layers whose inputs wait on the host."""
    network, own = settings.networks[name], pass_of(settings, on_gpu=True)
    if not (network.offload and network.checkpointing):
        return 0.0
    shape = shape_of(settings, name, own)
    return _PINNED * layer_inputs(network.architecture, shape, own.width, tower=network.tower_learns)
