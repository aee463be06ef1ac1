"""What a careful adversary would try on answers of each source: (true answer, right predictions, nearly right ones)."""

Row = tuple[str, list[str], list[str]]

COMPETITION: list[Row] = [
    (
        "36",
        ["36.0", "$36$", "thirty-six", "36 ways", r"\boxed{36}", "= 36", "6^2", r"\textbf{36}"],
        ["63", "3.6", "-36", r"36\pi", "36x", "36, 6", "6^3", "36!", "36i"],
    ),
    (
        r"\frac{3}{8}",
        ["0.375", "3/8", "37.5%", r"\frac{6}{16}", r"\frac{3}{2^3}", r"\left(\frac{1}{2}\right)^3 \cdot 3"],
        ["8/3", "0.38", "3/80", "37.5", r"\frac{3}{8}%", " 3 8"],
    ),
    (
        r"2\sqrt{5}",
        [r"\sqrt{20}", "2√5", r"\frac{10}{\sqrt{5}}", r"\sqrt{20} \approx 4.47", "4.472136"],
        [r"\sqrt{10}", r"2\sqrt{5}i", "4.47", r"\sqrt{20} \approx 4.57", r"\sqrt{21} \approx 4.47", r"2+\sqrt{5}"],
    ),
    (
        r"12\pi",
        [r"12\pi \approx 37.7", "12π", r"12 \cdot \pi", r"36\pi/3", r"12\pi\text{ square units}", "37.699112"],
        ["12", r"12\pi^2", "37.7", r"\pi^{12}", r"12\pi \approx 12", r"120\pi"],
    ),
    (
        "x^2+3x-4",
        ["(x+4)(x-1)", "x^2 + 3x - 4", "-4+3x+x^2", "x(x+3)-4"],
        ["(x-4)(x+1)", "x^2+3x+4", "x^2-3x-4", "2x+3x-4", "y^2+3y-4", "x^2+3x-4=0"],
    ),
    (
        "x = 2 or x = -3",
        ["x=-3, x=2", "-3, 2", r"x \in \{2,-3\}", r"\{-3,2\}", "2 and -3", "x = 2, -3", r"x=2 \text{ or } x=-3"],
        ["x=2", "2, 3", "x = -2 or x = 3", "x=2 and y=-3", "(2,-3)", "x > 2 or x < -3"],
    ),
    (
        r"(-\infty, -1) \cup (3, \infty)",
        ["x<-1 or x>3", r"x < -1 \cup x > 3", r"\{x | x<-1 \text{ or } x>3\}", "x>3 or x<-1"],
        ["-1<x<3", r"(-\infty,-1]\cup[3,\infty)", "x<-1 and x>3", "(-1,3)"],
    ),
    (
        "f(x)=3x^2-2",
        ["3x^2-2", "f(x) = -2+3x^2", "3x² - 2"],
        ["f(x)=3x^2+2", "3x^2", "g(x)=3x-2", "f(y)=3y^2-2", "f(x)=(3x)^2-2"],
    ),
    ("16x^4-81", ["(2x-3)(2x+3)(4x^2+9)", "(4x^2-9)(4x^2+9)"], ["(2x-3)^4", "(4x^2+9)^2", "16x^4+81"]),
    (
        r"\frac{\sqrt{6}-\sqrt{2}}{4}",
        [r"\sin 15^\circ", r"\frac{1}{4}(\sqrt{6}-\sqrt{2})", "0.258819", r"\frac{\sqrt{2}(\sqrt{3}-1)}{4}"],
        [r"\frac{\sqrt{6}+\sqrt{2}}{4}", r"\frac{\sqrt{2}-\sqrt{6}}{4}", "0.26", r"\cos 15^\circ"],
    ),
    ("2^{2023}", ["2^2023", r"2 \cdot 2^{2022}", "2**2023"], ["2023^2", "2^{2022}", "4046", "2^{2023}-1", "22023"]),
    ("1 + 2i", ["2i+1", "1+2i", r"\frac{5}{1-2i}"], ["1-2i", "2+i", "3i", "-1-2i", r"\sqrt{5}"]),
    (
        r"\begin{pmatrix} -7 & 2 \\ 0 & 1 \end{pmatrix}",
        [r"\begin{bmatrix}-7&2\\0&1\end{bmatrix}", r"\left(\begin{array}{cc} -7 & 2 \\ 0 & 1 \end{array}\right)"],
        [
            r"\begin{pmatrix} -7 & 2 \\ 1 & 0 \end{pmatrix}",
            r"\begin{pmatrix} -7 & 0 \\ 2 & 1 \end{pmatrix}",
            r"\begin{vmatrix}-7&2\\0&1\end{vmatrix}",
            "-7",
        ],
    ),
    ("11_{3}", ["11_3"], ["11", "11_4", "4", "110_3"]),
    ("0.5", ["1/2", "50%", ".5", "0.50", r"\frac{1}{2}"], ["5", "0,5 and 1", "-0.5", "0.05", "50", "5%"]),
    ("1000", ["10^3", "1,000", "1 000", "1000.00", "1e3"], ["100", "10,000", "1.000", "10^4"]),
    (r"-\frac{1}{4}", ["-0.25", "-1/4", r"\frac{1}{-4}", "-25%"], ["1/4", "-4", "-0.4", "0.25"]),
    (
        r"\text{(C)}",
        ["C", "(c)", "C.", "Option C", "The answer is C", "C)"],
        ["D", "B or C", "not C", "CC", "c^2", "(D) C"],
    ),
    (
        r"\text{Saturday}",
        ["Saturday", "saturday.", "It is Saturday", "The answer is Saturday."],
        ["Sunday", "not Saturday", "Saturday or Sunday", "Satur"],
    ),
]

POINTS_AND_LISTS: list[Row] = [
    ("(1,3)", ["(1, 3)"], ["1,3", "1, 3", "{1,3}", "3, 1"]),
    ("(2,1)", ["2, 1", "y=1, x=2"], ["1, 2", "a=2, b=1", "2; 1"]),
    ("2,1", ["1, 2"], ["(2,1)", "2, 1, 1", "2.1"]),
    (r"\{2,3\}", [r"\{3,2\}"], [r"\{2,2,3\}", "2,2,3"]),
    (
        "(1,2), (3,4)",
        ["x=1, y=2; x=3, y=4", "(3,4), (1,2), (3,4)"],
        ["x=1, y=4; x=3, y=2", "a=1, b=2; a=3, b=4", "1,2,3,4", "(1,2), (3,4), (5,6)"],
    ),
    ("(x,y)=(1,2)", ["(y,x)=(2,1)", "x=1, y=2"], ["(y,x)=(1,2)", "(2,1)"]),
    ("m=2, b=3", ["b=3, m=2", "2, 3"], ["(3,2)", "(2,3)", "m=3, b=2"]),
    ("0,5", ["0, 5", "5 and 0"], ["0.5", "5"]),
    (
        "(2,3)",
        ["(2, 3)", "x=2, y=3", "(x,y)=(2,3)", r"\left(2,3\right)"],
        ["(3,2)", "[2,3]", "{2,3}", "2<x<3 only", "x=3,y=2", "(2,3,0)", "2/3", "6", "5"],
    ),
    (
        "(3,-1,4)",
        ["3,-1,4", "(x,y,z)=(3,-1,4)", "x=3, y=-1, z=4"],
        ["-1,3,4", "(3,1,4)", "{3,-1,4}", "[3,-1,4]", "3,-1", "3,-1,4,0", "3, 1, 4"],
    ),
    ("(5,-2)", ["5,-2", "(x,y) = (5,-2)"], ["-2,5", "(5,2)", "5,2", "5-2", "3"]),
    ("1,3,5,7", ["1, 3, 5, and 7", "7,5,3,1", r"\{1,3,5,7\}"], ["1,3,5", "1,3,5,7,9", "1357", "1,3,5,7,7", "(1,3,5,7)"]),
    ("2,2,3", ["2, 3, 2"], ["2,3", "2,3,3", "2,2,3,3"]),
    (
        "p=5,q=2;p=7,q=2",
        ["(5,2),(7,2)", "p=7,q=2;p=5,q=2", "p=5, q=2 or p=7, q=2"],
        ["(2,5),(2,7)", "p=5,q=7;p=2,q=2", "(5,2)", "5,2,7,2", "p=2,q=5;p=2,q=7"],
    ),
    (
        "x=1, y=2 or x=3, y=4",
        ["x=3,y=4 or x=1,y=2", "(1,2), (3,4)", "(x,y)=(1,2) or (3,4)"],
        ["x=1,y=4 or x=3,y=2", "x=1,y=2", "(1,4),(3,2)", "(2,1),(4,3)"],
    ),
    ("1,2;3,4", ["1, 2; 3, 4", "3,4;1,2", "(1,2),(3,4)", "(1,2);(3,4)"], ["1,3;2,4", "1,4;3,2", "2,1;4,3"]),
    ("0,180", ["0, 180", "180, 0", "0 and 180"], ["180", "0180", "0.180"]),
    (r"3, \ldots, 7", ["3, ..., 7"], ["3, 7", "3,...,8"]),
    ("4:3:2", ["8:6:4", "4 : 3 : 2"], ["2:3:4", "4:3", "4:2:3"]),
    (
        "(37,3),(17,3),(3,2)",
        ["(3,2),(17,3),(37,3)", "(37,3),(17,3),(3,2),(17,3)"],
        ["(37,3),(17,3)", "(3,37),(17,3),(3,2)", "(37,3),(17,3),(3,2),(2,3)", "(37,3),(37,3),(3,2)"],
    ),
]

WORD_PROBLEMS: list[Row] = [
    (
        "18",
        ["$18", "18 dollars", "The answer is 18.", "18", "She makes $18 every day", "18.00", "eighteen"],
        ["$1.8", "180", "$18.50", "18%", "-18", "18 or 19", "she makes no 18"],
    ),
    (
        "70000",
        ["$70,000", "70,000", "70 thousand", "70000.0", "seventy thousand", "$70000 profit"],
        ["7000", "$70", "70,00", "700000", "$7,000"],
    ),
    ("5 hours", ["5", "5 h", "300 minutes", "five hours", "5 hrs"], ["5 minutes", "5 days", "50 hours", "6 hours"]),
    ("3/4 of an hour", ["45 minutes", "3/4 hour", "0.75 hours"], ["3/4 minutes", "30 minutes", "4/3 hours"]),
    ("25 percent", ["25%", "0.25", "1/4"], ["25", "2.5%", "75%", "25 cents"]),
    ("$2.50", ["2.5", "$2.5", "250 cents", "2.50 dollars"], ["$25", "$2.05", "2.50 euros", "250", "$-2.50"]),
    ("12 dozen eggs", ["144 eggs", "12 dozen"], ["12 eggs", "12", "24 dozen"]),
    ("540", ["540 meters", "540 m", "He runs 540 meters a week"], ["54", "5400", "540 or so, maybe 550", "450"]),
]

GEOMETRY: list[Row] = [
    (
        r"60^\circ",
        ["60", "60 degrees", "60°", r"\frac{\pi}{3}", r"m\angle A = 60^\circ", r"\angle ABC = 60"],
        ["30", "120°", "60 radians", "6", "60%", "60 cm"],
    ),
    (
        "24 cm^2",
        ["24", "24 cm²", "24 square centimeters", r"24\ \text{cm}^2", "0.0024 m^2", "A = 24 cm^2", "Area = 24"],
        ["24 cm", "24 m^2", "2.4 cm^2", "42 cm^2", "24 cm^3"],
    ),
    (
        "13",
        ["AC = 13", "13 cm", "AC=13 units", r"\sqrt{169}", "|AC| = 13"],
        ["169", "-13", "AC^2=13", "2AC = 13", "AC > 13", "1/3"],
    ),
    (r"3\sqrt{3} cm", [r"3\sqrt{3}", r"\sqrt{27} cm"], [r"3\sqrt{3} m", r"3\sqrt{2} cm", "5.2 cm"]),
    ("similar", ["Similar", "similar."], ["not similar", "congruent", "dissimilar"]),
    (
        "isosceles right triangle",
        ["an isosceles right triangle", "Isosceles right triangle."],
        ["right triangle", "isosceles triangle", "equilateral triangle", "scalene right triangle"],
    ),
    ("AB", ["AB"], ["BC", "A", "AB^2", "AC"]),
    (
        r"\triangle ABC \cong \triangle DEF",
        [r"\triangle ABC \cong \triangle DEF"],
        [r"\triangle ABC \cong \triangle DFE", r"\triangle ABC \sim \triangle DEF"],
    ),
    (
        "y = 2x + 3",
        ["y=3+2x", "2x+3", "2x - y + 3 = 0", "y - 3 = 2x"],
        ["y = 2x - 3", "y=3x+2", "x = 2y+3", "2x+3>0", "y > 2x+3"],
    ),
    (
        "(x-2)^2+(y+1)^2=9",
        ["(y+1)^2+(x-2)^2=9", "x^2+y^2-4x+2y-4=0"],
        ["(x+2)^2+(y-1)^2=9", "(x-2)^2+(y+1)^2=3", "(x-2)^2-(y+1)^2=9"],
    ),
    ("3:2", ["3 : 2", "3 to 2", "6:4", "3/2"], ["2:3", "3:20", "32", "3-2"]),
    (r"\vec{AB}+\vec{BC}", [r"\vec{AB}+\vec{BC}"], [r"\vec{AB}-\vec{BC}"]),
]

CHARTS: list[Row] = [
    ("2015", ["2015", "It was 2015"], ["2016", "2051", "2015 or 2016", "201.5"]),
    ("42.7%", ["42.7 percent", "0.427"], ["4.27%", "42.7", "427%", "42%"]),
    (
        "Brazil",
        ["brazil", "Brazil.", "The answer is Brazil", "Brazil"],
        ["Brasilia", "Not Brazil", "Brazil and Chile", "Argentina"],
    ),
    (
        "1.2 million",
        ["1,200,000", "1200000", "1.2 Million", "1.2 million people"],
        ["1.2", "12 million", "1.2 billion", "1.2 thousand"],
    ),
    ("-3.5", ["−3.5", "-3.50", "-7/2", "– 3.5"], ["3.5", "-35", "-3.05", "-5.3"]),
    ("Jan 2020", ["January 2020", "Jan. 2020"], ["Jan 2021", "Jan 20", "2020"]),
    ("red and blue", ["blue and red", "red, blue"], ["red", "red and green", "reddish blue"]),
    ("0", ["0.0", "zero", "-0", "0%"], ["1", "none of 1", "10", "O"]),
    ("11:45 AM", ["11:45 am", "11:45", "11:45 a.m."], ["11:54 AM", "11:45 PM", "11.45", "23:45"]),
    ("$3.2 billion", ["3.2 billion dollars", "$3,200,000,000"], ["$3.2 million", "$3.2", "$32 billion"]),
]

CHOICES_AND_VERDICTS: list[Row] = [
    (
        "D",
        ["(D)", "D.", "option D", "The correct answer is D", "D) 12", "D: the last"],
        ["A", "(A) D", "D or A", "not D", "E", "Dad"],
    ),
    ("A and D", ["A, D", "D and A", "AD", "(A),(D)"], ["A", "D", "A and B", "A or D", "AA"]),
    ("True", ["true", "True."], ["False", "not true", "true or false", "Untrue"]),
    ("No", ["no", "No, it does not.", "no."], ["Yes", "yes, no", "maybe", "not no"]),
    ("none of the above", ["None of the above.", "none of the above"], ["all of the above", "none", "the above"]),
]

EXACT_AND_ROUNDED: list[Row] = [
    (
        "11",
        [r"x \approx 11", "x=11", r"\approx 11", "about 11"],
        [r"x \approx 12", "x<11", r"x \approx 1.1", r"11 \approx 12", r"x = 12 \approx 11", r"2x \approx 11"],
    ),
    ("0.33", ["0.330"], ["1/3", "0.333", r"\frac{1}{3} \approx 0.34", r"0.3 \approx 0.33", r"\frac{1}{3} \approx 0.33"]),
    (
        r"\frac{1}{3}",
        [r"x=\frac{1}{3}\approx 0.333", r"\frac{1}{3} \approx 0.33"],
        [r"x=\frac{1}{3}\approx 1.3", "0.33", r"\frac{2}{3} \approx 0.33"],
    ),
    ("13", ["13"], [r"4\pi \approx 13", r"x = 4\pi \approx 13", r"\frac{38}{3} \approx 13"]),
    (r"4\pi \approx 12.57", [r"4\pi", "12.57", r"4\pi \approx 12.566"], ["12.6", r"4\pi \approx 12.58", "4", "12.566"]),
    (
        r"-\sqrt{2}",
        [r"-\sqrt{2} \approx -1.41", r"x = -\sqrt{2} \approx -1.414"],
        [r"\sqrt{2} \approx 1.41", r"-\sqrt{2} \approx 1.41", r"-\sqrt{2} \approx -1.42"],
    ),
    (
        r"10\pi cm",
        [r"10\pi \approx 31.4 cm", r"10\pi \text{ cm} \approx 31.4 \text{ cm}"],
        [r"10\pi \approx 31.5 cm", "31.4 cm"],
    ),
]

ESCAPED: list[Row] = [
    (r"x \ge 3", [r"[3,\infty)", r"3 \le x", r"x\geq3", r"x \\ge 3"], ["x>3", "x=3", r"x \le 3", r"(3,\infty)"]),
    (r"\\frac{1}{2}", ["1/2", r"\frac{1}{2}"], ["2", r"\frac{2}{1}"]),
    (
        r"x \\in [-2,7]",
        [r"-2 \le x \le 7", r"x \in [-2,7]", r"-2 \\le x \\le 7"],
        [r"x \\in (-2,7]", r"-2 \\le x < 7", r"x \\in [2,7]"],
    ),
    (r"2\sqrt{3}", [r"2\\sqrt{3}", r"\\sqrt{12}"], [r"2\\sqrt{2}", r"-2\\sqrt{3}", r"2\\3"]),
    (
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        [r"\\begin{pmatrix}1\\\\2\\end{pmatrix}"],
        [r"\\begin{pmatrix}2\\\\1\\end{pmatrix}", r"\\begin{pmatrix}1&2\\end{pmatrix}"],
    ),
]

SUMS: list[Row] = [
    (
        r"\sum_{k=0}^{n} a_k b_{n-k}",
        [r"\sum_{k=0}^{n} b_{n-k} a_k"],
        [r"\sum_{k=0}^{n} a_k b_{n+k}", r"\sum_{k=1}^{n} a_k b_{n-k}", "(n+1)a_kb_{n-k}"],
    ),
    (r"\sum_{k=1}^{n} a_k", [r"\sum_{k=1}^{n} a_k"], ["n a_k", "a_k", r"\sum_{k=1}^{n} b_k"]),
    (r"\sum_{k=1}^{n} k", [r"\frac{n(n+1)}{2}", r"\sum_{k=1}^{n} k"], [r"\sum_{k=0}^{n-1} k", "n", r"\frac{n(n-1)}{2}"]),
    (r"\sum_{k=1}^{n} k^k", [r"\sum_{k=1}^{n} k^k"], [r"\sum_{k=1}^{n} k!", r"\sum_{k=1}^{n} k^{k+1}"]),
    (
        r"F_n = \sum_{k=0}^{n-1} F_k F_{n-k-1}",
        [r"F_n = \sum_{k=0}^{n-1} F_{n-k-1} F_k", r"F_n=\sum_{k=0}^{n-1}F_kF_{n-k-1}"],
        [r"F_n = \sum_{k=0}^{n} F_k F_{n-k-1}", r"F_n = \sum_{k=0}^{n-1} F_k F_{n-k+1}", "F_n = n F_k F_{n-k-1}"],
    ),
    (r"\sum_{i=1}^{10} i^2", ["385", r"\sum_{k=1}^{10} k^2"], ["55", "386", r"\sum_{i=1}^{11} i^2"]),
]

FURTHER_FORMULAS: list[Row] = [
    ("n(n+1)/2", [r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}", r"\frac12 n(n+1)"], ["n(n-1)/2", "n^2/2", "(n+1)/2"]),
    ("a^2 - b^2", ["(a-b)(a+b)", "-b^2+a^2"], ["(a-b)^2", "a^2+b^2", "b^2-a^2"]),
    ("6!", ["720", r"6 \cdot 5!"], ["6", "721", "5!"]),
    (r"\log_{10} 2", [r"\log_{10}(2)", r"\frac{\ln 2}{\ln 10}"], [r"\log_2 10", r"\ln 2"]),
    ("undefined", ["Undefined.", "undefined"], ["0", "defined", "infinite"]),
    ("does not exist", ["Does not exist.", "does not exist"], ["exists", "0", "1"]),
    ("infinitely many", ["Infinitely many", "infinitely many."], ["finitely many", "many", "one"]),
    (r"\sqrt[3]{2}", ["2^{1/3}", r"2^{\frac{1}{3}}", "1.259921"], [r"\sqrt{2}", r"3\sqrt{2}", "1.26", r"\sqrt[2]{3}"]),
    ("e^{-2}", [r"\frac{1}{e^2}", r"\exp(-2)"], ["e^2", "-e^2", "-2e"]),
    (
        "3 < x < 5",
        ["(3,5)", "5 > x > 3", r"x \in (3,5)", "x>3 and x<5"],
        ["[3,5]", "3<x", "3 < x or x < 5", r"3 \le x < 5", "(5,3)"],
    ),
    ("k > -2", [r"(-2,\infty)", "-2 < k", r"k \in (-2, \infty)"], ["k<-2", r"k \ge -2", "k>2"]),
    ("2x+3y=6", ["3y+2x=6", "2x+3y-6=0", r"\frac{x}{3}+\frac{y}{2}=1"], ["2x-3y=6", "3x+2y=6", "2x+3y=-6", "2x+3y"]),
    (r"\$36", ["36", "$36.00", "36 dollars"], ["€36", "$3.6", "$63"]),
]

COMPLEX: list[Row] = [
    ("2i", ["(1+i)^2", "2i", "-2i^3"], ["-2i", "(1-i)^2", "2", "i^2", "2i+1"]),
    ("5-12i", ["(3-2i)^2", "-12i+5", "5-12i"], ["5+12i", "(3+2i)^2", "-5-12i", "12-5i", "17i"]),
    (
        r"\frac{1+i}{2}",
        [r"\frac{1}{1-i}", r"\frac{1}{2}+\frac{i}{2}", "0.5+0.5i"],
        [r"\frac{1-i}{2}", r"\frac{1}{1+i}", "1+i/2"],
    ),
]

PARTS_OF_A_UNIT: list[Row] = [
    ("3/4 of an hour", ["45 minutes", "0.75 hours", "3/4 hour"], ["3/4 minutes", "30 minutes", "4/3 hours"]),
    ("half of a day", ["12 hours", "0.5 days"], ["12 minutes", "half of an hour", "1 day"]),
    ("12 minutes", ["12 min", "720 seconds"], ["12 of the hours", "they spent 12 of all hours there", "12 hours"]),
    ("1/4 of a mile", ["1/4 mile", "0.25 mi"], ["1/4 km", "4 miles"]),
]

ADVERSARIAL: dict[str, list[Row]] = {
    "competition mathematics": COMPETITION,
    "points and lists": POINTS_AND_LISTS,
    "word problems": WORD_PROBLEMS,
    "geometry": GEOMETRY,
    "charts": CHARTS,
    "choices and verdicts": CHOICES_AND_VERDICTS,
    "exact and rounded": EXACT_AND_ROUNDED,
    "escaped": ESCAPED,
    "sums": SUMS,
    "further formulas": FURTHER_FORMULAS,
    "complex numbers": COMPLEX,
    "parts of a unit": PARTS_OF_A_UNIT,
}
