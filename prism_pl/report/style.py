"""The page's style sheet: one column on a phone, charts and responses side by side where there is room."""

STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f9; color: #1f252b; font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
h3 { font-size: .9rem; margin: 0 0 .4rem; }
p { margin: .4rem 0; max-width: 70ch; }
code { font-size: .9em; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid #e1e5ea; border-radius: 8px; padding: 1rem; margin: 1rem 0; }
section > p, figure p { color: #555d66; font-size: .88rem; }
section > .verdict { color: #1f252b; font-size: 1.05rem; font-weight: 600; max-width: none; }
.missing { background: #fff8e6; border-color: #ecd9a0; }
.missing ul { margin: 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.absent { color: #8a5a00; font-size: .88rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .45rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e9ecf0; }
thead th { color: #555d66; font-weight: 600; white-space: normal; vertical-align: bottom; }
thead th[colspan] { text-align: center; }
tbody th, thead th:first-child, th.text, td.text { text-align: left; }
tbody th i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .45rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
figure { margin: 0; max-width: 32rem; }
figcaption { font-weight: 600; font-size: .9rem; }
figure img { width: 100%; height: auto; display: block; }
article { border-top: 1px solid #e9ecf0; padding: 1rem 0; }
.prompt { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; margin-bottom: .6rem; }
.prompt img { width: min(100%, 14rem); image-rendering: pixelated; border-radius: 4px; }
.prompt small { color: #78818b; overflow-wrap: anywhere; }
.said { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap: .8rem; }
.said > div { border-top: 3px solid; background: #fafbfc; padding: .6rem; border-radius: 4px; min-width: 0; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; line-height: 1.4; }
.right, .wrong { white-space: nowrap; }
.right { color: #00734f; }
.wrong { color: #b3261e; }
"""
