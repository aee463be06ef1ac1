"""One spelling for every way to write an answer, before anything is compared.

"$\\left( 1,\\,2 \\right)$."  ->  "(1, 2)"        "−5"  ->  "-5"        "3 1/2"  ->  "3\\frac{1}{2}"
"""

import re
import unicodedata

_CHARACTERS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-",
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/",
    "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "√": r"\sqrt ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "，": ",", "；": ";", "：": ":", "（": "(", "）": ")", "［": "[", "］": "]", "。": ".", "％": "%", "＝": "=", "＋": "+",
    "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp"
_RULES = [
    (re.compile(pattern), new)
    for pattern, new in (
        # Spacing and sizes that mean nothing.
        (r"\\left\b\s*|\\right\b\s*|\\[bB]igg?[lr]?\b\s*|\\displaystyle\b\s*", ""),
        (r"\\[,;:!]|\\q?quad\b|~|\\ ", " "),
        (r"\\[dtc]frac\b", r"\\frac"),
        (r"\\(?:text|mathrm|textrm|textbf|mathbf|operatorname|mbox)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\(?:%|\$)", lambda match: match[0][1]),
        (r"\\degree\b", r"^\\circ "),
        (r"\^\s*\{\s*\\circ\s*\}", r"^\\circ "),
        (r"\\(?:leq|leqslant)\b", r"\\le"),
        (r"\\(?:geq|geqslant)\b", r"\\ge"),
        (r"\*\*([^*]+)\*\*", r"\1"),
        (r"(\\(?:begin|end)\s*\{)[bvBV]?matrix\}", r"\1pmatrix}"),
        # A root of one number or letter; functions by name.
        (r"\\sqrt\s+(\d+|[a-zA-Z])(?![a-zA-Z])", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (rf"(?<![\\a-zA-Z])({_FUNCTIONS})(?![a-zA-Z])", r"\\\1 "),
        (r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi "),
        (r"(?<![\\a-zA-Z])(?:infinity|inf)(?![a-zA-Z])", r"\\infty "),
        # Numbers: thousands by comma or space, powers of ten, mixed numbers.
        (r"(?<![\d.,])(\d{1,3})((?:,\d{3})+)(?!\d|,\d)", lambda match: match[1] + match[2].replace(",", "")),
        (r"(?<![\d.,] )(?<![\d.,])(\d{1,3})((?: \d{3})+)(?![\d/]| \d)", lambda match: match[1] + match[2].replace(" ", "")),
        (r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?\d+)(?!\w)", r"\1\\times 10^{\2}"),
        (r"(?<![\d./])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d./])", r"\1\\frac{\2}{\3}"),
        (r"\s+", " "),
    )
]
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)


def canonical(text: str) -> str:
    """The one spelling; empty for an empty answer. Linear in the length of ``text``."""
    text = unicodedata.normalize("NFC", text)
    # Fractions in one character: ½ is 1⁄2 under NFKC. After a digit it is a mixed number.
    text = re.sub(r"(\d?)([¼-¾⅐-⅞])", lambda m: f"{m[1]} {unicodedata.normalize('NFKC', m[2])}" if m[1] else
                  unicodedata.normalize("NFKC", m[2]), text)  # fmt: skip
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = "".join(_CHARACTERS.get(character, character) for character in text)
    text = unwrapped(text)
    for pattern, new in _RULES:
        text = pattern.sub(new, text)
    return unwrapped(text)


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
        if boxed and _balanced(boxed[1]):
            text = boxed[1]
        if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'`":
            text = text[1:-1]
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
        if text == before:
            return text


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def words(text: str) -> str:
    """Letters and digits in lower case with single spaces: what remains of a sentence when only its words count."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
