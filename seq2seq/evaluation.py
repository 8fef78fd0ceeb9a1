"""BLEU, chrF and TER of translations through sacreBLEU (Post 2018), each with the signature that says how.

Text is scored as people read it: sacreBLEU itself cuts both sides into words, so neither may be tokenised beforehand.
Beside BLEU (cased, tokenizer 13a) stands the twin that many papers report, BLEU of lower-cased tokenised text: the same
but with both sides lower-cased first. It is often points higher, so the two must not be compared with each other.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seq2seq.errors import DataError
from seq2seq.languages import written_language

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric
    from sacrebleu.metrics.bleu import BLEU

_LOG = logging.getLogger(__name__)

RESAMPLES = 1000
# sacreBLEU holds all resamples in memory, 72 kB for each sentence; so large a test set has a narrow interval anyway.
MAX_RESAMPLED_SENTENCES = 20_000

_LABELS = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER", "bleu_lowercased_tokenised": "BLEU lower-cased tokenised"}

# What tokenizers leave behind: Moses' hyphens and entities, joined BPE, SentencePiece's space, a space before a stop.
# Spaces before ! ? : ; are no sign, since French is written so.
_TOKENISED = re.compile(r"@-@|@@( |$)|▁|&(apos|quot|amp|#91|#93|#124);|(?<=\S) [.,](?= |$)|(?<=\S) [。，、！？]")
_TOKENISED_SHARE = 0.1  # of the lines that are not empty

# Scripts without spaces between words: Thai, Lao, Burmese and Khmer; and kana and ideographs.
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measure of a whole test set, from 0 to 100 (TER may be higher), with its 95% bootstrap interval."""

    score: float
    low: float | None = None
    high: float | None = None
    signature: str


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All measures of one system's translations. TER counts edits: lower is better."""

    bleu: Score
    chrf: Score
    ter: Score
    bleu_lowercased_tokenised: Score

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Plain values, as `seq2seq score --json` prints them; `low` and `high` are None where not computed."""
        order = ("score", "low", "high", "signature")
        return {name: {key: measure[key] for key in order} for name, measure in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measure of a baseline, how far the system is above it, and how likely chance alone does as much."""

    score: float
    difference: float
    p_value: float
    signature: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A system against one baseline, by paired bootstrap (Koehn 2004)."""

    bleu: Difference
    chrf: Difference
    ter: Difference

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Plain values, as `seq2seq score --json` prints them for each baseline."""
        return asdict(self)


def score(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    confidence: bool = True,
    target_language: str = "",
) -> Scores:
    """Score translations against one or several sets of references, each as long as the translations.

    Args:
        hypotheses: raw text, one translation for each sentence.
        references: one list for each set of references.
        confidence: whether to compute 95% intervals (none for one sentence, which nothing can be drawn from, or more
            than `MAX_RESAMPLED_SENTENCES`).
        target_language: code such as `de` or `zh`; Chinese, Japanese and Korean have tokenizers of their own.

    Raises:
        DataError: if there is nothing to score, or the numbers of sentences differ.
    """
    _check_lengths(hypotheses, references)
    _check_language(references[0] if references else [], target_language)
    resamples = RESAMPLES if confidence and 1 < len(hypotheses) <= MAX_RESAMPLED_SENTENCES else 0
    measured = {}
    for name, metric in _metrics(target_language).items():
        result = metric.corpus_score(hypotheses, references, n_bootstrap=resamples)
        low, high = None, None
        if resamples:  # sacreBLEU keeps the interval as centre and half width
            low, high = max(0.0, float(result._mean - result._ci)), float(result._mean + result._ci)
            high = high if name == "ter" else min(100.0, high)
        signature = metric.get_signature().format()
        measured[name] = Score(score=float(result.score), low=low, high=high, signature=signature)
    return Scores(**measured)


def compare(
    hypotheses: Sequence[str],
    baselines: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    target_language: str = "",
) -> list[Comparison]:
    """Test whether translations differ from each baseline's by more than chance, by sacreBLEU's paired bootstrap.

    Its p is published in many papers, and lower than that of an exact two-sided test: of pairs of systems that are
    equally good, it called 12% different at 0.05 (660 made-up test sets). So a p little below 0.05 says little.

    Raises:
        DataError: if the numbers of sentences differ, or are too many to resample.
    """
    from sacrebleu.significance import PairedTest, Result

    if not baselines:
        return []
    _check_lengths(hypotheses, [*references, *baselines])
    if len(hypotheses) > MAX_RESAMPLED_SENTENCES:
        raise DataError(
            f"{len(hypotheses)} sentences: a paired test takes up to {MAX_RESAMPLED_SENTENCES}; compare a part of them"
        )
    metrics = _metrics(target_language)
    del metrics["bleu_lowercased_tokenised"]  # PairedTest finds metrics by name, and this is a second BLEU
    # The test is symmetric, so the one system may stand where PairedTest has its one baseline.
    systems = [("system", hypotheses), *((f"baseline {i}", baseline) for i, baseline in enumerate(baselines))]
    signatures, columns = PairedTest(systems, metrics, references, test_type="bs", n_samples=RESAMPLES)()
    columns.pop("System")
    found: list[dict[str, Difference]] = [{} for _ in baselines]
    for name, (title, column) in zip(metrics, columns.items(), strict=True):
        results = [result for result in column if isinstance(result, Result)]
        for differences, result in zip(found, results[1:], strict=True):
            difference = float(results[0].score - result.score)
            differences[name] = Difference(
                score=float(result.score),
                difference=difference,
                # sacreBLEU calls equal systems significantly different (p = 0.001), since no resample differs by more;
                # and any two on one sentence, of which all resamples are the same.
                p_value=float(result.p_value or 1.0) if difference and len(hypotheses) > 1 else 1.0,
                signature=signatures[title].format(),
            )
    return [Comparison(**differences) for differences in found]


def validation_score(
    hypotheses: Sequence[str], references: Sequence[str], metric: Literal["bleu", "chrf"], target_language: str = ""
) -> float:
    """One quick score from 0 to 100, without interval, for following a training.

    Raises:
        DataError: if there is nothing to score, or the numbers of sentences differ.
    """
    _check_lengths(hypotheses, [references])
    _check_language(references, target_language)
    measure = _metrics(target_language)[metric]
    return float(measure.corpus_score(hypotheses, [references]).score)


def sentence_chrf(hypotheses: Sequence[str], reference: Sequence[str]) -> list[float]:
    """The chrF of each translation by itself (Popović 2015), from 0 to 100: single sentences give no useful BLEU.

    Raises:
        DataError: if there is nothing to score, or the numbers of sentences differ.
    """
    _check_lengths(hypotheses, [reference])
    measure = _metrics("")["chrf"]
    pairs = zip(hypotheses, reference, strict=True)
    return [float(measure.sentence_score(hypothesis, [expected]).score) for hypothesis, expected in pairs]


def read_parallel(*paths: Path, read: Callable[[Path], Iterable[str]] | None = None) -> list[list[str]]:
    """The lines of files that belong together line by line; `read` gives those of one, by itself `corpus.read_lines`.

    Raises:
        DataError: if a file is empty, cannot be read as UTF-8 text, or has another number of lines than the first.
    """
    from seq2seq.data.corpus import read_lines

    files = [list((read or read_lines)(path)) for path in paths]
    for path, lines in zip(paths, files, strict=True):
        if not lines:
            raise DataError(f"{path}: is empty; expected one sentence on each line")
        if len(lines) != len(files[0]):
            raise DataError(
                f"{paths[0]} has {len(files[0])} lines and {path} has {len(lines)}: they must belong together line by "
                "line; give files made from the same test set"
            )
    return files


def looks_tokenised(lines: Iterable[str]) -> bool:
    """Whether text seems to be cut into tokens, such as `a well @-@ known dog .`, which makes scores incomparable."""
    filled = [line for line in lines if line.strip()]
    # Line ends of Windows are no part of a sentence to sacreBLEU either.
    return sum(1 for line in filled if _TOKENISED.search(line.rstrip("\r"))) > _TOKENISED_SHARE * len(filled)


def format_scores(rows: Sequence[tuple[str, Scores]], sentences_per_second: Sequence[float] = ()) -> str:
    """A table for people: a row for each named system, and below it the signature of each measure."""
    header = ["", *_LABELS.values()]
    table = [[name, *(_with_interval(getattr(scores, key)) for key in _LABELS)] for name, scores in rows]
    if sentences_per_second:
        header.append("sentences/s")
        table = [[*row, f"{speed:.1f}"] for row, speed in zip(table, sentences_per_second, strict=True)]
    notes = ["TER: lower is better. Lower-cased tokenised: what many papers report; not comparable with BLEU."]
    if any(scores.bleu.low is not None for _, scores in rows):
        notes.insert(0, f"±: half the width of the 95% interval, from {RESAMPLES} bootstrap resamples.")
    # Systems that are shown together are scored alike, but for different numbers of references: then all are shown.
    signatures = dict.fromkeys((label, getattr(s, key).signature) for key, label in _LABELS.items() for _, s in rows)
    return "\n".join([*_aligned([header, *table]), "", *notes, *_aligned([list(pair) for pair in signatures])])


def format_comparisons(rows: Sequence[tuple[str, Comparison]]) -> str:
    """A table for people: a row for each named baseline, with the system's difference from it."""
    names = ("bleu", "chrf", "ter")
    table = [["baseline", *(_LABELS[name] for name in names)]]
    table += [[name, *(_with_difference(getattr(comparison, key)) for key in names)] for name, comparison in rows]
    notes = [
        "In brackets: how far the hypotheses are above it, and p, how likely chance alone makes such a difference",
        f"({RESAMPLES} paired bootstrap resamples, by sacreBLEU's rule; * for p < 0.05, which says little near it).",
    ]
    return "\n".join([*_aligned(table), "", *notes])


def _metrics(target_language: str) -> dict[str, Metric]:
    """Fresh metrics by name, in the order in which they are shown."""
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    language = written_language(target_language)
    without_spaces = language in ("zh", "ja")  # TER's words are characters then
    metrics = {
        "bleu": _bleu(language, lowercase=False),
        "chrf": CHRF(),
        "ter": TER(normalized=without_spaces, asian_support=without_spaces),
        "bleu_lowercased_tokenised": _bleu(language, lowercase=True),
    }
    for metric in metrics.values():
        _give_plain_scores(metric)
    return metrics


def _check_language(references: Sequence[str], target_language: str) -> None:
    """Warn if BLEU would take most sentences for single words."""
    if written_language(target_language) not in ("zh", "ja", "ko"):
        filled = [text for text in references if text.strip()]
        if sum(1 for text in filled if _NO_SPACES.search(text)) * 2 > len(filled):
            _warn_of_no_spaces(target_language)


@cache
def _warn_of_no_spaces(language: str) -> None:
    _LOG.warning(
        "target language %r: the references are in a script without spaces between words, so that BLEU (tok:13a) takes "
        "sentences for words; go by chrF, or if they are Chinese or Japanese, name the language (zh, ja)", language,
    )  # fmt: skip


def _give_plain_scores(metric: Metric) -> None:
    """Make a metric's scores Python floats.

    Resamples of few or bad translations score a plain 0.0 at times and a float32 at others, and sacreBLEU 2.6 raises a
    TypeError where it takes the mean of both kinds.
    """
    compute = metric._compute_score_from_stats

    def plain(statistics: Any) -> Any:
        result = compute(statistics)
        result.score = float(result.score)
        return result

    metric._compute_score_from_stats = plain  # type: ignore[method-assign, assignment]


def _bleu(language: str, lowercase: bool) -> BLEU:
    """BLEU with the tokenizer that suits the language: 13a, but for Chinese, Japanese and Korean."""
    from sacrebleu.metrics.bleu import BLEU

    tokenizer = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}.get(language, "13a")
    try:
        return BLEU(lowercase=lowercase, tokenize=tokenizer, force=True)  # force: we warn of tokenised text ourselves
    except (RuntimeError, ImportError):  # MeCab is not installed
        _warn_of_missing_mecab(language)
        return BLEU(lowercase=lowercase, tokenize="char", force=True)


@cache
def _warn_of_missing_mecab(language: str) -> None:
    _LOG.warning(
        "target language %s: BLEU is of characters (tok:char), since MeCab is missing; pip install 'sacrebleu[%s]'",
        language, language,
    )  # fmt: skip


def _check_lengths(hypotheses: Sequence[str], others: Sequence[Sequence[str]]) -> None:
    if not hypotheses:
        raise DataError("no hypotheses: there is nothing to score; give at least one sentence")
    if not others:
        raise DataError("no references: give at least one set of them")
    for other in others:
        if len(other) != len(hypotheses):
            raise DataError(
                f"{len(hypotheses)} hypotheses and {len(other)} sentences to compare them with: give one for each"
            )


def _with_interval(measure: Score) -> str:
    if measure.low is None or measure.high is None:
        return f"{measure.score:.2f}"
    return f"{measure.score:.2f} ± {abs(measure.high - measure.low) / 2:.2f}"  # of equal ones, less than 0 by rounding


def _with_difference(measure: Difference) -> str:
    mark = "*" if measure.p_value < 0.05 else ""
    return f"{measure.score:.2f} ({measure.difference:+.2f}, p = {measure.p_value:.3f}{mark})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
