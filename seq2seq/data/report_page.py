"""The report of a prepared corpus as one page of HTML that needs nothing else, no network above all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

# What each filter drops, in a few words; the settings have the bounds.
_MEANINGS = {
    "empty": "a side holds nothing",
    "mojibake": "wrongly decoded text",
    "too_long": "too many characters",
    "too_many_words": "too many words",
    "ratio": "lengths too different",
    "repetition": "a letter or a word repeated",
    "copy": "both sides are the same",
    "letters": "too few letters",
    "script": "letters of another script",
    "numbers": "numbers that do not match",
    "swapped": "each side's words belong on the other",
    "language": "another language, or swapped sides",
    "overlap": "near validation or test text",
    "duplicate": "was there before",
}

# Of all pages that are made here.
STYLE = """
:root { --ink: #1c2330; --paper: #fff; --line: #e3e7ee; --well: #e8edf5; color-scheme: light dark }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #dde3ec; --paper: #161a21; --line: #2c333f; --well: #2a313d }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
td, th { padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { background: var(--well); height: .8rem; border-radius: .2rem; min-width: 8rem }
.bar i { display: block; height: 100%; border-radius: .2rem; background: #2f6f9f } .bar i.b { background: #c9782f }
summary { cursor: pointer; margin: .4rem 0 } .big { font-size: 2rem; font-weight: 600 }
td.text { width: 50%; overflow-wrap: anywhere; font-size: .9rem }
"""


def page(report: Mapping[str, Any], languages: Sequence[str]) -> str:
    """A report as HTML.

    Args:
        report: the content of `report.json`.
        languages: names of the two sides.
    """
    share = report["kept"] / max(report["read"], 1)
    title = f"Prepared corpus: {' and '.join(filter(None, languages)) or 'source and target'}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p><span class="big">{report["kept"]:,}</span> of {report["read"]:,} pairs kept ({share:.1%})</p>
<h2>What was dropped, and by which filter</h2>
{_funnel(report)}
<h2>Samples of what was dropped</h2>
{"".join(_samples(each) for each in report["filters"] if each["dropped"]) or "<p>Nothing was dropped.</p>"}
<h2>Words in a sentence</h2>
{_histogram(report["words"], languages)}
{_coverage(report["coverage"], languages) if "coverage" in report else ""}
</body></html>
"""


def _funnel(report: Mapping[str, Any]) -> str:
    most = max([each["dropped"] for each in report["filters"]], default=0)
    rows = "".join(
        f"<tr><td>{escape(each['name'])}</td><td>{_MEANINGS.get(each['name'], '')}</td>"
        f'<td class="number">{each["in"]:,}</td><td class="number">{each["dropped"]:,}</td>'
        f'<td class="number">{each["out"]:,}</td><td>{_bar(each["dropped"], most)}</td></tr>'
        for each in report["filters"]
    )
    return (
        '<table><tr><th>filter</th><th>drops</th><th class="number">in</th><th class="number">dropped</th>'
        f'<th class="number">out</th><th></th></tr>{rows}</table>'
    )


def _samples(each: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td class="text" dir="auto">{escape(source)}</td><td class="text" dir="auto">{escape(target)}</td></tr>'
        for source, target in each["samples"]
    )
    return (
        f"<details><summary>{escape(each['name'])}: {len(each['samples'])} of {each['dropped']:,}</summary>"
        f"<table>{rows}</table></details>"
    )


def _histogram(words: Sequence[Mapping[str, int]], languages: Sequence[str]) -> str:
    most = max([each[side] for each in words for side in ("source", "target")], default=0)
    names = [escape(language) or side for language, side in zip(languages, ("source", "target"), strict=True)]
    rows = ""
    for i, each in enumerate(words):
        upper = f"–{words[i + 1]['from'] - 1}" if i + 1 < len(words) else " and more"
        rows += (
            f'<tr><td class="number">{each["from"]}{upper}</td><td class="number">{each["source"]:,}</td>'
            f'<td>{_bar(each["source"], most)}</td><td class="number">{each["target"]:,}</td>'
            f"<td>{_bar(each['target'], most, 'b')}</td></tr>"
        )
    head = "".join(f'<th class="number">{name}</th><th></th>' for name in names)
    return f'<table><tr><th class="number">words</th>{head}</tr>{rows}</table>'


def _coverage(coverage: Mapping[str, Any], languages: Sequence[str]) -> str:
    rows = ""
    for language, side in zip(languages, ("source", "target"), strict=True):
        each = coverage[side]
        rows += (
            f'<tr><td>{escape(language) or side}</td><td class="number">{each["pieces"]:,}</td>'
            f'<td class="number">{each["pieces_per_word"]:.2f}</td><td class="number">{each["unknown_share"]:.3%}</td>'
            f'<td class="number">{each["bytes_share"]:.3%}</td></tr>'
        )
    heads = ("pieces", "pieces a word", "unknown", "spelt in bytes")
    head = "".join(f'<th class="number">{name}</th>' for name in heads)
    long, pairs = coverage["too_long"], coverage["pairs"]
    return (
        f"<h2>What the tokenizer makes of it</h2><table><tr><th>side</th>{head}</tr>{rows}</table>"
        f"<p>{long:,} of {pairs:,} pairs ({long / max(pairs, 1):.2%}) have a side of more than "
        f"<code>data.max_length</code> = {coverage['max_length']} tokens; training leaves them out.</p>"
    )


def _bar(part: int, whole: int, kind: str = "a") -> str:
    return f'<div class="bar"><i class="{kind}" style="width:{100 * part / max(whole, 1):.1f}%"></i></div>'
