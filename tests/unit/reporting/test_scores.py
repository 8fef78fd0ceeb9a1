import pytest
from strict_html import Page, text_of

from seq2seq import evaluation
from seq2seq.evaluation import compare, score
from seq2seq.reporting import scores as scores_module
from seq2seq.reporting.scores import compare_with_first, score_all, score_tables
from seq2seq.reporting.systems import System

REFERENCE = [f"the {i} small dogs run to house number {i * 7 % 11}" for i in range(40)]
GOOD = [line.replace("small", "little") for line in REFERENCE]
BAD = [line[: len(line) // 2] for line in REFERENCE]
SYSTEMS = [System("<good>", GOOD, 0, "beam 5"), System("bad", BAD, 1, "bad.en"), System("same", GOOD, 2, "<i>")]


def test_scores_intervals_signatures_and_significance_are_shown() -> None:
    found = score_all(SYSTEMS, REFERENCE, "en")
    html = score_tables(SYSTEMS, found, compare_with_first(SYSTEMS, REFERENCE, "en"))
    text = text_of(html)
    for system in SYSTEMS:
        expected = score(system.lines, [REFERENCE], target_language="en")
        for measure in ("bleu", "chrf", "ter", "bleu_lowercased_tokenised"):
            each = getattr(expected, measure)
            assert f"{each.score:.2f} [{each.low:.2f}, {each.high:.2f}]" in text
            assert each.signature in text
    assert Page(html).count("svg") == 12
    assert "<good>" in text and "<i>" in text


def test_differences_are_from_the_first_system() -> None:
    html = score_tables(SYSTEMS, score_all(SYSTEMS, REFERENCE, ""), compare_with_first(SYSTEMS, REFERENCE, ""))
    (reverse,) = compare(BAD, [GOOD], [REFERENCE])
    part = text_of(html).partition("Difference from <good>")[2]
    assert f"{reverse.bleu.difference:+.2f}".replace("-", "−") in part
    assert f"{reverse.ter.difference:+.2f}" in part
    assert "p\u00a0=\u00a01.000, may be chance" in part  # of the system that is the same
    assert f"p\u00a0=\u00a0{reverse.bleu.p_value:.3f}, significant" in part


def test_one_system_is_compared_with_nothing() -> None:
    assert compare_with_first(SYSTEMS[:1], REFERENCE, "") == []
    assert "Difference" not in text_of(score_tables(SYSTEMS[:1], score_all(SYSTEMS[:1], REFERENCE, ""), []))


def test_a_test_set_too_large_for_resampling_has_scores_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_RESAMPLED_SENTENCES", 10)
    monkeypatch.setattr(scores_module, "MAX_RESAMPLED_SENTENCES", 10)
    comparisons = compare_with_first(SYSTEMS, REFERENCE, "")
    text = text_of(score_tables(SYSTEMS, score_all(SYSTEMS, REFERENCE, ""), comparisons))
    assert comparisons == []
    assert "No intervals and tests" in text and "[" not in text
