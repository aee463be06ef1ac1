"""The page's style sheet: one column on a phone, charts and responses side by side where there is room, light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --raised: #fafbfc; --line: #e1e5ea; --text: #1f252b; --quiet: #555d66;
  --warn: #fff8e6; --warn-line: #ecd9a0; --absent: #8a5a00; --right: #00734f; --wrong: #b3261e; --focus: #0b57d0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --card: #1d2125; --raised: #24292e; --line: #363d44; --text: #e6e9ec; --quiet: #a9b2bb;
    --warn: #2e2814; --warn-line: #5c4f22; --absent: #e0b45c; --right: #57d0a4; --wrong: #ff8a80; --focus: #8ab4f8;
  }
  /* Charts are drawn dark on white: turned over, with their hues kept. */
  figure img { filter: invert(.885) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 80rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
h3 { font-size: .9rem; margin: 0 0 .4rem; }
p { margin: .4rem 0; max-width: 70ch; }
code { font-size: .9em; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 1rem 0; }
section > p, figure p { color: var(--quiet); font-size: .88rem; }
section > .verdict { color: var(--text); font-size: 1.05rem; font-weight: 600; max-width: none; }
.missing { background: var(--warn); border-color: var(--warn-line); }
.missing ul { margin: 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.runs { list-style: none; margin: 0; padding: 0; }
.versions { margin: 0 0 .6rem; padding-left: 1.2rem; overflow-wrap: anywhere; font-size: .88rem; }
details { margin: .3rem 0; }
summary { cursor: pointer; padding: .25rem 0; }
.absent { color: var(--absent); font-size: .88rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .4rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; white-space: normal; vertical-align: bottom; }
thead th[colspan] { text-align: center; }
tbody th, thead th:first-child, th.text, td.text { text-align: left; }
tbody th i, .runs i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .45rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
figure { margin: 0; max-width: 32rem; }
figcaption { font-weight: 600; font-size: .9rem; }
figure img { width: 100%; height: auto; display: block; }
form { position: sticky; top: 0; z-index: 1; background: var(--card); padding: .4rem 0; }
form { border-bottom: 1px solid var(--line); }
form, form select { font-size: .86rem; }
form select { font-family: inherit; max-width: 100%; min-height: 2rem; }
.selects { display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
fieldset { border: 0; margin: .2rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0 1rem; min-width: 0; }
fieldset label { padding: .25rem 0; }
legend { padding: 0; color: var(--quiet); font-size: .8rem; }
[role=status] { margin: .2rem 0 0; font-weight: 600; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.more { font: inherit; min-height: 2.5rem; padding: 0 1rem; cursor: pointer; }
article { border-top: 1px solid var(--line); padding: 1rem 0; }
.prompt { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; margin-bottom: .6rem; }
.prompt img { width: min(100%, 14rem); image-rendering: pixelated; border-radius: 4px; }
.prompt p { min-width: 0; overflow-wrap: anywhere; }
.prompt small, .said small { color: var(--quiet); }
.said { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap: .8rem; }
.said > div { border-top: 3px solid; background: var(--raised); padding: .6rem; border-radius: 4px; min-width: 0; }
.said > .chosen { outline: 1px solid var(--quiet); }
.said p { margin: 0 0 .3rem; font-size: .88rem; }
.said .greedy { margin-top: .6rem; }
[data-kind=sampled] .greedy, [data-kind=greedy] .sampled, [data-kind=greedy] .scores { display: none; }
[data-kind=greedy] .said .greedy { margin-top: 0; }
.said .scores { color: var(--quiet); margin: .5rem 0 0; font-variant-numeric: tabular-nums; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; line-height: 1.4; }
.right, .wrong { white-space: nowrap; }
.right { color: var(--right); }
.wrong { color: var(--wrong); }
@media (max-width: 40rem) { form { position: static; } main { padding: .5rem; } section { padding: .75rem; } }
"""
