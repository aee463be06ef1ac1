"""Past responses: bounded, oldest first out, drawn by seed."""

from hypothesis import given
from hypothesis import strategies as st

from prism_pl.game import ReplayBuffer, ReplayOptions


def make_buffer(**options: int) -> ReplayBuffer:
    small = {"prompts_per_update": 2, "responses_per_prompt": 2, "capacity": 3}
    return ReplayBuffer(ReplayOptions(**small | options))


def filled(count: int, **options: int) -> ReplayBuffer:
    buffer = make_buffer(**options)
    for index in range(count):
        buffer.add([f"f:{index}"], [[f"{index}a", f"{index}b"]], 0, index)
    return buffer


def test_off_by_default() -> None:
    buffer = ReplayBuffer(ReplayOptions())
    buffer.add(["f:1"], [["a"]], 0)
    assert buffer.entries == {}


def test_the_oldest_goes_first() -> None:
    assert list(filled(3).entries) == ["f:0", "f:1", "f:2"]
    assert list(filled(5).entries) == ["f:2", "f:3", "f:4"]
    # A batch larger than the buffer keeps its end.
    buffer = filled(3)
    buffer.add([f"g:{index}" for index in range(7)], [["x"]] * 7, 1)
    assert list(buffer.entries) == ["g:4", "g:5", "g:6"]


def test_a_replaced_entry_becomes_the_newest() -> None:
    buffer = filled(3)
    buffer.add(["f:0"], [["new"]], 1)
    assert list(buffer.entries) == ["f:1", "f:2", "f:0"]
    assert buffer.entries["f:0"] == ["new"]
    buffer.add(["f:9"], [["last"]], 2)
    assert list(buffer.entries) == ["f:2", "f:0", "f:9"]


def test_some_of_the_responses_are_kept_and_all_have_a_chance() -> None:
    kept = []
    for step in range(200):
        buffer = make_buffer()
        buffer.add(["f:1"], [["a", "b", "c", "d"]], 0, step)
        assert len(set(buffer.entries["f:1"]) & set("abcd")) == 2 == len(buffer.entries["f:1"])
        kept += buffer.entries["f:1"]
    # Each is kept half of the time: 100 of 200, with a standard deviation of 7.
    assert all(65 < kept.count(letter) < 135 for letter in "abcd")
    # What is kept depends on the words of the seed and the prompt, not on the others of the batch.
    alone, beside = make_buffer(), make_buffer()
    alone.add(["f:1"], [["a", "b", "c", "d"]], 0, 7)
    beside.add(["f:0", "f:1"], [["x", "y", "z"], ["a", "b", "c", "d"]], 0, 7)
    assert beside.entries["f:1"] == alone.entries["f:1"]
    # And prompts of one batch do not all keep the same places.
    many = make_buffer(capacity=30)
    many.add([f"f:{index}" for index in range(30)], [["a", "b", "c", "d"]] * 30, 0, 7)
    assert len({tuple(sorted(texts)) for texts in many.entries.values()}) > 1


def test_a_draw_leaves_out_the_excluded() -> None:
    buffer = filled(3)
    for step in range(20):
        assert set(buffer.draw(2, ["f:1"], 0, step)) == {"f:0", "f:2"}
    assert buffer.draw(2, ["f:0", "f:1", "f:2"], 0) == {}
    assert buffer.draw(0, [], 0) == {}
    assert make_buffer().draw(2, [], 0) == {}


def test_a_draw_is_decided_by_its_seed() -> None:
    buffer = filled(12, capacity=12)
    draws = [tuple(sorted(buffer.draw(3, [], 0, "replay", step))) for step in range(100)]
    assert draws == [tuple(sorted(buffer.draw(3, [], 0, "replay", step))) for step in range(100)]
    # 220 triples are possible; 100 draws hit about 80 different ones, and every entry about 25 times.
    assert len(set(draws)) > 50
    assert {source for draw in draws for source in draw} == {f"f:{index}" for index in range(12)}
    assert all(buffer.draw(3, [], 5)[source] == buffer.entries[source] for source in buffer.draw(3, [], 5))


@given(
    batches=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=5), max_size=12),
    capacity=st.integers(1, 6),
    count=st.integers(0, 8),
    exclude=st.lists(st.integers(0, 9), max_size=4),
)
def test_the_buffer_is_bounded_and_holds_what_was_said_last(
    batches: list[list[tuple[int, int]]], capacity: int, count: int, exclude: list[int]
) -> None:
    buffer = make_buffer(capacity=capacity)
    said: dict[str, list[str]] = {}
    for step, batch in enumerate(batches):
        rows = {f"f:{row}": [f"{step}.{row}.{number}" for number in range(size)] for row, size in batch}
        buffer.add(list(rows), list(rows.values()), 0, step)
        # A prompt without any response leaves the buffer as it was.
        said |= {source: texts for source, texts in rows.items() if texts}
        assert len(buffer.entries) <= capacity
        assert all(set(texts) <= set(said[source]) for source, texts in buffer.entries.items())
        assert all(len(texts) == min(2, len(said[source])) for source, texts in buffer.entries.items())
    drawn = buffer.draw(count, [f"f:{row}" for row in exclude], 1)
    allowed = {source: texts for source, texts in buffer.entries.items() if int(source[2:]) not in exclude}
    assert len(drawn) == min(count, len(allowed))
    assert all(allowed[source] == texts for source, texts in drawn.items())
