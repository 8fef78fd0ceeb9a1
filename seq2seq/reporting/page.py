"""The page around a report's sections: one file of HTML with its style and its script, which needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from seq2seq.data.report_page import STYLE

# Colours that people with any kind of colour vision tell apart, after Okabe and Ito (2008); lighter ones for the dark.
_STYLE = """
:root { --s1: #0072b2; --s2: #d55e00; --s3: #009e73; --s4: #b8558f; --s5: #8a6d00; --s6: #4a4f57;
  --faint: #5d6675; --card: #f6f8fb; --mark: #ffe6ad; --miss: #c2410c }
@media screen and (prefers-color-scheme: dark) {
  :root { --s1: #56b4e9; --s2: #f28e4b; --s3: #3cc79b; --s4: #e59ac8; --s5: #e6c84f; --s6: #c9ced6;
    --faint: #9aa4b2; --card: #1d222b; --mark: #5a4410; --miss: #ff9d6b }
}
body { max-width: 68rem } h1 { margin-bottom: .2rem } h2 { margin-top: 3rem }
h3 { font-size: 1rem; margin: 2rem 0 .6rem }
p { max-width: 46rem } p.note, .faint, figcaption small { color: var(--faint); font-size: .875rem }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .8rem 0 1.6rem; font-size: .9375rem }
a { color: var(--s1) } code { font-size: .85em; overflow-wrap: anywhere }
.s1 { --c: var(--s1) } .s2 { --c: var(--s2) } .s3 { --c: var(--s3) }
.s4 { --c: var(--s4) } .s5 { --c: var(--s5) } .s6 { --c: var(--s6) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem }
.tile { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; border-top: 3px solid var(--c) }
.tile .big { line-height: 1.2 } .tile > * { display: block } .tile .faint { line-height: 1.45; margin-top: .3rem }
.tile b, .who, .key, td { overflow-wrap: break-word } .tiles + .wide { margin-top: 1.6rem }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.6rem 2rem }
figure { margin: 0 } figure.chart { position: relative } figcaption { font-weight: 600 }
.keys { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .1rem 0 .3rem; font-size: .875rem }
.key { display: inline-flex; align-items: center; gap: .4rem }
figure > svg { display: block; width: 100%; height: auto } svg text { fill: var(--faint); font-size: 12px }
svg .rule { stroke: var(--line); fill: none } svg .axis { stroke: var(--faint); fill: none }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; overflow: visible }
.line circle, .line .mark { fill: var(--c); stroke: var(--paper); stroke-width: 1.2 } .line .rule { stroke-width: 1 }
.tip { position: absolute; pointer-events: none; background: var(--paper); border: 1px solid var(--line); z-index: 1;
  border-radius: .3rem; padding: .3rem .6rem; font-size: .8125rem; box-shadow: 0 2px 8px #0003; white-space: nowrap }
.tip div { display: flex; gap: .6rem; justify-content: space-between } .tip b { color: var(--c); font-weight: 600 }
.wide { overflow-x: auto } th { vertical-align: bottom } th.number { white-space: normal } table { font-size: .9375rem }
td .bar { height: .3rem; min-width: 3.2rem; margin-top: .1rem } td .bar i { background: var(--c) }
tr.few td { color: var(--faint) } tr.group th { padding-top: .9rem } td .faint, td.number { white-space: nowrap }
td small { display: block; color: var(--faint) }
.who { color: var(--c); font-weight: 600 } .card { border-bottom: 1px solid var(--line); padding: .7rem 0 }
.card dl { display: grid; grid-template-columns: minmax(5rem, 9rem) 2rem 1fr; gap: .1rem 1rem; margin: .2rem 0 0;
  align-items: baseline }
.card dt { font-size: .875rem } .card dd { margin: 0; overflow-wrap: anywhere }
.card dd.text { font-size: .9375rem } .card dd.score { text-align: right; color: var(--faint); font-size: .875rem }
mark { background: var(--mark); color: inherit; border-radius: .2rem; padding: 0 .06rem }
u { text-decoration: underline dotted var(--miss) 2px; text-underline-offset: .2em; text-decoration-skip-ink: none }
input[type=search] { font: inherit; width: min(100%, 24rem); padding: .4rem .6rem; border-radius: .3rem; color: inherit;
  border: 1px solid var(--faint); background: var(--paper); box-sizing: border-box }
.heats { display: flex; flex-wrap: wrap; gap: 0 2.5rem } .heats > div { max-width: 100% }
.heat { overflow-x: auto; margin: .2rem 0 1rem } .heat svg { width: auto; max-width: none; color: var(--ink) }
.heat svg text { fill: var(--ink); font-size: 12px } .heat .cell { fill: var(--s1) } .heat .frame { fill: var(--card) }
[hidden] { display: none }
@media (max-width: 40rem) {
  body { margin-top: 1rem } td:first-child { min-width: 7.5rem } .card dl { grid-template-columns: 1fr auto }
  .card dd.text { grid-column: 1 / -1; margin-bottom: .3rem } figure svg text { font-size: 14px }
}
@media print {
  :root { --ink: #000; --paper: #fff; --line: #ccc; --card: #fff } .charts { grid-template-columns: 1fr 1fr }
  body { max-width: none; margin: 0 } nav, input[type=search] { display: none } .wide, .heat { overflow: visible }
  figure, .card, .tile, tr { break-inside: avoid } h2, h3 { break-after: avoid }
  .bar i, mark { print-color-adjust: exact }
}
"""

# Values under the pointer, and the search box. Text is only ever set as text.
_SCRIPT = """
for (const figure of document.querySelectorAll("figure.chart")) {
  const svg = figure.querySelector("svg[data-box]"), tip = document.createElement("div")
  if (!svg) continue
  const [left, top, right, bottom] = svg.dataset.box.split(" ").map(Number)
  tip.className = "tip"; tip.hidden = true; figure.append(tip)
  const lines = [...svg.querySelectorAll(".line")].map(line => ({
    name: line.dataset.name, look: line.getAttribute("class"), values: JSON.parse(line.dataset.values),
    places: line.querySelector("polyline").getAttribute("points").split(" ").map(place => place.split(",").map(Number)),
  }))
  const rule = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"))
  rule.setAttribute("class", "axis"); rule.setAttribute("stroke-dasharray", "2 3")
  const show = event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width
    const near = line => line.places.reduce((best, place, i) =>
      Math.abs(place[0] - x) < Math.abs(line.places[best][0] - x) ? i : best, 0)
    const shown = lines.map(line => ({ line, at: near(line) }))
      .filter(({ line, at }) => Math.abs(line.places[at][0] - x) < 40)
    tip.replaceChildren(...shown.map(({ line, at }) => {
      const [row, name, text] = ["div", "b", "span"].map(tag => document.createElement(tag))
      row.className = line.look; name.textContent = line.name
      const [across, up] = line.values[at]
      text.textContent = up.toLocaleString("en", { maximumSignificantDigits: 4 }) + " at "
        + across.toLocaleString("en", { maximumFractionDigits: 1 }) + " " + svg.dataset.unit
      row.append(name, text); return row
    }))
    tip.hidden = !shown.length
    if (!shown.length) { rule.removeAttribute("d"); return }
    rule.setAttribute("d", `M${Math.min(right, Math.max(left, x))} ${top}V${bottom}`)
    const outer = figure.getBoundingClientRect(), place = event.clientX - outer.left + 12
    tip.style.left = Math.max(0, Math.min(place, figure.clientWidth - tip.offsetWidth)) + "px"
    tip.style.top = box.top - outer.top + 8 + "px"
  }
  svg.addEventListener("pointermove", show); svg.addEventListener("pointerdown", show)
  svg.addEventListener("pointerleave", () => { tip.hidden = true; rule.removeAttribute("d") })
}
const search = document.querySelector("input[type=search]")
if (search) search.addEventListener("input", () => {
  const wanted = search.value.toLowerCase()
  let count = 0
  for (const card of document.querySelectorAll("#all .card")) {
    card.hidden = !card.textContent.toLowerCase().includes(wanted)
    count += !card.hidden
  }
  document.getElementById("found").textContent = wanted ? count + " found" : ""
})
"""


class Section(NamedTuple):
    """A part of the page: a short name for links, a heading in plain text, and what is under it, in HTML."""

    name: str
    heading: str
    content: str


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """The whole file.

    Args:
        title: plain text.
        about: a sentence beneath it, plain text.
        sections: in order; those without content are left out.
    """
    shown = [section for section in sections if section.content]
    links = "".join(f'<a href="#{section.name}">{escape(section.heading)}</a>' for section in shown)
    content = "\n".join(
        f'<section id="{section.name}"><h2>{escape(section.heading)}</h2>\n{section.content}</section>'
        for section in shown
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p class="note">{escape(about)}</p>
<nav>{links}</nav>
{content}
<script>{_SCRIPT}</script>
</body></html>
"""


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1, faint: Sequence[bool] = ()
) -> str:
    """A table of HTML cells; columns after the first `text_columns` hold numbers.

    Args:
        header: a cell for each column.
        rows: the same, or a single cell that heads the rows below it.
        text_columns: how many there are, on the left.
        faint: for each row, whether it should be read with care.
    """
    kinds = ["" if i < text_columns else ' class="number"' for i in range(len(header))]
    head = "".join(f"<th{kind}>{cell}</th>" for kind, cell in zip(kinds, header, strict=True))
    body = ""
    for i, row in enumerate(rows):
        if len(row) == 1:
            body += f'<tr class="group"><th colspan="{len(header)}">{row[0]}</th></tr>'
            continue
        cells = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))
        kind = ' class="few"' if faint and faint[i] else ""
        body += f"<tr{kind}>{cells}</tr>"
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def who(name: str, slot: int) -> str:
    """The name of a run or a system in its colour."""
    return f'<span class="who s{slot % 6 + 1}">{escape(name)}</span>'


def note(text: str) -> str:
    """A remark in plain text."""
    return f'<p class="note">{escape(text)}</p>'
