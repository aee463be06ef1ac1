"""Formulas and their spellings: (true answer, right predictions, nearly right ones) for each kind."""

Row = tuple[str, list[str], list[str]]

LEFT_SIDES: list[Row] = [
    (
        "30",
        [r"m\angle ABC = 30", r"\angle ABC = 30^\circ", "x = 30", "AB = 30", "x=30"],
        ["-x = 30", "2x = 30", "x = -30", "x > 30", r"x \ne 30", "x + 1 = 30", "x^2 = 30"],
    ),
    (r"m\angle ABC = 30", ["30", "30°", r"m\angle ABC = 30^\circ"], [r"m\angle ABC = 60", "-30", r"m\angle ABD = 30"]),
    ("x^2-1", ["f(x) = x^2-1", "y = x^2 - 1", "f(x) = (x-1)(x+1)"], ["f(x) = x^2+1", "-y = x^2-1", "y > x^2 - 1"]),
    ("f(x) = 2x", ["2x", "f(x)=x+x", "y = 2x"[:0] + "f(x) = 2x"], ["f(x) = -2x", "g(x) = 2x", "x"]),
    ("1/4", [r"P(A) = \frac{1}{4}", "P(A)=0.25", r"\sin x = 1/4"], ["P(A) = 4", "P(A) = 3/4"]),
    (
        "5",
        [r"x = \frac{10}{2} = 5", "n = 5", "a_5 = 5"[:0] + "a_{3} = 5", "BC = 5", r"|x| = 6"[:0] + "k = 2+3 = 5"],
        [r"x = \frac{10}{2} = 6", "5 = 6", r"|x| = 5", "x = 4 = 5"],
    ),
    ("(1,-2)", ["(x,y) = (1,-2)", "(x, y) = (1, -2)", "P = (1,-2)"], ["(x,y) = (-2,1)", "(x,y) = (1,2)"]),
    ("x=1, y=2", ["y=2, x=1", "x = 1 and y = 2", "1, 2"], ["x=2, y=1", "2, 1", "x=1", "x=1, y=-2"]),
    ("-0.76", ["E_{cell} = -0.76", r"E^{\circ}_{cell} = -0.76"[:0] + "E = -0.76"], ["E = 0.76", "-E = -0.76", "E < -0.76"]),
    (
        "7:32",
        ["S_{MBCN}:S = 7:32", "V_1 : V_2 = 7:32", r"A:B = \frac{7}{32}"],
        ["S:T = 32:7", "A:B = 7", "A:B > 7:32", "-A:B = 7:32"],
    ),
    (
        r"\frac{1}{\sqrt{6}}",
        [r"\frac{NO}{BO} = \frac{1}{\sqrt{6}}", r"NO/BO = \frac{\sqrt{6}}{6}", r"|AB| = \frac{1}{\sqrt{6}}"],
        [
            r"\frac{NO}{BO} = \sqrt{6}",
            r"\frac{NO}{2} = \frac{1}{\sqrt{6}}",
            r"|x| = \frac{1}{\sqrt{6}}",
            r"-|AB| = \frac{1}{\sqrt{6}}",
        ],
    ),
    (r"\{2,3\}", [r"x \in \{2,3\}", "x = 2, 3", "2, 3", "x=2 or x=3"], [r"x \in \{2,4\}", "(2,3)", "x = 2"]),
]

UNIONS: list[Row] = [
    (
        r"(-\infty,2)\cup(3,\infty)",
        ["x < 2 or x > 3", r"x<2 \text{ or } x>3", r"x \in (-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"],
        [
            "x > 2 or x < 3",
            r"x \le 2 or x > 3",
            "x < 2 and x > 3",
            r"(-\infty,2]\cup(3,\infty)",
            r"(-\infty,2)\cap(3,\infty)",
            "x < 2",
        ],
    ),
    (
        r"x \le -1 \text{ or } x \ge 4",
        [r"(-\infty,-1]\cup[4,\infty)", r"x \geq 4 \text{ or } x \leq -1"],
        [r"(-\infty,-1)\cup(4,\infty)", r"-1 \le x \le 4", r"x \le 1 or x \ge 4"],
    ),
    (
        "(2,12) \\cup (12,102)",
        ["(2, 12) \\cup (12, 102)", r"x \in (2,12)\cup(12,102)"],
        ["(2,12) \\cup (12,103)", "(2,102)", "(2,12] \\cup (12,102)"],
    ),
    ("1<x<2", ["(1,2)", "x \\in (1, 2)", "1 < x and x < 2", "2 > x > 1"], ["[1,2)", r"1 \le x < 2", "1 < x", "(1,3)"]),
    (r"[0, \infty)", [r"x \ge 0", r"x \geq 0", r"\{x | x \ge 0\}", r"0 \le x"], ["x > 0", r"x \le 0", r"(0, \infty)"]),
    (r"\{x | x > 3\}", ["x > 3", r"(3, \infty)", r"\{x : x > 3\}"], ["x < 3", r"[3,\infty)", r"\{x | x > -3\}"]),
    (
        r"x \ne 4",
        [r"(-\infty,4)\cup(4,\infty)", r"x \neq 4", r"\mathbb{R} \setminus \{4\}"],
        ["x = 4", r"x \ne -4", r"(-\infty,4)"],
    ),
    (
        "all real numbers",
        [r"\mathbb{R}", r"(-\infty,\infty)", r"(-\infty, \infty)"],
        [r"(0,\infty)", r"\emptyset", "all numbers > 0"],
    ),
    ("2x+6>0", ["x>-3", r"(-3,\infty)", "x+3>0"], ["x<-3", r"x \ge -3", "2x+6<0"]),
    (
        "0<f(x)<1",
        ["(0,1)", "1 > f(x) > 0"],
        ["[0,1)", "0<x<1", "0<g(x)<1", "(0,1]", "0<f(x)<2", "(-1,1)"],
    ),
    ("[0,1]\\cup[2,3)", ["[2,3)\\cup[0,1]"], ["[0,1]\\cup[2,3]", "[0,3)", "[0,1)\\cup[2,3)"]),
]

MATRICES: list[Row] = [
    (
        r"\begin{pmatrix}1&-2\\3&4\end{pmatrix}",
        [
            r"\left[\begin{array}{cc}1&-2\\3&4\end{array}\right]",
            r"\begin{bmatrix}1&-2\\3&4\end{bmatrix}",
            r"\left(\begin{array}{rr} 1 & -2 \\ 3 & 4 \end{array}\right)",
            r"\left[\begin{matrix}1&-2\\3&4\end{matrix}\right]",
            r"\begin{pmatrix} 1 & -2 \\ 3 & 4 \\ \end{pmatrix}",
        ],
        [
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"\begin{vmatrix}1&-2\\3&4\end{vmatrix}",
            r"\begin{pmatrix}1&-2\\4&3\end{pmatrix}",
            r"\begin{pmatrix}1&3\\-2&4\end{pmatrix}",
            r"\begin{pmatrix}1&-2&3&4\end{pmatrix}",
            "10",
        ],
    ),
    (
        r"\begin{pmatrix}1/2\\-3\end{pmatrix}",
        [r"\begin{pmatrix}0.5\\-3\end{pmatrix}", r"\begin{bmatrix}\frac{1}{2}\\-3\end{bmatrix}"],
        [r"\begin{pmatrix}-3\\1/2\end{pmatrix}", r"\begin{pmatrix}1/2&-3\end{pmatrix}", "(1/2,-3)"],
    ),
    (
        r"\begin{pmatrix}a+b&0\\0&x\end{pmatrix}",
        [r"\begin{pmatrix}b+a&0\\0&x\end{pmatrix}"],
        [r"\begin{pmatrix}a-b&0\\0&x\end{pmatrix}", r"\begin{pmatrix}a+b&0\\0&-x\end{pmatrix}"],
    ),
    (
        r"2\begin{pmatrix}1&0\\0&1\end{pmatrix}",
        [r"\begin{pmatrix}2&0\\0&2\end{pmatrix}"],
        [r"\begin{pmatrix}2&0\\0&-2\end{pmatrix}", r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"],
    ),
    (
        r"\begin{cases}x&x>0\\-x&x<0\end{cases}",
        [r"\begin{cases} x & x>0 \\ -x & x<0 \end{cases}"],
        [r"\begin{cases}x&x>0\\x&x<0\end{cases}", r"\begin{cases}x&x<0\\-x&x>0\end{cases}"],
    ),
    (
        r"\begin{pmatrix}\text{yes}&\text{no}\end{pmatrix}",
        [r"\begin{pmatrix}yes&no\end{pmatrix}"],
        [r"\begin{pmatrix}no&yes\end{pmatrix}"],
    ),
    (
        r"\begin{bmatrix}1\\2\\3\end{bmatrix}",
        [r"\begin{pmatrix}1\\2\\3\end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \\ 3 \end{bmatrix}"],
        [r"\begin{bmatrix}1\\2\\-3\end{bmatrix}", r"\begin{bmatrix}3\\2\\1\end{bmatrix}"],
    ),
    (r"\begin{pmatrix}5\end{pmatrix}", [r"\begin{bmatrix}5\end{bmatrix}"], [r"\begin{pmatrix}-5\end{pmatrix}"]),
]

SPACING: list[Row] = [
    (
        r"2\sqrt{3}",
        [r"2\,\sqrt{3}", r"2 \sqrt 3", r"2\sqrt3", r"2\!\sqrt{3}", r"\displaystyle 2\sqrt{3}", r"2 \cdot \sqrt{3}", "2√3"],
        [r"\sqrt{23}", r"-2\sqrt{3}", r"2\sqrt{-3}", r"2+\sqrt{3}"],
    ),
    (
        r"\frac{3}{4}",
        [
            r"\frac34",
            r"\dfrac{3}{4}",
            r"\tfrac34",
            r"\frac{3}4",
            r"\frac3{4}",
            r"\left(\frac{3}{4}\right)",
            r"\cfrac{3}{4}",
            "3 / 4",
        ],
        [r"\frac43", r"\frac{-3}{4}", "34"],
    ),
    (r"(1,\,2)", [r"\left(1,2\right)", r"\big(1,\;2\big)", r"\bigl( 1 , 2 \bigr)", "(1,~2)"], ["(12)", "(1;3)", "[1,2]"]),
    (
        "5 cm",
        [
            r"5\text{ cm}",
            r"5\,\text{cm}",
            r"5~\mathrm{cm}",
            r"5\textnormal{ cm}",
            r"5 \mbox{ cm}",
            r"5{\rm\ cm}",
            r"5\;\textrm{cm}",
        ],
        [r"5\text{ m}", r"-5\text{ cm}"],
    ),
    (
        "cat",
        [r"\text{cat}", r"\textbf{cat}", r"\mathrm{cat}", r"\textit{cat}", r"\emph{cat}", '"cat"'],
        [r"\text{dog}", r"\text{ca}"],
    ),
    ("x^{2}", ["x^2", "x²", "x**2", r"x^{ 2 }", "$x^2$"], ["x_2", "x^{-2}", "2x", "x2"]),
    ("x_{1}", ["x_1", "x₁", "x_{ 1 }"], ["x_2", "x^1", "x1"]),
    (r"\pi/2", [r"\frac\pi2", "π/2", "pi/2", r"\frac{\pi}{2}", "0.5π"], [r"2/\pi", r"-\pi/2", "pi^2"]),
    (r"a \le b", [r"a \leq b", r"a \leqslant b", "a ≤ b", "a <= b"], ["a < b", r"a \ge b", r"b \le a"]),
]

EXPRESSIONS: list[Row] = [
    ("x^2+2x+1", ["(x+1)^2", "1+2x+x^2", "x(x+2)+1"], ["x^2+2x-1", "(x-1)^2", "x^2+2x", "(X+1)^2"]),
    (r"\frac{1}{x+1}", ["1/(x+1)", "(x+1)^{-1}"], ["1/x+1", "1/(x-1)", "-1/(x+1)"]),
    (r"\sqrt{x^2}", ["|x|"], ["x", "-x"]),
    ("e^{2x}", [r"(e^x)^2", r"\exp(2x)", r"e^x e^x"], ["e^{-2x}", "2e^x", "e^{x}"]),
    (r"2\sin x\cos x", [r"\sin 2x", r"\sin(2x)"], [r"\sin x", r"-\sin 2x", r"2\sin x"]),
    (r"\ln 4", [r"2\ln 2", r"\ln(4)"], [r"\ln 2", r"-\ln 4", r"\log 4"]),
    (r"\binom{5}{2}", ["10", r"\frac{5!}{2!3!}", r"\binom{5}{3}"], ["20", r"\binom{5}{1}"]),
    ("f'(x)", ["f'(x)"], ["f(x)", "f''(x)"]),
    (
        r"34x+45y-20z+100=0",
        ["-34x-45y+20z-100=0", "68x+90y-40z+200=0"],
        ["34x+45y+20z+100=0", "34x+45y-20z=0", "34x+45y-20z+100>0"],
    ),
    (r"\tan^2(y)+1", [r"\sec^2(y)", r"1+\tan^2 y"], [r"\tan^2(y)-1", r"\sec(y)"]),
    (
        r"\frac{\sqrt{\sqrt{11}+\sqrt{194}}}{15+2\sqrt{33}}",
        [r"\frac{\sqrt{\sqrt{11}+\sqrt{194}}}{2\sqrt{33}+15}"],
        [r"\frac{\sqrt{\sqrt{11}-\sqrt{194}}}{2\sqrt{33}+15}"],
    ),
    (r"\sqrt{17}", ["4.123105625617661", "4.123106"], ["4.123105625617669", "4.12", r"4\sqrt{17}"]),
    ("1112112_3", ["1112112_{3}"], ["1112122_3", "1112112_2", "1112112"]),
    (r"\frac{1}{3}", [r"$\frac{1}{3},$", r"\[\frac{1}{3}.\]", r"$$\frac{1}{3} .$$"], ["1", r"\frac{1}{3}x"]),
    ("1, 2, 3", ["1, 2, 3."], ["1, 2, 3, ...", "1, 2"]),
    (r"(\frac{3}{5},\frac{8}{3}]", ["(0.6, 8/3]"], ["(0.6,2.67]", r"[\frac{3}{5},\frac{8}{3}]"]),
    ("A^T", ["A^{T}"], ["A", "A^{-1}", "A^2"]),
    ("A", ["A"], ["a cat", "B"]),
    ("3+4i", ["4i+3"], ["3-4i", "4+3i", "7i"]),
    ("ab", ["ba", "a b"], ["abd", "a", "-ab"]),
    ("n!", ["n!"], ["n", "(n+1)!", "n!-1"]),
    ("x^{1000}", [r"x^{999} \cdot x"], ["x^{1001}", "x^{1000}+1"]),
    (r"1+10^{-60}", [r"10^{-60}+1"], ["1", r"1-10^{-60}"]),
    (r"9^{9^{9^9}}", ["9^{9^{9^9}}"], ["9^{9^{9}}", "5"]),
]

RATIOS_AND_LISTS: list[Row] = [
    (
        "2, 3",
        [r"\boxed{2} and \boxed{3}", r"$\boxed{3}$, $\boxed{2}$", r"\boxed{2} \quad \text{and} \quad \boxed{3}"],
        [r"\boxed{2}\boxed{3}", r"\boxed{2} - \boxed{3}", r"\boxed{2}, \boxed{3}, \boxed{4}", r"\boxed{2}, \boxed{-3}"],
    ),
    (
        r"(2, 5), (6, 2)",
        [r"\boxed{(2, 5)} \quad \text{and} \quad \boxed{(6, 2)}", r"\boxed{(6,2)}, \boxed{(2,5)}"],
        [r"\boxed{(2, 5)} \cdot \boxed{(6, 2)}", r"\boxed{(2, 5)} and \boxed{(5, 2)}", r"\boxed{(2, 5)} and (6, -2)"],
    ),
    ("x<1 or x>2", [r"\boxed{x<1} or \boxed{x>2}"], [r"\boxed{x<1} and \boxed{x>2}", r"\boxed{x<1} or \boxed{x<2}"]),
    ("3:4", ["6:8", "3/4", "3 : 4", "3 to 4"], ["4:3", "3:5", "-3:4"]),
    ("1:2:3", ["2:4:6", "1 : 2 : 3"], ["1:3:2", "1:2", "3:2:1"]),
    (
        r"1 \pm \sqrt{2}",
        [r"1+\sqrt{2}, 1-\sqrt{2}", r"1-\sqrt{2} and 1+\sqrt{2}"],
        [r"1+\sqrt{2}", r"-1 \pm \sqrt{2}", r"1 \pm \sqrt{3}"],
    ),
    (
        "2, -3, 5",
        ["5, 2, -3", "2, -3 and 5", r"\{2,-3,5\}", "-3; 2; 5"],
        ["2, 3, 5", "2, -3", "(2,-3,5)", "2, -3, 5, 6", "[2,-3,5]"],
    ),
    (
        "red, green and blue",
        ["green, blue, red", "blue, green and red"],
        ["red and blue", "red, green", "red, green and yellow"],
    ),
    ("((1,2),(3,4))", ["((1, 2), (3, 4))"], ["((3,4),(1,2))", "((1,2),(4,3))", "(1,2,3,4)"]),
    ("(1,2), (3,4)", ["(3,4), (1,2)", "(1, 2) and (3, 4)"], ["(2,1), (3,4)", "(1,2)", "(1,2),(3,-4)"]),
    (r"\langle 1,2\rangle", [r"\langle 1, 2 \rangle"], [r"\langle 2,1\rangle", "(1,2)"]),
]

FORMULAS: dict[str, list[Row]] = {
    "left sides": LEFT_SIDES, "unions": UNIONS, "matrices": MATRICES, "spacing": SPACING, "expressions": EXPRESSIONS,
    "ratios and lists": RATIOS_AND_LISTS,
}  # fmt: skip
