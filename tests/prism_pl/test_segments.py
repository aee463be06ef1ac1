"""The response format: one parser, one builder, and nothing that tells the teacher from the policy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_pl.data.conversation import PromptEncoder
from prism_pl.segments import SECTION_NAMES, Sections, caption_end, count_items, parse_response, segment_ids
from tests.responses import respond

TAGS = [tag for name in SECTION_NAMES for tag in (f"<{name}>", f"</{name}>")]
# Pieces of tags and other markup among letters, white space and any other character.
_PIECES = st.one_of(
    st.sampled_from(["<", ">", "/", "</", "caption", "think", "answer", "<caption", "<b>", "\n", " ", "\t", "- a", "2"]),
    st.characters(exclude_categories=["Cs"]),
)
inner_texts = (
    st.lists(_PIECES, min_size=1, max_size=8)
    .map("".join)
    .filter(lambda text: text.strip() and not any(tag in text for tag in TAGS))
)
gaps = st.text(alphabet=" \n\t\r", max_size=4)


def test_the_canonical_form_is_accepted() -> None:
    text = "<caption>\n- A cat.\n- A dog.\n</caption>\n<think>\nOne and one.\n</think>\n<answer>\n2\n</answer>"
    sections = parse_response(text)
    assert sections == Sections("- A cat.\n- A dog.", "One and one.", "2")
    assert f"{sections.perception}\n{sections.reasoning}" == text


def test_white_space_around_everything_is_accepted() -> None:
    text = " \n<caption> c </caption>\n\n\t<think>\nt\n</think><answer>  a</answer>\n"
    assert parse_response(text) == Sections("c", "t", "a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c t a",
        # Each tag missing.
        "c</caption><think>t</think><answer>a</answer>",
        "<caption>c<think>t</think><answer>a</answer>",
        "<caption>c</caption>t</think><answer>a</answer>",
        "<caption>c</caption><think>t<answer>a</answer>",
        "<caption>c</caption><think>t</think>a</answer>",
        "<caption>c</caption><think>t</think><answer>a",
        # Each section missing.
        "<think>t</think><answer>a</answer>",
        "<caption>c</caption><answer>a</answer>",
        "<caption>c</caption><think>t</think>",
        # Each section twice.
        "<caption>c</caption><caption>c</caption><think>t</think><answer>a</answer>",
        "<caption>c</caption><think>t</think><think>t</think><answer>a</answer>",
        "<caption>c</caption><think>t</think><answer>a</answer><answer>b</answer>",
        # Nested.
        "<caption>c<think>t</think></caption><answer>a</answer>",
        "<caption>c</caption><think>t<answer>a</answer></think>",
        "<caption><caption>c</caption></caption><think>t</think><answer>a</answer>",
        # Wrong order, and a section closed before it is opened.
        "<think>t</think><caption>c</caption><answer>a</answer>",
        "<caption>c</caption><answer>a</answer><think>t</think>",
        "</caption>c<caption><think>t</think><answer>a</answer>",
        # Each section empty, also of white space alone.
        respond(caption=""),
        respond(think=" \n"),
        respond(answer="\t"),
        # Text before, between and after.
        "x" + respond(),
        "<caption>c</caption>x<think>t</think><answer>a</answer>",
        "<caption>c</caption><think>t</think>x<answer>a</answer>",
        respond() + "x",
        respond() + "<|im_end|>",
        # Tags are case-sensitive and hold no blank.
        "<Caption>c</Caption><think>t</think><answer>a</answer>",
        "< caption>c</caption><think>t</think><answer>a</answer>",
    ],
)
def test_each_defect_is_rejected(text: str) -> None:
    assert parse_response(text) is None


@given(caption=inner_texts, think=inner_texts, answer=inner_texts, gap=gaps)
def test_rebuilt_sections_parse_to_the_same(caption: str, think: str, answer: str, gap: str) -> None:
    sections = parse_response(gap + respond(caption, think, answer) + gap)
    assert sections == Sections(caption.strip(), think.strip(), answer.strip())
    assert parse_response(f"{gap}{sections.perception}{gap}{sections.reasoning}{gap}") == sections


@given(caption=inner_texts, think=inner_texts, answer=inner_texts, tag=st.sampled_from(TAGS), data=st.data())
def test_any_tag_more_makes_a_response_invalid(
    caption: str, think: str, answer: str, tag: str, data: st.DataObject
) -> None:
    text = respond(caption, think, answer)
    position = data.draw(st.integers(0, len(text)))
    assert parse_response(text[:position] + tag + text[position:]) is None


@given(caption=inner_texts, think=inner_texts, answer=inner_texts, gap_lists=st.lists(gaps, min_size=10, max_size=10))
@settings(max_examples=50)
def test_white_space_does_not_tell_the_roles_apart(
    encoder: PromptEncoder, caption: str, think: str, answer: str, gap_lists: list[str]
) -> None:
    before, c1, c2, between_1, t1, t2, between_2, a1, a2, after = gap_lists
    teacher = parse_response(f"<caption>\n{caption}\n</caption>\n<think>\n{think}\n</think>\n<answer>\n{answer}\n</answer>")
    policy = parse_response(
        f"{before}<caption>{c1}{caption}{c2}</caption>{between_1}<think>{t1}{think}{t2}</think>"
        f"{between_2}<answer>{a1}{answer}{a2}</answer>{after}"
    )
    assert teacher is not None
    assert policy is not None
    assert segment_ids(teacher, encoder.tokenizer) == segment_ids(policy, encoder.tokenizer)


def test_segments_hold_their_text_and_end_in_the_same_token(encoder: PromptEncoder) -> None:
    tokenizer = encoder.tokenizer
    perception, reasoning = segment_ids(Sections("- One cat.", "Count it.", "1"), tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert perception[-1] == reasoning[-1] == end
    assert end not in perception[:-1] + reasoning[:-1]
    assert tokenizer.decode(perception[:-1]) == "<caption>\n- One cat.\n</caption>"
    assert tokenizer.decode(reasoning[:-1]) == "<think>\nCount it.\n</think>\n<answer>\n1\n</answer>"


@pytest.mark.parametrize("typed", ["<|image_pad|>", "<|video_pad|>", "<|im_end|>", "<|vision_start|>"])
def test_special_tokens_spelled_in_a_text_stay_text(encoder: PromptEncoder, typed: str) -> None:
    """A policy can spell them letter by letter; as a placeholder token they would stand for an image that is not there."""
    tokenizer = encoder.tokenizer
    perception, _ = segment_ids(Sections(f"- A {typed}.", "t", "a"), tokenizer)
    assert tokenizer.convert_tokens_to_ids(typed) not in perception[:-1]
    assert typed in tokenizer.decode(perception[:-1])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("- a", 1),
        ("- a\n- b\n- c", 3),
        # A blank line, a lone bullet and a line of stars hold no text; "a" and "* b" do.
        ("\n a\n -\n***\n* b\n", 2),
        ("one line, two sentences. Still one.", 1),
    ],
)
def test_count_items_by_hand(text: str, count: int) -> None:
    assert count_items(text) == count


@pytest.mark.parametrize("before", ["", "So: "])
def test_where_a_caption_ends(encoder: PromptEncoder, before: str) -> None:
    tokenizer = encoder.tokenizer
    caption, rest = before + "<caption>\n- Digits 1 2 3.\n</caption>", "\n<think>\n1 + 2 = 3.\n</think>"
    ids = [*tokenizer.encode(caption, add_special_tokens=False), *tokenizer.encode(rest, add_special_tokens=False)]
    end = caption_end(ids, tokenizer)
    assert tokenizer.decode(ids[:end]) == caption
    assert "</caption>" not in tokenizer.decode(ids[: end - 1])
    # As a response may be cut: within the caption, or right behind it.
    assert caption_end(ids[: end - 1], tokenizer) == end - 1
    assert caption_end(ids[:end], tokenizer) == end
    assert caption_end([], tokenizer) == 0
