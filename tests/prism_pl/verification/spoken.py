"""Answers in words and sentences: (true answer, right predictions, nearly right ones) for each kind."""

Row = tuple[str, list[str], list[str]]

NUMBERS_IN_WORDS: list[Row] = [
    ("23", ["twenty-three", "twenty three", "Twenty-three"], ["thirty-two", "twenty-four", "two three"]),
    (
        "105",
        ["one hundred and five", "one hundred five", "a hundred and five"],
        ["one hundred fifty", "one hundred", "fifteen"],
    ),
    ("-3", ["minus three", "negative three", "negative 3"[:0] + "minus three"], ["three", "plus three", "minus thirteen"]),
    ("2/3", ["two thirds", "two-thirds"], ["three halves", "two", "two fifths"]),
    ("1/2", ["half", "one half", "a half", "one-half"], ["half a dozen", "two halves", "one quarter"]),
    ("3/4", ["three quarters", "three-fourths", "three fourths"], ["four thirds", "three", "a quarter"]),
    ("2.5", ["two and a half", "two point five"], ["two and a quarter", "half of two", "twenty-five"]),
    ("12", ["a dozen", "twelve", "one dozen"], ["two dozen", "twenty", "twelve thousand"]),
    ("3500", ["three thousand five hundred", "3.5 thousand"], ["three thousand five", "thirty-five"]),
    ("2000000", ["two million", "2 million"], ["two billion", "2", "two hundred thousand"]),
    ("0", ["zero"], ["one", "ten"]),
    ("seven", ["7", "7.0", "Seven"], ["8", "seventeen", "seventy"]),
    ("eighteen", ["18"], ["80", "eighty"]),
    ("one third", ["1/3", "a third"], ["third", "3", "3/1"]),
    ("five apples", ["5 apples", "5", "five"], ["five pears", "four apples"]),
]

ORDINALS: list[Row] = [
    ("3rd", ["third", "the third", "3", "the 3rd"], ["13th", "1/3", "2nd", "a third"]),
    ("first", ["1st", "the first", "First"], ["11th", "second", "fist"]),
    ("21st", ["twenty-first", "21"], ["12th", "twenty-one hundred", "22nd"]),
    ("twelfth", ["12th", "the twelfth"], ["20th", "12.5"]),
    ("the fifth", ["5th", "fifth"], ["50th", "1/5", "fifteenth"]),
    ("100th", ["100", "hundredth"], ["1/100", "10th"]),
    ("second", ["2nd"], ["2 seconds"[:0] + "3rd", "1/2", "twenty-second"]),
    ("11th", ["eleventh"], ["11st", "111th"]),
]

SENTENCES: list[Row] = [
    (
        "12",
        [
            "The answer is 12.",
            "There are 12 apples in the box.",
            "Answer: 12",
            "So, the final answer is 12",
            "It is 12",
            "She has twelve coins",
            "Therefore, the value is 12.",
            "the total is 12",
            "We get 12"[:0] + "the answer is $12$",
            "The final answer is: 12",
            "Hence the sum is 12",
        ],
        [
            "The answer is not 12.",
            "There are 12 or 13 apples.",
            "more than 12",
            "at least 12",
            "There are 13 apples.",
            "12 is wrong",
            "The answer is -12",
            "twice 12",
            "12 and 13",
            "The answer is 12 times x",
            "between 12 and 14",
            "The answer is 1.2",
        ],
    ),
    (
        "5 km",
        ["The distance is 5 km.", "He walks 5 kilometres", "It is 5000 m away"],
        ["The distance is 5 miles.", "He does not walk 5 km", "He walks 50 km"],
    ),
    (
        r"\frac{1}{2}",
        ["The probability is 1/2.", r"the answer is $\frac{1}{2}$", "Height: 1/2", "The ratio is 0.5"],
        ["The probability is not 1/2", "Height: 1.2", "The answer is 2/1"],
    ),
    ("x^2+1", ["The answer is $x^2+1$.", "the expression is x^2 + 1"], ["The answer is x^2-1", "The answer is x^2"]),
    ("$45", ["It costs $45.", "The total cost is $45", "the price is 45 dollars"], ["It costs $54.", "It costs 45 euros"]),
    (
        "Paris",
        ["The answer is Paris.", "It is Paris", "It's Paris.", "Answer: Paris"],
        ["The answer is London.", "It is not Paris", "Paris or London", "Not Paris"],
    ),
    ("30%", ["The percentage is 30%.", "the answer is 30 percent"], ["The answer is 30", "the answer is 3%"]),
    ("(1, 2)", ["The point is (1, 2).", "the answer is (1,2)"], ["The point is (2, 1).", "the answer is [1,2]"]),
]

CHOICES_WITH_REASONS: list[Row] = [
    (
        "B",
        [
            "B because the slope is 2",
            "The answer is B, since A is too small",
            "Option A is wrong. The answer is B.",
            "(B), as A and C are false",
            "It's B.",
            "I choose B",
            "B. The cat is blue",
            "Not A and not C, so B",
            "The correct option is (B)",
            "A is incorrect, therefore B",
            "B is correct because A fails",
            "Answer: (B)",
            "After ruling out A, C and D, only B is left",
            "The best choice is B, not C.",
        ],
        [
            "The answer is not B",
            "A because B is wrong",
            "B is wrong",
            "The answer is A, not B",
            "B or C",
            "Neither B nor C",
            "(C), since B is incorrect",
            "Either A or B",
            "D",
            "A and B",
        ],
    ),
    ("(C)", ["C", "The answer is C", "C)", "c", "Choice C is right", "option (c)"], ["(D)", "C or D", "Not C", "CC", "B"]),
    ("D. none of these", ["D", "(D)", "D. none of these", "The answer is D"], ["C", "A. none", "not D"]),
    (
        "(B) 12 cm",
        ["B", "(B) 12 cm", "B. 12 cm", "B) 12 cm", "(B)"],
        ["(B) 22 cm", "(C) 12 cm", "(B) -12 cm", "12"[:0] + "A"],
    ),
    (
        "A",
        ["A is the only one that fits", "(A) because of symmetry", "The answer is A.", "Option A"],
        ["A cat sat on the mat", "An apple", "Option A is wrong", "It is not A", "B, since A is false"],
    ),
]

SEVERAL_LETTERS: list[Row] = [
    (
        "A, C",
        [
            "C, A",
            "A and C",
            "(A) and (C)",
            "AC",
            "Both A and C",
            "A and C are correct",
            "A; C",
            "A,C",
            "The answers are A and C",
        ],
        ["A", "A, B", "A, B, C", "A or D", "AB", "C"],
    ),
    ("AC", ["A, C", "A and C", "AC"], ["AB", "A", "ABC"]),
    ("BCD", ["B, C, D", "B, C and D", "BCD", "D, C, B"], ["BC", "ABCD", "B"]),
    ("A and B", ["A, B", "both A and B", "AB", "B and A"], ["A", "B", "A and C", "not A and B"]),
    ("(A), (D)", ["A and D", "AD", "(D), (A)"], ["(A)", "A, C"]),
    ("B, E", ["B and E", "E, B"], ["B", "E", "B, F"]),
    ("A, B, C", ["ABC", "A, B and C", "C, B, A"], ["AB", "A, B", "A, B, D"]),
    ("C and D", ["C, D", "CD"], ["C", "D, E"]),
]

YES_AND_NO: list[Row] = [
    (
        "yes",
        [
            "Yes",
            "Yes.",
            "Yes, because 3 < 4",
            "yes, it is",
            "Yes - it is a function",
            "The answer is yes",
            "YES!",
            "Yes it is.",
        ],
        ["no", "No, because 3 < 4", "yes and no", "Yes or no", "not yes", "maybe"],
    ),
    (
        "no",
        ["No", "No.", "No, since the slope is negative", "no: it fails", "The answer is no"],
        ["yes", "Yes, there is no other", "no and yes", "No solutions exist"],
    ),
    (
        "True",
        ["true", "True, because x = 2", "The answer is true", "TRUE."],
        ["False", "false, it is not true", "not true", "True or false"],
    ),
    (
        "False",
        ["false", "False, as 2 > 1", "The statement is false"[:0] + "Answer: False"],
        ["True", "not false", "true, not false"],
    ),
    ("Yes, it is a right triangle", ["Yes", "yes, since 9 + 16 = 25"], ["No", "No, it is a right triangle"]),
    ("No, because the lines are parallel", ["No", "no."], ["Yes", "yes, because the lines are parallel"]),
    (
        "no solution",
        ["No solution", "no solutions", r"\emptyset", "There is no solution", "No real solutions"],
        ["no", "one solution", "0", "no"],
    ),
    ("yes, x=2", ["Yes, x = 2", "yes, 2"], ["no", "No, x=2", "yes, x=3", "yes, x<2", "Yes"]),
]

WORD_FORMS: list[Row] = [
    (
        "a blue cat",
        ["the blue cat", "blue cat", "Blue cats", "A blue cat."],
        ["a red cat", "not a blue cat", "blue", "cat"],
    ),
    ("triangles", ["triangle", "Triangle", "the triangle"], ["rectangle", "two triangles", "triangular"]),
    ("the number line", ["number line", "Number Line."], ["number", "the number lines up"]),
    (
        "isosceles triangle",
        ["an isosceles triangle", "Isosceles triangles"],
        ["scalene triangle", "isosceles", "not isosceles triangle"],
    ),
    ("boxes", ["box", "the boxes", "a box"], ["fox", "boxing"]),
    ("three sides", ["3 sides", "three side", "3 Sides."], ["four sides", "-3 sides", "3.5 sides"]),
    ("New York City", ["new york city", "New York City."], ["New York", "York City"]),
    ("H2O", ["H2O"], ["H3O", "HO2", "2HO"]),
    ("vitamin A", ["Vitamin A"], ["vitamin", "vitamin B"]),
    ("x is prime", ["x is prime.", "X is prime"[:0] + "$x$ is prime"], ["y is prime", "x is not prime"]),
    ("north-west", ["north west", "North-West"], ["north-east", "west north"]),
]

MIXED_TEXT: list[Row] = [
    (
        "x > 3 only",
        ["x > 3 only", "x>3 only", "x > 3 Only."],
        ["x < 3 only", "x > 3", r"x \ge 3 only", "x > -3 only", "x = 3 only"],
    ),
    ("abc+1", ["1+abc", "abc + 1"], ["abc-1", "abc", "abc+2"]),
    (r"E_{cell}=-0.76", ["-0.76", r"E_{\text{cell}} = -0.76"], ["0.76", "-0.67", r"E_{cell}=0.76", "-7.6"]),
    ("Height: 1/2", ["1/2", "0.5", "height: 1/2"], ["1.2", "2/1", "12", "Height: 1.2"]),
    (
        "increasing on (0,2)",
        ["increasing on (0, 2)", "Increasing on (0,2)."],
        ["decreasing on (0,2)", "increasing on [0,2)", "increasing on (0,-2)"],
    ),
    ("slope -2", ["slope -2", "Slope -2"], ["slope 2", "slope - 3"]),
    ("2H_2 + O_2", ["2H_2+O_2", "2H_{2} + O_{2}"], ["2H_2 - O_2", "2H_3 + O_2", "2H_2"]),
    ("radius 2.5", ["2.5"[:0] + "Radius 2.5"], ["radius 25", "radius -2.5", "radius 2.6"]),
]

SPOKEN: dict[str, list[Row]] = {
    "numbers in words": NUMBERS_IN_WORDS, "ordinals": ORDINALS, "sentences": SENTENCES,
    "choices with reasons": CHOICES_WITH_REASONS,
    "several letters": SEVERAL_LETTERS, "yes and no": YES_AND_NO, "word forms": WORD_FORMS, "mixed text": MIXED_TEXT,
}  # fmt: skip
