"""Are two expressions equal? math-verify's parser reads them; values decide, to all digits that were written.

a = b     if they agree at random points, relative to their size, to more digits than the numbers written in them can
          make a difference (Schwartz-Zippel: two formulas that differ anywhere differ almost everywhere)

math-verify's own comparison is not asked. It rounds to six places, chops what is small (1.6e-19 = 1.7e-19), lets an
equation stand for its right side (-x = 5 for 5), and drops what its parser does not know (primes, a transpose, capitals).
Here a text with anything in it that is not read faithfully is no expression, and agrees with nothing.
"""

import random
import re
from fractions import Fraction
from functools import lru_cache

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from sympy.core.function import AppliedUndef

from prism_pl.verification.quantities import stands_for

_COMMANDS = [
    "frac", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
    "log", "ln", "exp", "pi", "infty", "cdot", "times", "binom", "alpha", "beta", "gamma", "delta", "epsilon",
    "varepsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi",
    "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega", "vec", "overline",
    "overrightarrow", "hat", "lfloor", "rfloor", "lceil", "rceil", "sum", "int",
]  # fmt: skip
_TOKEN = re.compile(
    r"\\([a-zA-Z]+)|\\begin\{[pv]matrix\}|\\end\{[pv]matrix\}|\\\\|&|\d+\.\d+|\.\d+|\d+\.?|[a-zA-Z]|[-+*/^_{}()\[\]|!=\s]"
)
_MATRIX = re.compile(r"\\(?:begin|end)\{[pv]matrix\}")
# Read as a sum, as a product or not at all, but hardly as what was meant.
_UNFAITHFUL = re.compile(
    r"\d\s+\.?\d|(?<!\\)(?<![a-zA-Z])[a-zA-Z]\d|[)}\]]\s*\.?\d|[\d)}\]]\s*_|[-+]\s*[-+]|[*/^_]\s*[*/^_+]|!\s*!|\\[a-zA-Z]+\s*'|'|\.\s|\.$"
    r"|\^\s*\{\s*(?:T|\*|c|C)\s*\}|=|(?<![\\a-zA-Z])(?:and|or)(?![a-zA-Z])"
)
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|\\frac\{\d+\}\{\d+\})\s*\^\{?\\circ\s*\}?")
_DECIMAL = re.compile(r"(\d*)\.(\d+)")
_EXPONENT = re.compile(r"\^\{-?(\d+)\}")
_LIMITS = re.compile(r"\\sum\s*_\s*\{\s*[a-zA-Z]\s*=\s*-?\w+\s*\}\s*\^\s*\{\s*(?:[^{}=]*)\}\s*")
_POINTS, _NEEDED = 8, 4
_GUARD, _SPARE, _MOST_DIGITS = 60, 15, 3000
_CONFIG = ConversionConfig(lowercase_symbols=False)


@lru_cache(maxsize=1024)
def read_expression(text: str) -> sympy.Basic | None:
    """A sympy expression or matrix from a canonical text, decimals as exact fractions; None if it cannot be trusted.

    >>> read_expression("1.5x"), read_expression("x > 3 only"), read_expression("a'")
    (3*x/2, None, None)
    """
    text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text).strip()
    body = re.sub(r"\\log\s*_\{[^{}]*\}", r"\\log ", _MATRIX.sub(lambda m: "(" if m[0][1] == "b" else ")", text))
    position = 0
    while position < len(body):
        token = _TOKEN.match(body, position)
        if token is None or (token[1] and token[1] not in _COMMANDS):
            return None
        position = token.end()
    if not text or _UNFAITHFUL.search(_LIMITS.sub(r"\\sum ", body)) or r"\sum" in _LIMITS.sub("", body):
        return None
    exact = _DECIMAL.sub(lambda m: rf"\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}", text)
    try:
        return latex2sympy(exact, is_real=True, convert_degrees=False, normalization_config=None, conversion_config=_CONFIG)
    except Exception:  # the grammar raises bare exceptions for what it does not know
        return None


def equal_values(said: str, true: str) -> bool:
    """True if two texts are expressions of the same value.

    >>> equal_values("(x+1)^{2}", "x^{2}+2x+1"), equal_values("10^{-19}", "10^{-20}"), equal_values("-x", "x")
    (True, False, False)
    """
    # The true answer first: it is asked for again and again, and parsing is most of the time.
    if (right := read_expression(true)) is None or (left := read_expression(said)) is None:
        return False
    for decimal, exact, value in ((said, true, right), (true, said, left)):
        if re.fullmatch(r"-?\d*\.\d+", decimal.replace(" ", "")) and "." not in exact and not value.free_symbols:
            return _stands_for(Fraction(decimal.replace(" ", "")), value)
    digits = digits_of(said, true)
    if same(left, right, digits):
        return True
    # Where nothing else is unknown, i is the imaginary unit: (1+i)^2 is 2i.
    unit = sympy.Symbol("i", real=True)
    if {unit} != left.free_symbols or {unit} != right.free_symbols or left.has(sympy.Sum) or right.has(sympy.Sum):
        return False
    return same(left.subs(unit, sympy.I), right.subs(unit, sympy.I), digits)


def digits_of(*texts: str) -> int:
    """How many digits tell two different values apart: 10^{-60} moves the sixtieth."""
    joined = " ".join(texts)
    longest = max(map(len, re.findall(r"\d+", joined)), default=1)
    powers = sum(longest * int(power[:5]) for power in _EXPONENT.findall(joined))
    return min(_MOST_DIGITS, _GUARD + len(joined) + powers)


def _stands_for(decimal: Fraction, value: sympy.Basic) -> bool:
    """A decimal for a real number, as in ``stands_for``."""
    number = _value(value, 40)
    if number is None or number[1] != 0:
        return False
    exact = Fraction(str(sympy.Rational(str(number[0]))))
    # A third part in the denominator keeps a number that happens to end from being taken for an endless one.
    return decimal == exact or stands_for(decimal, exact + Fraction(1, 3 * 10**60))


def same(left: sympy.Basic, right: sympy.Basic, digits: int) -> bool:
    """Equality of two expressions or matrices, to a number of significant digits."""
    matrices = [isinstance(side, sympy.MatrixBase | sympy.MatrixExpr) for side in (left, right)]
    if any(matrices):
        if not all(matrices):
            return False
        a, b = left.doit(), right.doit()
        shapes = getattr(a, "shape", None), getattr(b, "shape", None)
        if not all(isinstance(side, sympy.MatrixBase) for side in (a, b)) or shapes[0] != shapes[1]:
            return False
        return all(same(x, y, digits) for x, y in zip(a.flat(), b.flat(), strict=True))
    if not all(isinstance(side, sympy.Expr) for side in (left, right)):
        return left == right
    if left == right:
        return True
    if _sums_a_sequence(left) or _sums_a_sequence(right):
        return sympy.srepr(left) == sympy.srepr(right)  # which sorts the terms
    left, right = _plain(left), _plain(right)
    if any(total.free_symbols for side in (left, right) for total in side.atoms(sympy.Sum, sympy.Integral)):
        return sympy.srepr(left) == sympy.srepr(right)  # at a random point a sum has no last term
    agreed = 0
    for point in _points(left, right):
        pair = _value(left.subs(point), digits), _value(right.subs(point), digits)
        if pair[0] is None or pair[1] is None:
            if pair[0] != pair[1]:
                return False
            continue
        if not _close(pair[0], pair[1], digits - _SPARE):
            return False
        agreed += 1
        if not point:
            return True
    return agreed >= _NEEDED


def ratio(left: sympy.Basic, right: sympy.Basic, digits: int) -> int:
    """The sign of c if left = c right with one constant c, else 0: what makes two equations or inequalities the same."""
    if not all(isinstance(side, sympy.Expr) for side in (left, right)):
        return 0
    left, right = _plain(left), _plain(right)
    if not left.free_symbols or left.free_symbols != right.free_symbols:
        return 0
    constants = []
    for point in _points(left, right):
        a, b = _value(left.subs(point), digits), _value(right.subs(point), digits)
        if a is None or b is None or b[0] == 0 or a[1] != 0 or b[1] != 0:
            continue
        constants.append(a[0] / b[0])
    if len(constants) < _NEEDED or constants[0] == 0:
        return 0
    alike = all(_close((constants[0], 0), (c, 0), digits - _SPARE) for c in constants)
    return (1 if constants[0] > 0 else -1) if alike else 0


def _sums_a_sequence(expression: sympy.Basic) -> bool:
    """Whether a sum is over members of a sequence, a_k, which are no constants although they are symbols of their own."""
    return any(
        re.search(rf"_.*{re.escape(str(index))}", str(symbol))
        for total in expression.atoms(sympy.Sum, sympy.Product)
        for index in total.bound_symbols
        for symbol in total.function.free_symbols
    )


def _plain(expression: sympy.Basic) -> sympy.Basic:
    """With a symbol in the place of each unknown function's value; sums and integrals done."""
    calls = sorted(expression.atoms(AppliedUndef), key=str)
    expression = expression.subs({call: sympy.Symbol(f"call:{call}", real=True) for call in calls})
    return expression.doit() if expression.has(sympy.Sum, sympy.Integral, sympy.Product) else expression


def _points(left: sympy.Basic, right: sympy.Basic) -> list[dict[sympy.Symbol, sympy.Rational]]:
    """Random points of both signs, the same for the same texts; one without coordinates if nothing is free."""
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    if not symbols:
        return [{}]
    draw = random.Random(len(symbols))
    points = []
    for n in range(_POINTS):
        # Of both signs, below and above 1: high powers vanish on the one side and hide all else on the other.
        signs, bounds = (-1, 1) if n % 2 else (1,), (3, 96) if n % 4 < 2 else (98, 400)
        points.append({s: sympy.Rational(draw.choice(signs) * draw.randint(*bounds), 97) for s in symbols})
    return points


def _value(expression: sympy.Basic, digits: int) -> tuple[sympy.Float, sympy.Float] | None:
    """Real and imaginary part; None if there is no finite value. What is only noise around zero is zero."""
    number = expression.evalf(digits, maxn=8 * digits)
    if number in (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return None
    parts = []
    for part in number.as_real_imag():
        if not (part.is_Float or part.is_Rational):
            return None
        is_noise = part.is_Float and part._prec == 1
        # Beyond the digits that are compared a sum would hide its smaller parts.
        if not is_noise and part and abs(sympy.Float(part, 15)) > sympy.Float(10, 15) ** digits:
            return None
        parts.append(sympy.Integer(0) if is_noise else part)
    return parts[0], parts[1]


def _close(a: tuple[sympy.Basic, sympy.Basic], b: tuple[sympy.Basic, sympy.Basic], digits: int) -> bool:
    size = max(abs(part) for part in (*a, *b))
    return size == 0 or all(abs(x - y) <= size * sympy.Float(10, digits) ** -digits for x, y in zip(a, b, strict=True))
