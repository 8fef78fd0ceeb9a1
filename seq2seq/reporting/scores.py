"""The scores of systems on a test set, with intervals, significance and signatures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from seq2seq.evaluation import MAX_RESAMPLED_SENTENCES, RESAMPLES, Comparison, Scores, compare, score
from seq2seq.reporting.charts import interval
from seq2seq.reporting.page import note, table, who
from seq2seq.reporting.systems import System

_COMPARED = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER"}
_LOWERCASED = "BLEU, lower-cased, tokenised"  # what many papers report
_MEASURES = {**_COMPARED, "bleu_lowercased_tokenised": _LOWERCASED}


def score_all(systems: Sequence[System], reference: Sequence[str], language: str) -> list[Scores]:
    """The scores of each system, with intervals unless the test set is too large for them."""
    return [score(system.lines, [reference], target_language=language) for system in systems]


def compare_with_first(systems: Sequence[System], reference: Sequence[str], language: str) -> list[Comparison]:
    """The first system against each of the others; none where there are no others, or too many sentences."""
    first, *others = systems
    if not 1 < len(reference) <= MAX_RESAMPLED_SENTENCES:
        return []
    return compare(first.lines, [other.lines for other in others], [reference], target_language=language)


def score_tables(systems: Sequence[System], scores: Sequence[Scores], comparisons: Sequence[Comparison]) -> str:
    """A row of scores for each system; then its difference from the first; then how all was measured."""
    rows = [
        [_who(system), *(_score(scores, i, measure, system.slot) for measure in _MEASURES)]
        for i, system in enumerate(systems)
    ]
    parts = [table(["system", "BLEU", "chrF", "TER (lower is better)", _LOWERCASED], rows, text_columns=5)]
    if scores[0].bleu.low is None:
        parts.append(note(f"No intervals and tests: they are for 2 to {MAX_RESAMPLED_SENTENCES:,} sentences."))
    else:
        parts.append(note(f"In brackets: 95% intervals from {RESAMPLES:,} bootstrap resamples."))
    if comparisons:
        parts.append(_significance(systems, comparisons))
    # Systems are scored alike, so the first one's signatures are those of all.
    signatures = "".join(
        f"<br>{name}: <code>{escape(getattr(scores[0], measure).signature)}</code>"
        for measure, name in _MEASURES.items()
    )
    return "".join(parts) + f'<p class="note">Measured by sacreBLEU (Post 2018):{signatures}</p>'


def _score(scores: Sequence[Scores], i: int, measure: str, slot: int) -> str:
    """A score with its interval, in numbers and as a picture on a scale that all systems share."""
    found = getattr(scores[i], measure)
    if found.low is None:
        return f"<b>{found.score:.2f}</b>"
    all_of = [getattr(each, measure) for each in scores]
    bounds = (min(each.low for each in all_of), max(each.high for each in all_of) + 1e-6)
    picture = interval(found.low, found.score, found.high, bounds, slot)
    return f'<b>{found.score:.2f}</b> <span class="faint">[{found.low:.2f}, {found.high:.2f}]</span><br>{picture}'


def _significance(systems: Sequence[System], comparisons: Sequence[Comparison]) -> str:
    first, *others = systems
    rows = []
    for other, comparison in zip(others, comparisons, strict=True):
        cells = [_who(other)]
        for measure in _COMPARED:
            found = getattr(comparison, measure)
            verdict = "significant" if found.p_value < 0.05 else "may be chance"
            # `compare` says how far the first system is above the other.
            difference = f"{0 - found.difference:+.2f}".replace("-", "−")
            cells.append(f"{difference}<small>p\u00a0=\u00a0{found.p_value:.3f}, {verdict}</small>")
        rows.append(cells)
    told = (
        f"p says how likely chance alone makes such a difference, by {RESAMPLES:,} paired bootstrap resamples (Koehn "
        "2004) and sacreBLEU's rule; below 0.05 it is called significant, though near 0.05 it says little: of equally "
        "good systems, that rule finds some 12% different. It tells nothing of what another seed would have given."
    )
    heading = f"<h3>Difference from {escape(first.name)}</h3>"
    return heading + table(["system", "BLEU", "chrF", "TER"], rows, text_columns=4) + note(told)


def _who(system: System) -> str:
    return f"{who(system.name, system.slot)}<small>{escape(system.origin)}</small>"
