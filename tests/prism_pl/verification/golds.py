"""True answers as the MATH, geometry and science sets have them: what the mutation test changes by one character."""

GOLDS = [
    # Numbers, tiny, huge and endless.
    "12", "-7", "0.05", "3.14", "1000000", "1,234,567", "-0.5", "2.50", r"1.6\cdot10^{-19}", "10^{-19}",
    r"6.02 \times 10^{23}", "1.6e-19", r"3 \times 10^8 m/s", r"6.67 \times 10^{-11}", "0.0000001", "0.00000123",
    "123456789012345", "2^{100}", "2^{-40}", "10^{40}+1", "1+10^{-30}", r"0.\overline{3}", r"0.1\overline{6}",
    r"2.\overline{142857}", r"\frac{22}{7}", r"-\frac{3}{4}", "7/8", r"\dfrac{125}{8}", r"3\frac{1}{2}", r"-2\frac{3}{5}",
    r"\frac{12345678}{7}", r"\frac{1}{1000001}", "1.0000001", "99999.99",
    # Roots, powers, constants.
    r"\sqrt{2}", r"2\sqrt{3}", r"-3\sqrt{5}", r"\frac{\sqrt{3}}{2}", r"\sqrt[3]{4}", r"\frac{1+\sqrt{5}}{2}",
    r"5-2\sqrt{6}", r"\sqrt{2}+\sqrt{3}", r"\sqrt{13+4\sqrt{3}}", r"\pi", r"\frac{\pi}{6}", r"4\pi", r"-\frac{5\pi}{12}",
    r"100\pi-48", "e^2", "e^{-1}", r"\ln 2", r"\log_2 5", r"\frac{\ln 3}{\ln 2}", "3^{1/3}", "2^{n+1}",
    r"\frac{9\sqrt{3}}{4}+3\pi", r"\tan 15^\circ", r"\sin 30^\circ", r"\cos\frac{\pi}{7}", r"\arctan 2",
    r"\frac{\sqrt{2}-1}{3}", "7!", r"\binom{10}{3}", r"\binom{n}{2}",
    # Polynomials and other expressions.
    "x^2-5x+6", "(x-2)(x-3)", "2x^3+3x-1", "-x^2+4", "a^2+2ab+b^2", "(a+b)^3", r"\frac{x+1}{x-1}",
    r"\frac{1}{x}+\frac{1}{y}", "3x-2y+z", "x^{10}-1", r"\frac{x^2}{4}", "2x+3", "abc+1", "ab-bc", "x(y-z)",
    r"\frac{a-b}{a+b}", r"\sqrt{x^2+1}", "|x-3|+2", "|2x+1|", "e^{2x}", "x e^{-x}", r"\sin 2x", r"2\sin x\cos x",
    r"\cos^2 x-\sin^2 x", r"\ln(x+1)", r"x\ln x-x", r"\frac{n(n+1)}{2}", "n^2-n+41", "2^n-1", "3^{2k}", "r_1+r_2",
    "a_{n+1}-a_n", "x_1x_2", r"v_0t-\frac{1}{2}gt^2", "mc^2", r"\frac{kq_1q_2}{r^2}", r"\lambda+\mu", r"\alpha\beta-1",
    "y^4-2y^3+7y^2+y-5", "(x+1)(x-1)(x^2+1)", "6x^2y-9xy^2", "-16x^4+x^2+2x+1", r"\frac{3}{2}x-\frac{7}{2}", "0.5x+1.25",
    "1.5t-4.9t^2",
    # Complex numbers.
    "3+4i", "-1-i", "2i", r"\frac{1+i}{2}", "5-12i", r"e^{i\pi/3}", r"-\frac{1}{2}+\frac{\sqrt{3}}{2}i",
    # Equations, inequalities, intervals, sets.
    "x=5", "y=2x+1", r"y = -\frac{1}{2}x + 3", "x^2+y^2=25", "(x-1)^2+(y+2)^2=9", "3x+2y-7=0", r"x=\pm 2",
    r"x = -1 \pm \sqrt{2}", "f(x)=x^2-1", "a_n=3n-2", "E_{cell}=-0.76", r"E_{\text{cell}} = -0.76 \text{ V}",
    "S_{MBCN}:S=7:32", r"|AB|=\sqrt{2}", r"\frac{NO}{BO}=\frac{1}{\sqrt{6}}", "AB/CD=3", "0<f(x)<1",
    r"\boxed{x=1} and \boxed{y=-2}",
    r"m\angle ABC=30", "AB=12", "P(A)=0.3", "x>3", r"x \ge -2", r"x<\frac{1}{2}", r"x \ne 4", "-1<x<3", r"0 \le x < 5",
    r"-2 \leq x \leq 2", "x<2 or x>3", r"x \le -1 \text{ or } x \ge 4", "(0,5)", "[-1,3)", r"(-\infty,2]", r"[3,\infty)",
    r"(-\infty,-1)\cup(1,\infty)", r"(2,12)\cup(12,102)", r"[0,1]\cup[2,3)", r"\{1,2,3\}", r"\{-2,0,5\}",
    r"\{x | x > 3\}", r"\left[-\frac{1}{2},\frac{3}{4}\right]", "(0,180)", "(3,120)", "[100,200]", "1,2,3", "-1,4",
    r"2\pm\sqrt{3}", "x=1, y=2", "x=-1 or x=3", "a=3, b=-2, c=5", "1,000, 2,000", r"3, \frac{1}{2}, -4",
    # Tuples, matrices, cases.
    "(1,2)", "(-3,4)", "(2,-1,5)", r"\left(\frac{1}{2},-3\right)", "(x,y)=(1,-2)", r"(3,\frac{\pi}{2})", "(1.5,2.25)",
    "((1,2),(3,4))", "(a,b,c)=(1,2,3)", r"\langle 1,-2,3\rangle", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"\begin{pmatrix}-1\\2\\0\end{pmatrix}", r"\begin{bmatrix}1&-2\\0.5&3\end{bmatrix}",
    r"\begin{pmatrix} 1/2 & -1/3 \\ 2 & -5 \end{pmatrix}", r"\begin{vmatrix}1&2\\3&4\end{vmatrix}",
    r"\left[\begin{array}{cc}1&0\\0&-1\end{array}\right]", r"2\begin{pmatrix}1&0\\0&1\end{pmatrix}",
    r"\begin{cases}x+1&x<0\\x-1&x\ge 0\end{cases}", r"\begin{pmatrix}a+b&c\\-d&e\end{pmatrix}",
    r"\frac{1}{2}\begin{pmatrix}1\\-1\end{pmatrix}",
    # Units, percent, money, time.
    "5 kg", "12 cm^2", "9.8 m/s^2", "-40 °C", "25%", r"12.5\%", "$3.50", r"\$1,250", "3 hours 20 minutes", r"90^\circ",
    "60 km/h", r"1.5 \times 10^3 J", r"4\pi \text{ cm}^2", r"10\sqrt{2} \text{ m}", "-5 V", "0.76 V", "10:30", "10:30 am",
    "March 5, 2020", "2020-03-05", "3:4", "1:2:3", "-3 apples",
    # Words beside mathematics.
    "x > 3 only", "Height: 1/2", "x=2 is the only solution", "increasing on (0,2)", "all x<1",
    "5 units to the left of -3", "abc+1", "f is odd and f(0)=0", "slope -2", "even if n>2", "between 3.5 and 4.5",
    "the line y=2x-1", "true for x<0", "radius 2.5 centre (1,-1)", "NaCl + H2O", r"2H_2 + O_2 \to 2H_2O", "H_2SO_4",
    "Fe^{3+}", "Na^+", "1s^2 2s^2", "C_6H_{12}O_6", "p < 0.05", "R^2=0.81", "A^T", "A^{-1}", "f'(x)", r"\vec{a}-\vec{b}",
    r"\overline{AB}", r"x \to -\infty", r"a \equiv 3 \pmod{7}", r"\sum_{n=1}^{5} n", r"\int_0^1 x^2 dx",
    r"\lim_{x\to 0} x", r"\lfloor x \rfloor + 1",
    # Exact and rounded, points, doubled backslashes, sums of sequences, complex numbers, parts of a unit.
    r"4\pi \approx 12.57", r"x \approx 11", r"x=\frac{1}{3}\approx 0.333", r"\sqrt{20} \approx 4.47", "p=5,q=2;p=7,q=2",
    "x=1, y=2 or x=3, y=4", "1,2;3,4", "(37,3),(17,3),(3,2)", "(3,-1,4)", "3,-1,4", "(5,-2)", "x=2, y=-3", "0,180",
    r"x \in \{2,-3\}", r"\{x | x<-1 \text{ or } x>3\}", r"x \\in [-2,7]", r"\\frac{1}{2}", r"2\\sqrt{3}",
    r"\sum_{k=0}^{n} a_k b_{n-k}", r"F_n = \sum_{k=0}^{n-1} F_k F_{n-k-1}", r"\sum_{i=1}^{10} i^2", "(1+i)^2",
    r"\frac{1}{1-2i}", "(3-2i)^2+1", "half of a day", "3/4 of an hour", "= 36",
]  # fmt: skip
