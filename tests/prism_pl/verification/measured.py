"""Numbers and what they measure: (true answer, right predictions, nearly right ones) for each kind of spelling."""

Row = tuple[str, list[str], list[str]]

REPEATING_DECIMALS: list[Row] = [
    (
        "1/3",
        [r"0.\overline{3}", r"0.\bar{3}", "0.333...", "0.3333…", "0.(3)", r"0.\dot{3}"],
        [r"0.\overline{34}", "0.3", r"-0.\overline{3}"],
    ),
    ("1/6", [r"0.1\overline{6}", "0.1666...", r"0.1\bar{6}"], [r"0.\overline{16}", "0.16", r"0.1\overline{7}"]),
    (
        r"0.\overline{142857}",
        ["1/7", r"\frac{1}{7}", "0.142857142857...", r"0.\dot{1}4285\dot{7}"],
        ["1/8", r"0.\overline{142856}", "0.142857"[:5]],
    ),
    (r"\frac{7}{11}", [r"0.\overline{63}", "0.636363...", "7/11"], [r"0.6\overline{3}", "0.63", r"0.\overline{36}"]),
    (r"2.\overline{9}", ["3"], ["2.9", "2", "30"]),
    (r"1.2\overline{34}", [r"\frac{611}{495}", "1.2343434..."], [r"1.\overline{234}", "1.234"]),
    (r"-0.\overline{6}", [r"-\frac{2}{3}", "-2/3"], [r"0.\overline{6}", "2/3", "-0.6"]),
    ("0.3̅", ["1/3"], ["0.3"]),
]

MIXED_UNITS: list[Row] = [
    (
        "3 hours 20 minutes",
        ["200 minutes", "3 h 20 min", "3 hours and 20 minutes", "3 hours, 20 minutes", "12000 s", "3 hr 20 min"],
        ["3 hours 10 minutes", "3.2 hours", "20 minutes", "3", "320", "3 hours -20 minutes", "320 minutes"],
    ),
    (
        "200 minutes",
        ["3 hours 20 minutes", "3 1/3 hours", r"3\text{ hours }20\text{ minutes}"],
        ["3 hours", "200 seconds", "2 hours 20 minutes"],
    ),
    (
        "5 feet 7 inches",
        ["67 inches", "5 ft 7 in", r"5 \text{ ft } 7 \text{ in}", "67 in"],
        ["5.7 feet", "7 feet 5 inches", "57 inches"],
    ),
    (
        "1 hour 30 minutes",
        ["1.5 hours", "90 minutes", "1.5 h", "one and a half hours", "1 1/2 hours"],
        ["1.3 hours", "130 minutes", "1 hour"],
    ),
    ("2 days 3 hours", ["51 hours", "2 days and 3 hours"], ["2.3 days", "23 hours", "5 hours"]),
    ("1 minute 5 seconds", ["65 s", "65 seconds", "1 min 5 sec"], ["15 seconds", "1.5 minutes"]),
    ("1 m 20 cm", ["120 cm", "1.2 m", "1200 mm"], ["1.02 m", "21 cm", "1 m 2 cm"]),
    ("2 years 6 months", ["30 months", "2.5 years", "2 1/2 years"], ["2.6 years", "26 months"]),
]

SPELT_UNITS: list[Row] = [
    ("60 mph", ["60 miles per hour", "60 mi/h", "60 miles an hour"], ["60 km/h", "60 kilometers per hour", "6 mph"]),
    (
        "9 m^2",
        ["9 square meters", "9 square metres", "9 sq m", r"9 \text{ m}^2", "9 m²", "9 meters squared", "90000 cm^2"],
        ["9 m", "9 m^3", "9 cubic meters", "81 m^2"],
    ),
    ("8 cm^3", ["8 cubic centimeters", "8 cubic cm", "8 cm cubed", "8 cc"], ["8 cm^2", "8 square cm", "8 m^3"]),
    (
        "3 m/s",
        ["3 meters per second", "3 metres/second", "3 m s^{-1}", "3 ms^{-1}"[:1] + " m/s"],
        ["3 m/s^2", "3 s/m", "3 km/s"],
    ),
    ("12 N", ["12 newtons", "12 newton"], ["12 J", "12 joules", "-12 N"]),
    ("5 mL", ["5 milliliters", "5 ml", "0.005 L", "0.005 litres"], ["5 L", "50 mL", "5 mg"]),
    ("2.5 kg", ["2.5 kilograms", "2500 grams", "2.5kg", "2.5 Kg"], ["2.5 g", "2.5 pounds", "25 kg"]),
    ("12 square units", ["12", "12 units^2", "12 units squared"], ["12 cubic units", "12 units", "144"]),
    ("4 apples", ["4", "4 apple", "four apples", r"4\text{ apples}"], ["4 pears", "5 apples", "-4"]),
    ("7 pounds", ["7 lb", "7 lbs", "7 lbs."], ["7 ounces", "7 kg"]),
    ("100 km", ["100000 m", "100 kilometres", "100km", "100 KM"], ["100 miles", "100 m"]),
    (r"3\textnormal{ miles}", ["3 miles", "3", "3 mi", r"3 \text{ mile}"], ["3 km", "4 miles"]),
    ("500 mW", ["0.5 W"], ["500 MW", "500 W"]),
]

ANGLES: list[Row] = [
    (
        "90^\\circ",
        [r"\frac{\pi}{2}", r"\frac{\pi}{2} \text{ radians}", "π/2", "90 degrees", "90", "90 deg"],
        [r"\pi", r"\frac{\pi}{3}", "90 radians", "9"],
    ),
    (
        r"\frac{\pi}{3}",
        ["60°", "60 degrees", r"60^{\circ}", r"\frac{\pi}{3} rad"],
        ["60", "30°", r"-60^\circ", "120 degrees"],
    ),
    ("180 degrees", [r"\pi", r"\pi \text{ rad}", "180°"], ["2π", "18°", "180 rad"]),
    (r"2\pi", ["360°", "360 degrees"], ["180°", "360"]),
    (r"45^\circ", [r"\frac{\pi}{4}", "45 degrees", r"\pi/4 rad"], [r"\frac{\pi}{2}", "-45°"]),
    (r"\frac{3\pi}{4}", ["135°", "0.75π", "135 degrees"], ["145°", "135"]),
    ("30°", [r"\frac{\pi}{6}", "30", r"30^{\circ}"], ["60°", r"\frac{\pi}{3}"]),
    (r"-\frac{\pi}{6}", [r"-30^\circ"], ["30°", r"\frac{\pi}{6}"]),
    (r"\sin 30^\circ", ["1/2", "0.5", r"\cos 60^\circ"], [r"\sin 30", r"\cos 30^\circ"]),
]

PERCENTAGES: list[Row] = [
    (
        "28%",
        [
            "28 percent",
            "28 pct",
            "28 per cent",
            "28 percentage",
            r"28\%",
            "28 \\%",
            r"28\text{ percent}",
            "0.28",
            "28 pct.",
        ],
        ["28", "2.8%", "0.028", "-28%", "28 cents"],
    ),
    ("12.5%", ["12.5 percent", "1/8", "0.125", r"12\frac{1}{2}\%", "12 1/2 %"], ["12.5", "125%"]),
    ("150%", ["1.5", "150 percent", "3/2"], ["150", "15%"]),
    ("5 percentage points", ["5%", "5 percent"], ["5", "0.5%"]),
    ("33.3%", ["33.3 percent", "0.333"], ["1/3", "33%"]),
    ("0.5%", ["0.005", "1/200", "half a percent"[:0] + "0.5 percent"], ["0.5", "50%"]),
    ("100%", ["1", "100 percent"], ["100", "10%"]),
    ("six percent", ["6%", "0.06"], ["6", "60%"]),
]

CURRENCY: list[Row] = [
    (
        "$12.50",
        [
            "12.50",
            "12.5 dollars",
            r"\$12.50",
            "$12.5",
            "US$12.50",
            "12.50 USD",
            "1250 cents",
            "$12 and 50 cents",
            "12 dollars and 50 cents",
        ],
        ["$12", "€12.50", "12.50 cents", "$125.0", "-$12.50"],
    ),
    ("€20", ["20 euros", "20 €", "20€", "20 EUR"], ["$20", "20 cents", "€2"]),
    ("£3", ["3 GBP", "300 pence", "3"], ["3 euros", "£30"]),
    ("₹500", ["Rs. 500", "500 rupees", "Rs 500", "500 INR"], ["$500", "₹50"]),
    ("$1,250", ["1250", "$1250.00", "1,250 dollars", r"\$1{,}250"], ["$1.25", "$12,50", "$1,520"]),
    ("$5 million", ["$5,000,000", "5000000", "5 million dollars"], ["$5", "$5 billion", "$500,000"]),
    ("75 cents", ["$0.75", "75¢", "75", "three quarters of a dollar"[:0] + "0.75 dollars"], ["$75", "7.5 cents"]),
    ("-$5", ["-5 dollars", "$-5", "-5"], ["$5", "5"]),
]

TIMES: list[Row] = [
    (
        "10:30 am",
        ["10:30 AM", "10:30 a.m.", "10:30am", "10:30", "at 10:30 am"],
        ["10:30 pm", "10:31 am", "22:30", "1030", "10.3"],
    ),
    ("3:15 pm", ["15:15", "3:15 PM", "3:15 p.m."], ["3:15 am", "3:15", "5:13 pm"]),
    ("8 pm", ["20:00", "8:00 PM", "8 p.m."], ["8 am", "8:00", "18:00"]),
    ("noon", ["12:00", "12 pm", "12:00 PM", "12 noon"], ["12 am", "midnight", "12:30"]),
    ("midnight", ["12 am", "12:00 AM", "00:00"], ["noon", "12 pm"]),
    ("7 o'clock", ["7:00", "7 am"], ["7 pm", "17:00", "8 o'clock"]),
    ("14:05", ["2:05 pm", "2:05 PM"], ["2:05", "14:50", "4:05 pm"]),
    ("12:45", ["12:45 pm"], ["12:45 am", "12:54"]),
]

DATES: list[Row] = [
    (
        "March 5, 2020",
        ["5 March 2020", "March 5th, 2020", "5th of March 2020", "2020-03-05", "Mar 5, 2020", "the 5th of March, 2020"],
        ["May 3, 2020", "March 5, 2021", "March 15, 2020", "2020-05-03", "March 2020"],
    ),
    ("July 4", ["4 July", "July 4th", "the 4th of July", "4th July", "Jul 4"], ["July 14", "June 4", "4"]),
    ("1999-12-31", ["December 31, 1999", "31 Dec 1999", "31/12/1999", "12/31/1999"], ["1999-12-13", "December 31, 1998"]),
    ("April 2015", ["April, 2015", "Apr 2015"], ["April 2016", "April 15"]),
    ("13/02/2001", ["February 13, 2001", "2001-02-13"], ["02/12/2001", "February 3, 2001"]),
    ("September 9, 1850", ["Sept. 9, 1850", "Sep 9 1850", "9 September 1850"], ["September 9, 1805", "August 9, 1850"]),
    ("May 1", ["1 May", "the 1st of May", "May 1st"], ["May 11", "May"]),
    ("2021-01-10", ["10 January 2021", "Jan. 10, 2021"], ["2021-10-01", "01-10"]),
]

ROUNDED: list[Row] = [
    ("1/3", ["0.333333", "0.3333333"], ["0.33333", "0.333334", "0.33"]),
    (r"\sqrt{2}", ["1.414214", "1.41421356"], ["1.4142", "1.414215", "1.41"]),
    (r"\pi", ["3.141593", "3.14159265"], ["3.1416", "3.141594", "22/7"]),
    ("12345678/7", ["1763668.285714"], ["1763668.3", "1763668", "12345679/7"]),
    (
        r"1.6 \times 10^{-19}",
        ["1.6e-19", r"16 \cdot 10^{-20}", "0.16e-18"],
        [r"1.7 \times 10^{-19}", r"1.6 \times 10^{-20}", "0", r"1.6 \times 10^{19}"],
    ),
    (r"10^{-19}", ["1e-19", r"1 \times 10^{-19}"], [r"10^{-20}", "0", "10^{19}"]),
    ("10^{40}", [r"1 \times 10^{40}", "1e40"], ["10^{41}", r"1.1 \times 10^{40}"]),
    ("2^{100}", ["1267650600228229401496703205376", r"2^{99} \cdot 2"], ["2^{100}+1", "1267650600228229401496703205377"]),
    ("0.0000001", ["1e-7", r"10^{-7}"], ["0.0000002", "0", "0.000001"]),
    (
        "123456789012345678",
        ["123456789012345678.0", "123,456,789,012,345,678"],
        ["123456789012345679", "123456789012345670"],
    ),
]

THOUSANDS: list[Row] = [
    ("11111", ["11,111", r"11,\!111", r"11,\! 111", "11{,}111", r"11\,111", "11 111"], ["11.111", "1,1111", "(11,111)"]),
    ("1234567", ["1,234,567", "1 234 567", r"1{,}234{,}567"], ["1,234,568", "1234,567", "12,34,567"]),
    ("(0,180)", ["(0, 180)", "( 0 , 180 )"], ["180", "(0.180)", "0180", "(180,0)", "0,180"]),
    ("(3,120)", ["(3, 120)", r"(3,\,120)"], ["3120", "(3120)", "(3, 12)"]),
    ("[100,200]", ["[100, 200]"], ["100200", "[100200]", "(100,200)"]),
    (r"\{1,200\}", [r"\{1, 200\}", r"\{200, 1\}", "{1, 200}"], ["1200", r"\{1200\}"]),
    (r"\frac{1,000}{3}", [r"\frac{1000}{3}", "1000/3"], ["1/3", "1000"]),
    ("2,500.75", ["2500.75", r"\$2,500.75"[2:]], ["2.50075", "2500", "250075"]),
]

MEASURED: dict[str, list[Row]] = {
    "repeating decimals": REPEATING_DECIMALS, "mixed units": MIXED_UNITS, "spelt units": SPELT_UNITS, "angles": ANGLES,
    "percentages": PERCENTAGES, "currency": CURRENCY, "times": TIMES, "dates": DATES, "rounded": ROUNDED,
    "thousands": THOUSANDS,
}  # fmt: skip
