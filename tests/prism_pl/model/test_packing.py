"""The packed layout against the plain one: one sequence a forward call of transformers' own model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_pl.model.backbone import hidden_states
from prism_pl.model.packing import Group, by_index, make_groups, micro_batches, nonfinite_segments, pack
from prism_pl.model.policy import Policy
from prism_pl.model.shared_prefix import Part, make_layout
from prism_pl.types import Prompt
from tests.plain_forward import plain_hidden, plain_logprobs, random_segments


def gradients(policy: Policy) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad(set_to_none=True)
    return found


def assert_same_gradients(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """Relative to each parameter's own gradient; the key bias has a gradient of exactly 0, where only noise is left."""
    assert actual.keys() == expected.keys()
    scale = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        error = float((actual[name] - gradient).norm())
        assert error <= tolerance * max(float(gradient.norm()), 1e-4 * scale), name


@pytest.mark.parametrize("group_size", [1, 3, 16])
def test_log_probabilities_equal_plain_forward(lively_policy: Policy, mixed_prompts: list[Prompt], group_size: int) -> None:
    segments = random_segments(len(mixed_prompts), group_size)
    packed = pack(make_groups(mixed_prompts, segments))
    with torch.no_grad():
        logp_BT, _ = lively_policy(packed)
        rows = by_index(logp_BT, packed)
        pairs = [(prompt, segment) for prompt, own in zip(mixed_prompts, segments, strict=True) for segment in own]
        assert len(rows) == len(pairs) == len(mixed_prompts) * group_size
        for index, (prompt, segment) in enumerate(pairs):
            torch.testing.assert_close(rows[index], plain_logprobs(lively_policy, prompt, segment), atol=1e-5, rtol=1e-5)


def test_log_probabilities_without_any_image(lively_policy: Policy, mixed_prompts: list[Prompt]) -> None:
    text_only = mixed_prompts[3]
    assert text_only.pixel_values is None
    packed = pack(make_groups([text_only], [[(5, 6, 7), (8,)]]))
    assert packed.pixel_values is None
    with torch.no_grad():
        logp_BT, _ = lively_policy(packed)
        expected = [plain_logprobs(lively_policy, text_only, segment) for segment in ((5, 6, 7), (8,))]
    torch.testing.assert_close(logp_BT[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logp_BT[1, :1], expected[1], atol=1e-5, rtol=1e-5)
    assert logp_BT[1, 1:].tolist() == [0.0, 0.0]


def test_log_probabilities_under_temperature(lively_policy: Policy, prompts: list[Prompt]) -> None:
    packed = pack(make_groups(prompts[:1], [[(5, 6, 7)]]))
    with torch.no_grad():
        hot, _ = lively_policy(packed, 0.5)
        torch.testing.assert_close(
            hot[0], plain_logprobs(lively_policy, prompts[0], (5, 6, 7), temperature=0.5), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("sizes", [[1], [40], [1] * 16, [40] * 16, [1, 40, 3, 1, 17] * 3 + [40]])
def test_hidden_states_equal_plain_forward(lively_policy: Policy, mixed_prompts: list[Prompt], sizes: list[int]) -> None:
    """One response and sixteen, all empty (the end token alone), all as long as they may be, and both together."""
    segments = [[tuple((7 * p + 3 * n + t) % 256 for t in range(size)) for n, size in enumerate(sizes)] for p in range(2)]
    chosen = [mixed_prompts[0], mixed_prompts[-1]]
    packed = pack(make_groups(chosen, segments))
    with torch.no_grad():
        hidden_NH = hidden_states(lively_policy.vlm.model, packed)
        for p, prompt in enumerate(chosen):
            for n, segment in enumerate(segments[p]):
                plain_TH = plain_hidden(lively_policy.vlm.model, prompt, segment)[len(prompt.input_ids) :]
                actual_TH = hidden_NH[packed.segment_N == p * len(sizes) + n]
                torch.testing.assert_close(actual_TH, plain_TH, atol=1e-4, rtol=1e-4)


def test_a_wrong_mask_or_wrong_positions_would_be_seen(lively_policy: Policy, mixed_prompts: list[Prompt]) -> None:
    """The equality above has power: breaking the layout moves log-probabilities by far more than its 1e-5."""
    packed = pack(make_groups(mixed_prompts, random_segments(len(mixed_prompts), 3)))
    length = len(packed.input_ids_N)
    causal = {"layout": make_layout([Part(0, length)])}
    text_positions = torch.arange(length).expand_as(packed.positions_3N)
    with torch.no_grad():
        right, _ = lively_policy(packed)
        for changed in (causal, {"positions_3N": text_positions}):
            wrong, _ = lively_policy(type(packed)(**{**vars(packed), **changed}))
            assert (wrong - right).abs().max() > 1e-2


def test_gradients_equal_plain_forward(lively_policy: Policy, mixed_prompts: list[Prompt]) -> None:
    segments = random_segments(len(mixed_prompts), 3)
    packed = pack(make_groups(mixed_prompts, segments))
    # A different weight a token, so that two swapped tokens could not cancel.
    weight_BT = torch.linspace(-1, 2, packed.target_BT.numel()).reshape(packed.target_BT.shape)
    logp_BT, _ = lively_policy(packed)
    (logp_BT * weight_BT).sum().backward()
    fast = gradients(lively_policy)
    pairs = [(prompt, segment) for prompt, own in zip(mixed_prompts, segments, strict=True) for segment in own]
    for b, index in enumerate(packed.order_B.tolist()):
        prompt, segment = pairs[index]
        (plain_logprobs(lively_policy, prompt, segment) * weight_BT[b, : len(segment)]).sum().backward()
    plain = gradients(lively_policy)
    assert len(plain) == len(list(lively_policy.parameters()))
    assert_same_gradients(fast, plain, 1e-4)


def test_padding_stays_finite_and_changes_nothing(lively_policy: Policy, prompts: list[Prompt]) -> None:
    groups = make_groups(prompts[:2], [[(5,)], [(5,) * 20, (6,) * 20]])
    with torch.no_grad():
        expected = lively_policy(pack(groups))
    packed = pack(groups, num_tokens=200, multiple=128)
    assert len(packed.input_ids_N) == 256
    logp_BT, entropy_BT = lively_policy(packed)
    torch.testing.assert_close((logp_BT, entropy_BT), expected, atol=1e-5, rtol=1e-5)
    (logp_BT.sum() + entropy_BT.sum()).backward()
    assert all(gradient.isfinite().all() for gradient in gradients(lively_policy).values())


def text_prompt(size: int) -> Prompt:
    return Prompt("rows:1", "", tuple(range(size)), tuple(range(size)), torch.arange(size).expand(3, -1))


def test_layout_by_hand() -> None:
    """Prompt 0 1, segments (7 8) and (9); prompt 0 and segment (5); padded to 10."""
    packed = pack(make_groups([text_prompt(2), text_prompt(1)], [[(7, 8), (9,)], [(5,)]]), multiple=5)
    assert packed.input_ids_N.tolist() == [0, 1, 7, 8, 9, 0, 5, 0, 0, 0]
    assert packed.real_N.tolist() == [True] * 7 + [False] * 3
    # Segments go on at their prompt's end: positions 2 3 and 2, and 1.
    assert packed.positions_3N[0].tolist() == [0, 1, 2, 3, 2, 0, 1, 0, 0, 0]
    assert packed.part_N.tolist() == [0, 0, 1, 1, 2, 3, 4, -1, -1, -1]
    assert packed.prefix_N.tolist() == [0, 0, 0, 0, 0, 3, 3, 0, 0, 0]
    # The prompt's last state (1) predicts 7 and 9, the state of 7 (index 2) predicts 8; the second prompt is at 5.
    assert packed.source_BT.tolist() == [[1, 2], [1, 0], [5, 0]]
    assert packed.target_BT.tolist() == [[7, 8], [9, 0], [5, 0]]
    assert packed.token_mask_BT.tolist() == [[True, True], [True, False], [True, False]]
    assert packed.last_B.tolist() == [3, 4, 6]
    assert packed.order_B.tolist() == [0, 1, 2]
    # Segments 0, 0, 1 and 2 own their tokens; prompts and padding belong to none.
    assert packed.segment_N.tolist() == [-1, -1, 0, 0, 1, -1, 2, -1, -1, -1]


def test_the_number_of_tokens_is_rounded_up_on_request() -> None:
    groups = make_groups([text_prompt(3)], [[(1, 2)]])
    for num_tokens, multiple, expected in ((0, 1, 5), (0, 4, 8), (6, 1, 6), (6, 4, 8), (3, 1, 5)):
        packed = pack(groups, num_tokens, multiple)
        assert (len(packed.input_ids_N), int(packed.real_N.sum())) == (expected, 5)


def test_an_empty_segment_is_refused() -> None:
    with pytest.raises(AssertionError, match="rows:1: an empty segment"):
        make_groups([text_prompt(2)], [[(1,), ()]])


def test_micro_batches_split_a_long_group_by_hand() -> None:
    """Prompt of 4, segments of 3, 3, 3: with a budget of 10 two fit (4 + 3 + 3), the third takes a prompt of its own."""
    groups = make_groups([text_prompt(4)], [[(1,) * 3, (2,) * 3, (3,) * 3]])
    batches = micro_batches(groups, 10)
    assert [[group.order for group in batch] for batch in batches] == [[(0, 1)], [(2,)]]
    assert [[group.num_tokens for group in batch] for batch in batches] == [[10], [7]]
    # Nothing is split that fits.
    assert [[group.order for group in batch] for batch in micro_batches(groups, 13)] == [[(0, 1, 2)]]


def test_micro_batches_keep_a_segment_over_the_budget() -> None:
    groups = make_groups([text_prompt(4)], [[(1,) * 9, (2,)]])
    assert [[group.order for group in batch] for batch in micro_batches(groups, 6)] == [[(0,)], [(1,)]]


def test_micro_batches_fill_the_first_with_room() -> None:
    """Groups of 5, 3, 2 and 2 tokens, longest first, budget 8: 5 + 3, 2 + 2."""
    groups = make_groups([text_prompt(1)] * 4, [[(1,)], [(1,) * 4], [(1,)], [(1,) * 2]])
    batches = micro_batches(groups, 8)
    assert [[group.num_tokens for group in batch] for batch in batches] == [[5, 3], [2, 2]]
    assert [[group.order for group in batch] for batch in batches] == [[(1,), (3,)], [(0,), (2,)]]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 30), st.lists(st.integers(1, 12), max_size=8)), min_size=1, max_size=8),
    budget=st.integers(1, 120),
)
@settings(max_examples=200)
def test_micro_batches_keep_every_segment_once_within_the_budget(sizes: list[tuple[int, list[int]]], budget: int) -> None:
    texts = [text_prompt(size) for size, _ in sizes]
    groups = make_groups(texts, [[(index,) * size for index, size in enumerate(own)] for _, own in sizes])
    expected = {
        order: (group.prompt, segment)
        for group in groups
        for order, segment in zip(group.order, group.segments, strict=True)
    }
    batches = micro_batches(groups, budget)
    found = [
        (order, (group.prompt, segment))
        for batch in batches
        for group in batch
        for order, segment in zip(group.order, group.segments, strict=True)
    ]
    assert sorted(order for order, _ in found) == sorted(expected)
    assert all(expected[order][0] is prompt and expected[order][1] == segment for order, (prompt, segment) in found)
    for batch in batches:
        packed = len(pack(batch).input_ids_N)
        lone_segment = len(batch) == 1 and len(batch[0].segments) == 1
        assert packed <= budget or lone_segment


small_groups = st.tuples(st.integers(1, 9), st.lists(st.integers(1, 6), min_size=1, max_size=5))


@given(sizes=st.lists(small_groups, min_size=1, max_size=5))
def test_every_segment_owns_its_own_tokens(sizes: list[tuple[int, list[int]]]) -> None:
    """Read by owner, a batch gives back each segment, which ends at ``last_B``."""
    texts = [text_prompt(size) for size, _ in sizes]
    segments = [[tuple(range(100 + 7 * n, 100 + 7 * n + size)) for n, size in enumerate(own)] for _, own in sizes]
    packed = pack(make_groups(texts, segments))
    flat = [ids for own in segments for ids in own]
    for b, index in enumerate(packed.order_B.tolist()):
        segment, owned = flat[index], packed.segment_N == b
        assert packed.input_ids_N[owned].tolist() == list(segment)
        assert owned.nonzero().max() == packed.last_B[b]
    prompt_tokens = sum(size for size, _ in sizes)
    assert ((packed.segment_N < 0) & packed.real_N).sum() == prompt_tokens


def packed_loss(policy: Policy, batch: list[Group], weight_N: torch.Tensor) -> torch.Tensor:
    packed = pack(batch)
    logp_BT, _ = policy(packed)
    return (logp_BT.sum(-1) * weight_N[packed.order_B]).sum()


def test_any_budget_gives_the_same_loss_and_gradient(lively_policy: Policy, mixed_prompts: list[Prompt]) -> None:
    groups = make_groups(mixed_prompts, random_segments(len(mixed_prompts), 4))
    weight_N = torch.linspace(-1, 2, 4 * len(mixed_prompts))
    results = []
    for budget in (100_000, 250, 60):
        batches = micro_batches(groups, budget)
        losses = [packed_loss(lively_policy, batch, weight_N) for batch in batches]
        total = sum(losses, torch.zeros(()))
        total.backward()
        results.append((len(batches), float(total.detach()), gradients(lively_policy)))
    counts = [count for count, _, _ in results]
    assert counts[0] == 1 < counts[1] < counts[2]
    for _, total, found in results[1:]:
        assert total == pytest.approx(results[0][1], rel=1e-5, abs=1e-4)
        assert_same_gradients(found, results[0][2], 1e-4)


def test_segments_that_are_not_finite_are_told_by_row_and_place() -> None:
    prompts = [Prompt(f"rows:{p}", "", (1, 2), (1, 2), torch.arange(2).expand(3, 2)) for p in range(2)]
    groups = make_groups(prompts, [[(5,), (6,)], [(7,), (8,), (9,)]])
    score_B, order_B = torch.tensor([0.0, torch.nan, 1.0, 2.0, -torch.inf]), torch.tensor([3, 4, 0, 2, 1])
    # The second score is the last segment's, the fifth the second one's.
    expected = ["rows:0, segment 2 of 2", "rows:1, segment 3 of 3"]
    assert nonfinite_segments(score_B, order_B, groups).names() == expected
    assert nonfinite_segments(torch.stack([torch.zeros(5), score_B], dim=1), order_B, groups).names() == expected
    assert nonfinite_segments(torch.zeros(5), order_B, groups).names() == []
