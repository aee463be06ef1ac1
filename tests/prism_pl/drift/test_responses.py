"""What is counted in a response."""

import torch

from prism_pl.drift import COUNT_DISTANCES, counted, measured, together
from prism_pl.drift.responses import buckets, words

TEXT = "<caption>\n- A red 3.\n- A 5.\n</caption>\n<think>\nIt is 8.\n</think>\n<answer>\n8\n</answer>"


def test_features_of_a_response() -> None:
    found = counted(TEXT, 30)
    assert found["caption_items"].tolist() == [2]
    assert found["reasoning_steps"].tolist() == [1]
    assert found["length"].tolist() == [30]
    # a red 3 . | a 5 . | it is 8 . | 8: tags are none of them, list marks are. 14 words, 13 pairs.
    assert words(TEXT) == ["-", "a", "red", "3", ".", "-", "a", "5", ".", "it", "is", "8", ".", "8"]
    assert len(found["words"]) == 14
    assert len(found["bigrams"]) == 13


def test_a_malformed_response_has_words_and_no_items() -> None:
    found = counted("just words", 3)
    assert [len(found[name]) for name in ("caption_items", "reasoning_steps", "length", "words", "bigrams")] == [
        0,
        0,
        1,
        2,
        1,
    ]
    assert len(together([found, counted(TEXT, 30)], "caption_items")) == 1
    assert together([], "words").dtype == torch.long


def test_a_bucket_is_the_words_own_on_every_machine() -> None:
    # The check value of the CRC-32 polynomial: "123456789" gives 0xCBF43926.
    assert buckets(["123456789"], 1) == [0xCBF43926 % 2**16]
    assert buckets(["a", "b", "c"], 2) == [*buckets(["a b"], 1), *buckets(["b c"], 1)]


def test_words_are_compared_whatever_their_order_and_pairs_are_not() -> None:
    one, other = counted("a b c", 3), counted("c b a", 3)
    distances = {
        name: measured(own.metric(), one[own.feature], other[own.feature])
        for name, own in COUNT_DISTANCES.items()
        if own.feature in ("words", "bigrams")
    }
    assert distances == {"tv_words": 0.0, "js_bigrams": 1.0}
