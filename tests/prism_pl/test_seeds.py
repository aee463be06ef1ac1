"""Seeds of words."""

from hypothesis import given
from hypothesis import strategies as st

from prism_pl.seeds import derive_seed


def test_derive_seed_golden_values() -> None:
    # blake2b of the words' repr, first four bytes, little-endian, top bit cleared. A change breaks resumed runs.
    assert derive_seed(0) == 186785679
    assert derive_seed(0, "rollout", 7) == 1173787340
    assert derive_seed(1, "rollout", 7) == 1872482188


@given(st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4))
def test_derive_seed_fits_31_bits(words: list[int | str]) -> None:
    assert 0 <= derive_seed(*words) < 2**31


def test_derive_seed_tells_words_apart() -> None:
    words = [(a, b) for a in range(30) for b in range(30)] + [(1,), ("1",), (1, "1"), ("1", 1), (11,), ("1", "1")]
    assert len({derive_seed(*pair) for pair in words}) == len(words)
