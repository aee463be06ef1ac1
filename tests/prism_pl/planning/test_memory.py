"""Memory and work by hand, for a model of round sizes."""

from dataclasses import replace

import pytest

from benchmarks.plan_peaks import row
from prism_pl.planning import DEVICES, Architecture, Settings, Workload, make_plan, make_work, nearest_fit, parse_bytes
from prism_pl.planning.activations import Pass, Shape, held
from prism_pl.planning.memory import CONTEXT, ENGINE_WORK, FRAGMENTATION, Plan, kv_bytes, update_parts
from prism_pl.planning.names import family_config
from prism_pl.planning.settings import EngineSettings, Network, ProbeSettings, _engine, copies_of, zero_of
from prism_pl.planning.work import forward_flops, kept_flops

ARCH = Architecture.of(family_config("4B"))
POLICY = Network(architecture=ARCH, trained=ARCH.total, checkpointing=True)
SETTINGS = Settings(
    stage="RLVRModule", devices=8, shards=True, bf16=True, policy=POLICY, reference=False, discriminator=None,
    engine=EngineSettings(share=0.5, sleeps=False, max_num_seqs=256), engine_policy=ARCH, engine_beside=True, probe=None,
    batch_size=32, group_size=16, segments=34, max_prompt=2048, max_new=8192, max_tokens=10240,
    workload=Workload(prompt_tokens=1024, response_tokens=2048),
)  # fmt: skip

GPU = Pass(device="cuda", width=2, shards=True, ranks=8)


def parts(plan: Plan, phase: str) -> dict[str, float]:
    (found,) = (one.parts for one in plan.phases if one.name == phase)
    return found


def test_states_are_sixteen_bytes_a_parameter_over_the_ranks() -> None:
    held = parts(make_plan(SETTINGS, 80e9), "policy update")
    share = ARCH.total / 8
    assert (held["policy weights"], held["policy gradients"], held["policy moments"]) == (4 * share, 4 * share, 8 * share)
    # Gradients are there while their network learns alone.
    assert "policy gradients" not in parts(make_plan(SETTINGS, 80e9), "rollout")
    frozen = replace(SETTINGS, policy=replace(POLICY, trained=ARCH.total // 2))
    assert parts(make_plan(frozen, 80e9), "policy update")["policy moments"] == 8 * (ARCH.total // 2) / 8


def test_hybrid_shards_are_those_of_a_node() -> None:
    """Eight GPUs on two nodes: each has a quarter."""
    two = replace(SETTINGS, copies=2)
    plan = make_plan(two, 80e9)
    held, share = parts(plan, "policy update"), ARCH.total / 4
    assert (held["policy weights"], held["policy gradients"], held["policy moments"]) == (4 * share, 4 * share, 8 * share)
    # Four GPUs on two nodes have half each, 35 GB; between that and a quarter only shards over all of them fit.
    four = replace(SETTINGS, devices=4, copies=2, engine=None, batch_size=4)
    peaks = [make_plan(settings, 80e9).peak.total for settings in (four, replace(four, copies=1))]
    assert peaks[0] - peaks[1] > 17e9
    assert nearest_fit(four, sum(peaks) / 2).changes == ("--trainer.strategy fsdp2",)
    by_name = {"strategy": "fsdp2_hybrid", "num_nodes": 2}
    by_class = {"strategy": {"class_path": "FSDP2Strategy", "init_args": {"hybrid": True}}, "num_nodes": 4}
    assert [copies_of(trainer) for trainer in (by_name, by_class, {"strategy": "fsdp2", "num_nodes": 2})] == [2, 4, 1]


def test_deepspeeds_states_by_stage_and_offload() -> None:
    total, share = ARCH.total, ARCH.total / 8
    fp32 = replace(SETTINGS, bf16=False)
    two = parts(make_plan(replace(fp32, zero=2), 80e9), "policy update")
    assert two["policy weights"] == 4 * total
    assert two["policy gradients"] == two["policy fp32 weights"] == 4 * share
    assert two["policy moments"] == 8 * share
    assert two["policy gathers, buckets"] == 4 * 500e6
    three = parts(make_plan(replace(fp32, zero=3), 80e9), "policy update")
    assert (three["policy weights"], three["policy gradients"], three["policy moments"]) == (
        4 * share,
        4 * share,
        8 * share,
    )
    assert three["policy gathers, buckets"] == 4 * 1500e6
    for stage, weights in ((2, 4 * total), (3, 0)):
        plan = make_plan(replace(fp32, zero=stage, offload=True), 80e9)
        own = parts(plan, "policy update")
        assert own["policy weights"] == weights
        assert own["policy gradients"] == own["policy moments"] == 0
        # Weights, gradients and two moments in fp32, in stage 3 the weights once more.
        kept = plan.host["checkpoint"] - make_plan(replace(fp32, zero=stage), 80e9).host["checkpoint"]
        assert kept == pytest.approx((16 if stage == 2 else 20) * total)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("deepspeed_stage_2", (2, False)),
        ("deepspeed_stage_3_offload", (3, True)),
        ({"class_path": "modules.ZeroStrategy", "init_args": {"stage": 2, "offload": True}}, (2, True)),
        ({"class_path": "modules.ZeroStrategy"}, (3, False)),
        ("fsdp2", (0, False)),
        ("fsdp2_offload", (0, True)),
        ({"class_path": "modules.FSDP2Strategy", "init_args": {"offload": True}}, (0, True)),
        ({"class_path": "modules.FSDP2Strategy", "init_args": {"offload": False}}, (0, False)),
        (None, (0, False)),
    ],
)
def test_the_stage_of_deepspeed_is_read_from_the_strategy(strategy: object, expected: tuple[int, bool]) -> None:
    assert zero_of({"strategy": strategy}) == expected


def test_shards_on_the_host_leave_a_gpu_what_is_gathered() -> None:
    total, share = ARCH.total, ARCH.total / 8
    settings = replace(SETTINGS, reference=True)
    kept, moved = make_plan(settings, 80e9), make_plan(replace(settings, offload=True), 80e9)
    own = parts(moved, "policy update")
    states = [own[f"policy {part}"] for part in ("weights", "gradients", "moments")]
    assert [*states, own["reference weights"]] == [0, 0, 0, 0]
    # A layer's fp32 shards on their way, beside what is gathered.
    assert own["gathers"] - parts(kept, "policy update")["gathers"] == pytest.approx(4 * ARCH.layer / 8)
    assert parts(kept, "policy update")["reference weights"] == 4 * share
    # Pinned: weights, gradients and the reference; not: moments and a step's own. A checkpoint's copies no longer are.
    assert moved.host["loading"] - kept.host["loading"] == pytest.approx((1.44 * 12 + 12) * total)
    assert moved.host["checkpoint"] - moved.host["loading"] == pytest.approx(12 * total)
    # AdamW steps on the host.
    small = Shape(tokens=0, targets=0, images=0)
    assert "optimizer's step" not in update_parts(POLICY, small, replace(GPU, ranks=2, offload=True))


def test_a_probe_s_states_are_on_the_host_as_the_others_are() -> None:
    small = Architecture.of(family_config("2B"))
    probe = ProbeSettings(network=Network(architecture=small, trained=small.total, checkpointing=True), max_tokens=8192)
    without, beside = (make_plan(replace(SETTINGS, offload=True, probe=own), 80e9) for own in (None, probe))
    assert parts(beside, "convergence probe")["probe's states"] == 0
    assert beside.host["loading"] - without.host["loading"] == pytest.approx((1.44 * 8 + 12) * small.total)


def test_inputs_on_the_host_leave_two_on_the_gpu() -> None:
    # 36 layers of 2560 numbers of 2 bytes; 10 tokens.
    shape = Shape(tokens=10, targets=0, images=0)
    kept = held(ARCH, shape, GPU, checkpointing=True)
    moved = held(ARCH, shape, GPU, checkpointing=True, offload=True)
    assert kept.inside - moved.inside == kept.at_head - moved.at_head == (36 - 2) * 2 * 2560 * 10
    # Without checkpointing nobody keeps them; a CPU has nowhere else to put them.
    assert held(ARCH, shape, GPU, checkpointing=False, offload=True) == held(ARCH, shape, GPU, checkpointing=False)
    cpu = replace(GPU, device="cpu")
    assert held(ARCH, shape, cpu, checkpointing=True, offload=True) == held(ARCH, shape, cpu, checkpointing=True)
    # Those of the longest sequences, of text and of 1,024 tokens of images (four patches each), for eight ranks.
    without, beside = (
        make_plan(replace(SETTINGS, policy=replace(POLICY, offload=offload)), 80e9) for offload in (False, True)
    )
    patches = 4 * 1024 * ARCH.vision_layers * ARCH.vision_hidden
    inputs = 2 * (36 * 2560 * 10_240 + patches)
    assert beside.host["loading"] - without.host["loading"] == pytest.approx(8 * 1.44 * inputs)


def test_a_step_with_shards_on_the_host_takes_as_long_as_fetching_them() -> None:
    slow = make_work(make_plan(replace(SETTINGS, offload=True, batch_size=8, max_new=64, workload=Workload(
        prompt_tokens=1024, response_tokens=16)), 80e9), DEVICES["H100"])  # fmt: skip
    # One micro-batch a rank: weights come twice and gradients go once, at 20 GB/s; the host reads and writes 40 bytes a
    # weight for a step, at 0.6 of 20 GB/s.
    fetched, stepped = 3 * 4 * ARCH.total / 8 / 2e10, 40 * ARCH.total / 8 / (0.6 * 2e10)
    assert slow.seconds["policy update"] == pytest.approx(fetched + stepped)


def test_the_engine_takes_its_share_and_keeps_what_weights_leave() -> None:
    plan = make_plan(SETTINGS, 80e9)
    own = parts(plan, "rollout")
    assert own["engine weights"] + own["engine work"] + own["keys and values"] == pytest.approx(40e9)
    # 36 layers of 8 heads of 128 for keys and values, 2 bytes each.
    assert kv_bytes(ARCH) == 2 * 36 * 8 * 128 * 2 == 147_456
    assert plan.kv_tokens == pytest.approx((40e9 - 2 * ARCH.total - ENGINE_WORK) / 147_456)
    assert plan.kv_sequences == pytest.approx(plan.kv_tokens / 10_240)


def test_a_sleeping_engine_leaves_the_update_all_but_a_little() -> None:
    awake = parts(make_plan(SETTINGS, 80e9), "policy update")
    asleep = parts(make_plan(replace(SETTINGS, engine=replace(SETTINGS.engine, sleeps=True)), 80e9), "policy update")
    assert sum(awake.values()) - sum(asleep.values()) == pytest.approx(38e9)


def test_overhead_is_a_context_and_a_share_of_what_the_trainer_holds() -> None:
    own = parts(make_plan(SETTINGS, 80e9), "policy update")
    trainer = sum(size for name, size in own.items() if name.startswith(("policy", "gathers", "activations", "logits")))
    assert own["context, fragmentation"] == pytest.approx(CONTEXT + FRAGMENTATION * trainer)


def test_saved_activations_of_a_layer_by_hand() -> None:
    # H 2560, Q 4096, K 1024, I 9728, 32 heads and 8 of keys; 10 tokens.
    shape = Shape(tokens=10, targets=0, images=0)
    saved = 16 * 2560 + 10 * 4096 + 10 * 1024 + 8 * 9728 + 4 * (2 * 32 + 8 + 2)
    passing = 2 * (2 * 2560 + 2 * 9728)
    inputs = 36 * 2 * 2560
    assert held(ARCH, shape, GPU, checkpointing=True).inside == 10 * (inputs + saved + passing)
    assert held(ARCH, shape, GPU, checkpointing=False).inside == 10 * (36 * saved + passing)
    saved = 4 * (6 * 2560 + 4 * 4096 + 4 * 1024 + 4 * 9728 + 2 * 32 + 8 + 2)
    exact = replace(GPU, width=4)
    assert held(ARCH, shape, exact, checkpointing=False).inside == 10 * (36 * saved + 2 * passing)


def test_a_head_holds_a_tile_and_its_gradient() -> None:
    shape = Shape(tokens=2048, targets=1024, images=0)
    # 2^27 logits in fp32 and rounded; the CPU's 2^19 twice in fp32.
    assert held(ARCH, shape, GPU, checkpointing=True).logits == (4 + 2) * 2**27
    cpu = replace(GPU, device="cpu", width=4)
    assert held(ARCH, shape, cpu, checkpointing=True).logits == 8 * 2**19
    few = replace(shape, targets=3)
    assert held(ARCH, few, cpu, checkpointing=True).logits == 8 * 3 * 151_936


def test_a_likelihood_holds_whole_vocabularies_of_some_tokens_and_the_head_s_gradient_in_fp32() -> None:
    shape = Shape(tokens=4096, targets=4096, images=0)
    likelihood = replace(GPU, likelihood=True)
    # 2^28 logits are 1,766 tokens of 151,936 words; a tile of 2^27 has 76,000 of these words, whose gradient is summed up.
    logits = 4 * 1766 * 151_936 + 2 * 2**27 + 4 * 2560 * 76_000
    assert held(ARCH, shape, likelihood, checkpointing=True).logits == logits
    own = update_parts(POLICY, shape, likelihood)
    assert own["logits"] == logits
    assert own["gathers"] == 2 * ARCH.root + 4 * 151_936 * 2560


def test_micro_batches_repeat_a_prompt_for_what_does_not_fit() -> None:
    # Two of the four segments fit beside the prompt.
    shape = Shape.of(3000, 1000, 1000, 4, 0.5, learnt=True, padded=False)
    assert (shape.tokens, shape.targets, shape.images) == (3000, 2000, 500)
    assert Shape.of(2000, 1000, 1000, 4, 0.5, learnt=True, padded=False).tokens == 2000
    # FlexAttention's: up to the limit, in blocks of 128.
    assert Shape.of(3500, 1000, 1000, 4, 0.5, learnt=True, padded=True).tokens == 28 * 128


def test_a_step_over_shares_holds_another_four_bytes_a_weight_of_them() -> None:
    small = Shape(tokens=0, targets=0, images=0)
    lone = replace(GPU, shards=False, ranks=1)
    assert update_parts(POLICY, small, lone) == {"optimizer's step": 4 * ARCH.total}
    # Of half the weights the step holds more than all gathers.
    assert update_parts(POLICY, small, replace(GPU, ranks=2)) == {"optimizer's step": 4 * ARCH.total / 2}


def test_a_host_holds_pages_of_files_then_every_rank_s_copy_and_an_export() -> None:
    host, processes = make_plan(SETTINGS, 80e9).host, 8 * 6e9
    assert host["loading"] == processes + 2 * ARCH.total
    assert host["checkpoint"] == pytest.approx(processes + 1.44 * 12 * ARCH.total + 2 * ARCH.total)
    two_nodes = make_plan(replace(SETTINGS, devices=16), 80e9).host
    assert two_nodes["checkpoint"] == pytest.approx(processes + 1.44 * 6 * ARCH.total + 2 * ARCH.total)
    alone = make_plan(replace(SETTINGS, devices=1, shards=False), 80e9).host
    assert alone["loading"] == 6e9 + 6 * ARCH.total


def test_flops_are_two_a_weight_and_token() -> None:
    layers = 36 * (2560 * (2 * 4096 + 2 * 1024) + 3 * 2560 * 9728)
    assert forward_flops(ARCH, 7, 0, 0, 3) == 2 * layers * 7 + 2 * 151_936 * 2560 * 3
    assert forward_flops(ARCH, 7, 100, 0, 0) - forward_flops(ARCH, 7, 0, 0, 0) == 4 * 36 * 4096 * 100 * 7


def test_a_step_counts_every_token_and_scales_with_devices() -> None:
    work = make_work(make_plan(SETTINGS, 80e9), DEVICES["H100"])
    assert work.tokens["rollout"] == 32 * 16 * 2048
    # Four of the sixteen responses fit beside a prompt in 10,240 tokens: four copies of each prompt.
    assert work.tokens["policy update"] == 32 * (4 * 1024 + 16 * 2048)
    assert work.step == pytest.approx(sum(work.seconds[name] for name in ("rollout", "policy update", "sync")))
    doubled = make_work(make_plan(replace(SETTINGS, devices=16), 80e9), DEVICES["H100"])
    assert doubled.seconds["policy update"] == pytest.approx(work.seconds["policy update"] / 2, rel=0.02)


def test_what_does_not_fit_gets_the_fewest_changes_that_do() -> None:
    assert nearest_fit(SETTINGS, 80e9).plan.fits
    tight = replace(SETTINGS, engine=replace(SETTINGS.engine, share=0.9))
    plan = make_plan(tight, 80e9)
    assert not plan.fits
    assert any(problem.startswith("policy update needs") for problem in plan.problems)
    remedy = nearest_fit(tight, 80e9)
    assert remedy.plan.fits
    (change,) = remedy.changes
    assert change.startswith(("RolloutCallback.engine", "--"))


def test_the_host_is_suggested_where_it_makes_a_stage_fit() -> None:
    """Two GPUs, no engine, prompts that two of cannot be halved among more: states of 16 bytes a weight are over 50 GB."""
    alone = replace(SETTINGS, devices=2, engine=None, batch_size=2, max_tokens=10_240)
    remedy = nearest_fit(alone, 45e9)
    assert remedy.changes == ("--trainer.strategy fsdp2_offload",)
    assert remedy.plan.settings.offload
    # Inputs of 36 layers are 1.9 GB and more: without them it just fits.
    peak = make_plan(SETTINGS, 80e9).peak.total
    remedy = nearest_fit(replace(SETTINGS, engine=None, batch_size=8), peak - 40e9 - 0.5e9)
    assert remedy.changes == ("--model.policy.offload_activations true",)
    # Two changes of one network do not overwrite each other.
    plain = replace(SETTINGS, policy=replace(POLICY, checkpointing=False), engine=None, batch_size=8)
    remedy = nearest_fit(plain, 14e9)
    assert {"--model.policy.gradient_checkpointing true"} < set(remedy.changes)
    assert remedy.plan.settings.policy.checkpointing


def test_what_checkpointing_computes_again_is_all_but_each_layer_s_last_product() -> None:
    assert kept_flops(ARCH, 7, 0) == 2 * 36 * 9728 * 2560 * 7
    # Of an image's token four patches go through the tower.
    assert kept_flops(ARCH, 0, 3) == 2 * ARCH.vision_layers * ARCH.vision_inner * ARCH.vision_hidden * 12


def test_an_engine_in_a_process_of_its_own_has_a_copy_of_the_weights_beside_the_trainer() -> None:
    inner = {"class_path": "VLLMEngine", "init_args": {"gpu_memory_utilization": 0.3}}
    wrapped = {"class_path": "prism_pl.engines.ProcessEngine", "init_args": {"engine": inner}}
    own = EngineSettings(share=0.3, sleeps=False, max_num_seqs=256)
    assert _engine(inner) == own
    assert _engine(wrapped) == replace(own, in_process=True)
    wrapped["init_args"]["devices"] = [1]
    assert _engine(wrapped) == replace(own, in_process=True, elsewhere=True)

    here, beside, elsewhere = (
        make_plan(replace(SETTINGS, engine=engine), 80e9)
        for engine in (own, replace(own, in_process=True), replace(own, in_process=True, elsewhere=True))
    )
    for phase in ("rollout", "policy update", "sync"):
        without, copied, away = parts(here, phase), parts(beside, phase), parts(elsewhere, phase)
        # 4 bytes for each of the trainer's weights, whole.
        assert copied == without | {"engine's copy": 4 * ARCH.total}
        assert {name for name in away if name.startswith(("engine", "keys"))} == {"engine's copy"}
    # The rollout is hidden behind the rest only where it is asked for ahead, and has GPUs of its own.
    elsewhere_ahead = replace(elsewhere, settings=replace(elsewhere.settings, overlap=1))
    beside_ahead = replace(beside, settings=replace(beside.settings, overlap=1))
    in_turn, hidden, shared = (make_work(plan, DEVICES["H100"]) for plan in (elsewhere, elsewhere_ahead, beside_ahead))
    training = sum(in_turn.seconds[name] for name in ("policy update", "sync"))
    assert in_turn.step == shared.step == in_turn.seconds["rollout"] + training
    assert hidden.step == max(in_turn.seconds["rollout"], training) < in_turn.step
    # Where the engine is its keys and values have as much room as beside a trainer.
    assert elsewhere.kv_tokens == here.kv_tokens
    assert beside.host["loading"] - here.host["loading"] == SETTINGS.devices * 6e9


def test_servers_need_nothing_of_the_trainers_gpus() -> None:
    assert _engine({"class_path": "prism_pl.engines.VLLMServerEngine", "init_args": {"num_servers": 2}}) is None


def test_an_engine_without_room_for_a_longest_sequence_is_refused() -> None:
    plan = make_plan(replace(SETTINGS, engine=replace(SETTINGS.engine, share=0.14)), 80e9)
    assert plan.kv_sequences < 1
    assert "a longest sequence 10,240" in plan.problems[0]


def test_a_probe_s_discriminator_is_shared_out_as_the_others_are() -> None:
    small = Architecture.of(family_config("2B"))
    network = Network(architecture=small, trained=small.total, checkpointing=True)
    probe = ProbeSettings(network=network, max_tokens=8192)
    shared = parts(make_plan(replace(SETTINGS, probe=probe), 80e9), "convergence probe")
    assert shared["probe's states"] == 2 * small.total
    alone = parts(make_plan(replace(SETTINGS, probe=probe, devices=1, shards=False), 80e9), "convergence probe")
    assert alone["probe's states"] == 16 * small.total
    assert alone["optimizer's step"] == 4 * small.total


def test_sizes_of_memory_are_read_with_their_units() -> None:
    assert parse_bytes("80GB", "key") == 80e9
    assert parse_bytes("79.6 GiB", "key") == 79.6 * 2**30


@pytest.mark.parametrize("kind", ["policy", "discriminator, checkpointing"])
def test_the_plan_is_within_fifteen_per_cent_of_a_process_s_peak(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    planned, measured = row("tiny", kind)
    assert planned == pytest.approx(measured, rel=0.15)
