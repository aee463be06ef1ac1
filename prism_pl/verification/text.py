"""One spelling for every way to write an answer, before anything is compared.

"$\\left( 1,\\,2 \\right)$."  ->  "(1, 2)"        "−5"  ->  "-5"        "3 1/2"  ->  "3\\frac{1}{2}"

Only what carries no meaning is dropped: sizes, spaces, fonts, delimiters. Signs, relations and points stay.
"""

import re
import unicodedata

from prism_pl.verification.brackets import balanced, join_thousands

_CHARACTERS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-",
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "∶": ":", "…": "...",
    "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "√": r"\sqrt ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm ",
    "⩽": r"\le ", "⩾": r"\ge ", "≈": r"\approx ", "∓": r"\mp ", "∠": r"\angle ", "△": r"\triangle ", "∅": r"\emptyset ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "ℝ": r"\mathbb{R}",
    "，": ",", "；": ";", "：": ":", "（": "(", "）": ")", "［": "[", "］": "]", "。": ".", "％": "%", "＝": "=", "＋": "+",
    "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "′": "'",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿˣ", "0123456789-+nx")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|csc|log|ln|exp"
_TEXT = r"\\(?:text(?:normal|rm|bf|it|sf|tt|up)?|math(?:rm|bf|it|sf|tt)|operatorname|mbox|hbox|emph)"
_ONE = r"(\d|[a-zA-Z](?![a-zA-Z])|\\pi(?![a-zA-Z]))"
"""What LaTeX takes as an argument without braces."""
_GROUP = r"\{([^{}]*)\}"
_RULES = [
    (re.compile(pattern), new)
    for pattern, new in (
        # Spacing and sizes that mean nothing.
        (r"\\left\b\s*\.?|\\right\b\s*\.?|\\[bB]igg?[lr]?\b\s*|\\displaystyle\b\s*|\\hfill\b|\\limits\b", ""),
        (r"\s*(?<!\\)\\!\s*", ""),
        (r"\{\s*,\s*\}", ","),
        (r"(?<!\\)\\[,;:>]|(?<!\\)\\ |\\q?quad\b|~|\\(?:thin|med|thick)?space\b", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (rf"{_TEXT}\s*{_GROUP}", r" \1 "),
        (rf"{_TEXT}\s*{_GROUP}", r" \1 "),
        (r"\{\s*\\(?:rm|bf|it)\b([^{}]*)\}", r" \1 "),
        (r"(?<!\\)\\(?:%|\$)", lambda match: match[0][1]),
        (r"\\(?:degree|degrees)(?![a-zA-Z])", r"^\\circ "),
        (r"\^\s*\{\s*\\circ\s*\}", r"^\\circ "),
        (r"(?<=\d)\s*\\circ\b", r"^\\circ "),
        (r"\\(?:leq|leqslant)(?![a-zA-Z])|(?<![<=])<=", r"\\le "),
        (r"\\(?:geq|geqslant)(?![a-zA-Z])|(?<![>=])>=", r"\\ge "),
        (r"\\neq(?![a-zA-Z])|(?<=\s)!=(?=\s)", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\(?:lvert|rvert|vert|mid)(?![a-zA-Z])", "|"),
        (r"\\(?:dots|ldots|cdots)(?![a-zA-Z])", "..."),
        (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\(?:lor|vee)(?![a-zA-Z])", " or "),
        (r"\\(?:land|wedge)(?![a-zA-Z])", " and "),
        (r"(?<![\w)}*])\*\*(?=\S)([^*]+)(?<=\S)\*\*(?![\w({*])", r"\1"),
        (r"\*\*", "^"),
        # Round and square brackets around a matrix are a matter of taste; bars make it another thing.
        (r"\[\s*\\begin\s*\{(?:array|matrix)\}(?:\s*\{[lcr| ]*\})?(.*?)\\end\s*\{(?:array|matrix)\}\s*\]",
         r"\\begin{pmatrix}\1\\end{pmatrix}"),
        (r"\(\s*\\begin\s*\{(?:array|matrix)\}(?:\s*\{[lcr| ]*\})?(.*?)\\end\s*\{(?:array|matrix)\}\s*\)",
         r"\\begin{pmatrix}\1\\end{pmatrix}"),
        (r"(\\(?:begin|end))\s*\{[bp]?(?:small)?matrix\}", r"\1{pmatrix}"),
        # A root or a fraction of one number or letter; functions by name.
        (rf"\\frac\s*{_ONE}\s*{_ONE}", r"\\frac{\1}{\2}"),
        (rf"\\frac\s*{_GROUP}\s*{_ONE}", r"\\frac{\1}{\2}"),
        (rf"\\frac\s*{_ONE}\s*{_GROUP}", r"\\frac{\1}{\2}"),
        (r"\\sqrt\s*(\d)(?=\s*[\\a-zA-Z(])", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d+|[a-zA-Z])(?![a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])sqrt\s*(\d+)", r"\\sqrt{\1}"),
        (rf"(?<![\\a-zA-Z])({_FUNCTIONS})(?![a-zA-Z])", r"\\\1 "),
        # 5 sec is a time.
        (r"(?<![\\a-zA-Z])(?<!\d )(?<!\d)sec(?=\s*[\\(^a-zA-Z])(?![a-zA-Z])", r"\\sec "),
        (r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi "),
        (r"(?<![\\a-zA-Z])(?:infinity|inf)(?![a-zA-Z])", r"\\infty "),
        # Exponents and subscripts in braces.
        (r"\^\s*\(([^()]*)\)", r"^{\1}"),
        (r"\^\s*([-+]?\d+(?:\.\d+)?|[-+]?[a-zA-Z](?![a-zA-Z]))", r"^{\1}"),
        (r"_\s*(\d+|[a-zA-Z](?![a-zA-Z]))", r"_{\1}"),
        (r"([_^])\s*\{\s*([^{}]*?)\s*\}", r"\1{\2}"),
        # Numbers: powers of ten, mixed numbers.
        (r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?\d+)(?!\w)", r"\1\\times 10^{\2}"),
        (r"(?<![\d./])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d./])", r"\1\\frac{\2}{\3}"),
        (r"\s+", " "),
    )
]  # fmt: skip
_ESCAPED = re.compile(
    r"(?<!\\)\\\\(?=(?:[dtc]?frac|sqrt|le|leq|leqslant|ge|geq|geqslant|ne|neq|lt|gt|in|cup|cap|setminus|infty|pi|theta|alpha|beta"
    r"|cdot|times|div|pm|mp|left|right|text(?:bf|it|rm)?|mathrm|mathbb|mathbf|boxed|angle|circ|degree|overline|log|ln|exp|sin|cos"
    r"|tan|approx|emptyset|quad|binom|sum|int|triangle)(?![a-zA-Z])|[{}%$])"
)
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BETWEEN_BOXES = re.compile(
    r"(?:\s|\\q?quad|\\[,;:! ]|~|\$)*(?P<mark>[,;])?(?:\s|\\q?quad|\\[,;:! ]|~|\$)*"
    r"(?P<word>(?:\\text\s*\{\s*)?(?:and|or)(?:\s*\})?)?(?:\s|\\q?quad|\\[,;:! ]|~|\$)*"
)
_EMBEDDED = re.compile(r"(?<!\\)\$([^$]*[\\^_=<>+*/{|-][^$]*|\s*-?[\d.,]+\s*|\s*[a-zA-Z]\s*)(?<!\\)\$(?!\d)")
"""Mathematics inside a sentence; a dollar before a price is none."""


def canonical(text: str) -> str:
    """The one spelling; empty for an empty answer. Linear in the length of ``text``, but for nested environments."""
    text = unicodedata.normalize("NFC", text)
    # Fractions in one character: ½ is 1⁄2 under NFKC. After a digit it is a mixed number.
    text = re.sub(r"(\d?)([¼-¾⅐-⅞])", lambda m: f"{m[1]} {unicodedata.normalize('NFKC', m[2])}" if m[1] else
                  unicodedata.normalize("NFKC", m[2]), text)  # fmt: skip
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿˣ]+", lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉]+", lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
    text = re.sub(r"(?:\d\u0305)+", lambda m: rf"\overline{{{m[0].replace(chr(0x305), '')}}}", text)
    text = "".join(_CHARACTERS.get(character, character) for character in text)
    text = unwrapped(_unescaped(text))
    text = _without_boxes(_EMBEDDED.sub(r" \1 ", text).strip())
    for pattern, new in _RULES:
        text = pattern.sub(new, text)
    return unwrapped(join_thousands(text))


def _unescaped(text: str) -> str:
    """One backslash where text that was escaped for JSON or Python has two; those that break lines stay.

    >>> _unescaped(r"x \\\\le 3"), _unescaped(r"\\begin{pmatrix}1\\\\pi\\end{pmatrix}")
    ('x \\\\le 3', '\\\\begin{pmatrix}1\\\\\\\\pi\\\\end{pmatrix}')
    """
    if r"\begin" not in text:
        return _ESCAPED.sub(r"\\", text)
    escaped = r"\\begin" in text and all(len(run) % 2 == 0 for run in re.findall(r"\\+", text))
    return text.replace(r"\\", "\\") if escaped else text


def unwrapped(text: str) -> str:
    """Without delimiters, box, quotes and final full stop around the whole."""
    while True:
        before = text = text.strip()
        for left, right in _WRAPPERS:
            inner = text[len(left) : -len(right)]
            if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right) and left not in inner:
                text = inner
                break
        boxed = _BOXED.fullmatch(text)
        if boxed and balanced(boxed[1]):
            text = boxed[1]
        if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'`" and text[0] not in text[1:-1]:
            text = text[1:-1]
        if text.endswith((".", ",", ";")) and not text.endswith(".."):
            text = text[:-1]
        if text == before:
            return text


def _without_boxes(text: str) -> str:
    """The members of a list whose answers have a box each: ``\\boxed{1} and \\boxed{2}``; any other text as it is."""
    if len(_BOX.findall(text)) < 2:
        return text
    members, position = list[str](), 0
    while box := _BOX.match(text, position):
        if (end := _closing(text, box.end())) is None:
            return text
        members.append(text[box.end() : end].strip())
        between = _BETWEEN_BOXES.match(text, end + 1)
        assert between is not None
        position = between.end()
        if position < len(text):
            if not between["mark"] and not between["word"] and r"\quad" not in between[0] and r"\qquad" not in between[0]:
                return text  # a product, or whatever two boxes side by side may mean
            word = re.search("and|or", between["word"] or "")
            members.append(f" {word[0]} " if word else ", ")
    return "".join(members) if position == len(text) else text


def _closing(text: str, start: int) -> int | None:
    """Where the brace closes that was opened before ``start``."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    return None


def compact(text: str) -> str:
    """Without the spaces that separate no words or numbers.

    >>> compact("( 1, 2 )"), compact("1 2"), compact("x + 1")
    ('(1,2)', '1 2', 'x+1')
    """
    return re.sub(r"(?<![\w.])\s+|\s+(?![\w.])", "", text.strip())
