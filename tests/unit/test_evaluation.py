import importlib
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from seq2seq import evaluation
from seq2seq.errors import DataError
from seq2seq.evaluation import (
    Difference,
    compare,
    format_comparisons,
    format_scores,
    looks_tokenised,
    read_parallel,
    score,
    sentence_chrf,
    validation_score,
)

REFERENCES = [
    "Ein Hund läuft über die grüne Wiese.",
    "Zwei Männer stehen vor dem Haus und reden.",
    "Das Mädchen im roten Kleid springt in den See.",
    "Eine Frau liest ihrem Kind ein Buch vor.",
    "Der Zug hält heute nicht in Köln.",
    "Vier Leute sitzen an einem kleinen Tisch.",
] * 5
OTHER_REFERENCES = [text.replace("Ein Hund", "Der Hund").replace("reden", "sprechen") for text in REFERENCES]
GOOD = [text.replace("grüne ", "").replace("Kind", "Sohn").replace("Zug", "zug") for text in REFERENCES]
BAD = [" ".join(text.split()[:-2]) for text in REFERENCES]

METRICS = {
    "bleu": BLEU,
    "chrf": CHRF,
    "ter": TER,
    "bleu_lowercased_tokenised": lambda: BLEU(lowercase=True, tokenize="13a"),
}


@pytest.mark.parametrize("references", [[REFERENCES], [REFERENCES, OTHER_REFERENCES]], ids=["one", "two"])
@pytest.mark.parametrize("name", METRICS)
def test_scores_intervals_and_signatures_are_those_of_sacrebleu(name: str, references: list[list[str]]) -> None:
    ours = score(GOOD, references).to_json()[name]
    metric = METRICS[name]()
    theirs = json.loads(
        metric.corpus_score(GOOD, references, n_bootstrap=1000).format(width=9, signature="a:b", is_json=True)
    )
    assert ours["score"] == pytest.approx(theirs["score"])
    assert ours["low"] == pytest.approx(theirs["confidence_mean"] - theirs["confidence_var"])
    assert ours["high"] == pytest.approx(theirs["confidence_mean"] + theirs["confidence_var"])
    assert ours["signature"] == metric.get_signature().format()
    assert f"nrefs:{len(references)}|bs:1000" in ours["signature"]


def test_without_confidence_the_scores_are_the_same_and_the_signature_names_no_bootstrap() -> None:
    quick, full = score(GOOD, [REFERENCES], confidence=False).to_json(), score(GOOD, [REFERENCES]).to_json()
    for name in METRICS:
        assert quick[name]["score"] == full[name]["score"]
        assert quick[name]["low"] is None
        assert quick[name]["high"] is None
        assert quick[name]["signature"] == full[name]["signature"].replace("|bs:1000|seed:12345", "")


def test_very_large_test_sets_get_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.evaluation.MAX_RESAMPLED_SENTENCES", len(GOOD) - 1)
    assert score(GOOD, [REFERENCES]).bleu.low is None
    with pytest.raises(DataError, match="30 sentences"):
        compare(GOOD, [BAD], [REFERENCES])


@given(st.permutations(range(len(GOOD))))
@settings(max_examples=10)
def test_the_order_of_sentences_does_not_matter_but_case_does_only_for_bleu(order: list[int]) -> None:
    references = [REFERENCES[i] for i in order]
    straight = score(GOOD, [REFERENCES], confidence=False)
    assert score([GOOD[i] for i in order], [references], confidence=False) == straight
    shouted = score([GOOD[i].upper() for i in order], [references], confidence=False)
    assert shouted.bleu.score < straight.bleu.score
    assert shouted.bleu_lowercased_tokenised.score == pytest.approx(straight.bleu_lowercased_tokenised.score)


def test_resamples_may_score_nothing() -> None:
    """Some resamples of these have no matching 4-gram and score 0, which sacreBLEU alone cannot average with others."""
    hypotheses = ["a b c d e", *["x y z"] * 6]
    result = score(hypotheses, [["a b c d e", *["p q r"] * 6]]).bleu
    assert result.low is not None and result.high is not None
    assert result.low + 1e-6 >= 0 and result.low < result.high


def test_perfect_and_empty_translations() -> None:
    perfect = score(REFERENCES, [REFERENCES])
    assert perfect.bleu.score == pytest.approx(100)
    assert perfect.chrf.score == pytest.approx(100)
    assert perfect.ter.score == 0
    empty = score([""] * len(REFERENCES), [REFERENCES])
    assert empty.bleu.score == empty.bleu.low == empty.bleu_lowercased_tokenised.score == 0
    assert empty.ter.score == 100


@pytest.mark.parametrize(
    ("language", "token"),
    [("", "tok:13a"), ("de", "tok:13a"), ("zh", "tok:zh"), ("zh-Hans", "tok:zh"), ("zho_Hans", "tok:zh"),
     ("chi", "tok:zh"), ("yue", "tok:zh"), ("cn", "tok:zh")],
)  # fmt: skip
def test_the_target_language_chooses_the_tokenizer(language: str, token: str) -> None:
    scores = score(["我 喜欢猫。"], [["我喜欢猫。"]], confidence=False, target_language=language)
    assert token in scores.bleu.signature
    assert token in scores.bleu_lowercased_tokenised.signature
    assert ("asian:yes" in scores.ter.signature) == (token == "tok:zh")


@pytest.mark.parametrize("code", ["ja", "jpn", "jap", "jp", "ja-JP"])
def test_japanese_has_many_codes(code: str) -> None:
    ours, theirs = (["私は猫が好きです。"], [["私は犬が好きです。"]])
    signatures = [score(ours, theirs, confidence=False, target_language=each).bleu.signature for each in ("ja", code)]
    assert signatures[0] == signatures[1] and "tok:13a" not in signatures[0]


@pytest.mark.parametrize("measured", ["score", "validation_score"])
@pytest.mark.parametrize(
    ("language", "reference", "is_told"),
    [("target", "私は犬が好きです。", True), ("", "我喜欢猫。", True), ("th", "สวัสดีครับ", True), ("km", "សួស្តី", True),
     ("zh", "我喜欢猫。", False), ("ja", "私は犬が好きです。", False), ("ko", "大韓民國", False),
     ("de", "Ein Hund.", False), ("my", "", False)],
)  # fmt: skip
def test_bleu_of_sentences_for_words_is_warned_of(
    measured: str, language: str, reference: str, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(evaluation._LOG, "warning", lambda text, *values: told.append(text % values))
    evaluation._warn_of_no_spaces.cache_clear()
    references = [reference, reference, "An exception."] if reference else ["", ""]
    for _ in range(2):
        if measured == "score":
            score(references, [references], confidence=False, target_language=language)
        else:
            validation_score(references, references, "bleu", language)
    told = [line for line in told if "MeCab" not in line]
    assert len(told) == is_told
    assert all(f"target language {language!r}" in line and "go by chrF" in line for line in told)


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_japanese_and_korean_are_scored_with_or_without_mecab(language: str) -> None:
    scores = score(["私は猫が好きです。"], [["私は犬が好きです。"]], confidence=False, target_language=language)
    assert f"tok:{language}-mecab" in scores.bleu.signature or "tok:char" in scores.bleu.signature
    assert scores.bleu.score > 0


def test_want_of_mecab_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(evaluation._LOG, "warning", lambda text, *values: told.append(text % values))
    monkeypatch.setitem(sys.modules, "MeCab", None)
    evaluation._warn_of_missing_mecab.cache_clear()
    for _ in range(2):
        score(["私は猫が好きです。"], [["私は犬が好きです。"]], confidence=False, target_language="ja")
    assert told == [
        "target language ja: BLEU is of characters (tok:char), since MeCab is missing; pip install 'sacrebleu[ja]'"
    ]


def test_an_interval_of_no_width_has_no_sign() -> None:
    table = format_scores([("same", score(REFERENCES, [REFERENCES]))])
    assert "100.00 ± 0.00" in table and "-0.00" not in table


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_validation_score_is_the_score(metric: str) -> None:
    assert validation_score(GOOD, REFERENCES, metric) == getattr(score(GOOD, [REFERENCES]), metric).score
    assert validation_score(["我喜欢 猫"], ["我喜欢猫"], "bleu", "zh") > validation_score(
        ["我喜欢 猫"], ["我喜欢猫"], "bleu"
    )


@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [([], [[]]), (["a"], []), (["a"], [["a", "b"]]), (["a", "b"], [["a", "b"], ["a"]])],
)
def test_what_does_not_fit_is_refused(hypotheses: list[str], references: list[list[str]]) -> None:
    with pytest.raises(DataError, match=r"^[^\n]+$"):
        score(hypotheses, references)


def test_compare_gives_the_p_values_of_sacrebleu() -> None:
    (ours,) = compare(GOOD, [BAD], [REFERENCES])
    metrics = {"BLEU": BLEU(), "chrF2": CHRF(), "TER": TER()}
    # The other way round: the system is tested against the baseline.
    signatures, theirs = PairedTest([("b", BAD), ("s", GOOD)], metrics, [REFERENCES], test_type="bs")()
    for difference, title in ((ours.bleu, "BLEU"), (ours.chrf, "chrF2"), (ours.ter, "TER")):
        baseline, system = theirs[title]
        assert difference.p_value == pytest.approx(system.p_value)
        assert difference.score == pytest.approx(baseline.score)
        assert difference.difference == pytest.approx(system.score - baseline.score)
        assert difference.signature == signatures[title].format()


def test_compare_takes_several_baselines_and_finds_no_difference_to_itself() -> None:
    only_case = [text.upper() for text in GOOD]
    itself, bad, cased = compare(GOOD, [GOOD, BAD, only_case], [REFERENCES])
    assert [itself.bleu.p_value, itself.chrf.p_value, itself.ter.p_value] == [1, 1, 1]
    assert itself.bleu.difference == 0
    assert bad == compare(GOOD, [BAD], [REFERENCES])[0]
    assert bad.bleu.p_value < 0.05
    assert cased.bleu.p_value < 0.05
    assert cased.ter.p_value == 1  # TER does not see case
    assert compare(GOOD, [], [REFERENCES]) == []


@pytest.mark.parametrize(
    "line",
    ["A well @-@ known dog", "It &apos;s late", "The dog runs .", "a dog , a cat", "der Hund@@ e bellt", "bell@@",
     "▁The ▁dog", "我 喜欢 猫 。"],
)  # fmt: skip
def test_tokenised_text_is_recognised(line: str) -> None:
    assert looks_tokenised([line] * 10)
    assert looks_tokenised([line, "", *["A dog without any sign of it"] * 5])
    assert not looks_tokenised([line, *["A dog."] * 50])


@pytest.mark.parametrize(
    "line",
    ["The dog runs.", "Où est le chien ?", "Attention : « chien méchant » !", "well-known", "and so on ... and on",
     "0 .5", "open .profile, please", "user@@example", "我喜欢猫。", "R & D", ""],
)  # fmt: skip
def test_raw_text_is_not_called_tokenised(line: str) -> None:
    assert not looks_tokenised([line] * 10)
    assert not looks_tokenised([])


def test_tables_show_every_score_with_its_signature() -> None:
    good, bad = score(GOOD, [REFERENCES]), score(BAD, [REFERENCES])
    table = format_scores([("runs/good", good), ("runs/bad", bad)], [12.34, 56.0])
    header, first, second = table.splitlines()[:3]
    assert header.split("  ")[-1] == "sentences/s"
    assert first.startswith("runs/good  ")
    assert first.endswith(" 12.3")
    assert second.endswith(" 56.0")
    for scores in (good, bad):
        for measure in scores.to_json().values():
            assert f"{measure['score']:.2f} ± {(measure['high'] - measure['low']) / 2:.2f}" in table
            assert table.count(measure["signature"]) == 1
    assert "BLEU lower-cased tokenised" in header
    assert max(map(len, table.splitlines())) <= 120
    assert "bootstrap" not in format_scores([("a", score(GOOD, [REFERENCES], confidence=False))])


def test_comparisons_show_difference_and_significance() -> None:
    (comparison,) = compare(GOOD, [BAD], [REFERENCES])
    row = format_comparisons([("bad.de", comparison)]).splitlines()[1]
    bleu: Difference = comparison.bleu
    assert row.startswith("bad.de  ")
    assert f"{bleu.score:.2f} ({bleu.difference:+.2f}, p = {bleu.p_value:.3f}*)" in row


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, lines in (("good", GOOD), ("bad", BAD), ("ref", REFERENCES), ("ref2", OTHER_REFERENCES)):
        (tmp_path / name).write_bytes("".join(f"{line}\n" for line in lines).encode())
    (tmp_path / "short").write_text("one line\n", encoding="utf-8")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "tokenised").write_text("Ein Hund .\n" * len(GOOD), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_read_parallel_names_what_does_not_fit(folder: Path) -> None:
    assert read_parallel(folder / "good", folder / "ref") == [GOOD, REFERENCES]
    with pytest.raises(DataError, match=r"good has 30 lines and .*short has 1"):
        read_parallel(folder / "good", folder / "ref", folder / "short")
    with pytest.raises(DataError, match=r"empty: is empty"):
        read_parallel(folder / "good", folder / "empty")
    with pytest.raises(DataError, match="missing"):
        read_parallel(folder / "missing", folder / "ref")


def run(*arguments: str) -> Result:
    command = importlib.import_module("seq2seq_cli.main").main
    return CliRunner().invoke(command, ["score", *arguments])


def test_command_prints_exactly_the_promised_json(folder: Path) -> None:
    result = run("good", "--reference", "ref", "--reference", "ref2", "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    printed = json.loads(result.stdout)
    assert list(printed) == ["bleu", "chrf", "ter", "bleu_lowercased_tokenised"]
    assert all(list(measure) == ["score", "low", "high", "signature"] for measure in printed.values())
    assert printed == score(GOOD, [REFERENCES, OTHER_REFERENCES]).to_json()


def test_command_compares_with_baselines(folder: Path) -> None:
    arguments = ("good", "--reference", "ref", "--baseline", "bad", "--baseline", "good", "--no-confidence")
    printed = json.loads(run(*arguments, "--json").stdout)
    bad, itself = printed.pop("baselines")
    assert list(printed) == ["bleu", "chrf", "ter", "bleu_lowercased_tokenised"]
    assert printed["bleu"]["low"] is None
    assert bad == {"baseline": "bad", **compare(GOOD, [BAD], [REFERENCES])[0].to_json()}
    assert itself["bleu"]["p_value"] == 1
    table = run(*arguments).stdout
    assert f"{printed['bleu']['score']:.2f}" in table
    assert printed["bleu"]["signature"] in table
    assert "p = " in table


@pytest.mark.parametrize("arguments", [("good", "short"), ("empty", "empty"), ("good", "missing"), ("missing", "ref")])
def test_command_refuses_bad_files_in_one_line(folder: Path, arguments: tuple[str, str]) -> None:
    result = run(arguments[0], "--reference", arguments[1])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_command_warns_of_tokenised_text(folder: Path) -> None:
    result = run("tokenised", "--reference", "ref", "--no-confidence", "--json")
    assert result.exit_code == 0
    assert "warning: tokenised: looks tokenised" in result.stderr
    assert "warning: ref:" not in result.stderr
    assert json.loads(result.stdout)


def test_chrf_of_single_sentences_is_that_of_sacrebleu() -> None:
    expected = [CHRF().sentence_score(text, [reference]).score for text, reference in zip(BAD, REFERENCES, strict=True)]
    assert sentence_chrf(BAD, REFERENCES) == pytest.approx(expected)
    assert sentence_chrf(["", "gleich"], ["etwas", "gleich"]) == [0.0, 100.0]
    with pytest.raises(DataError, match="1 hypotheses and 2 sentences"):
        sentence_chrf(["a"], ["a", "b"])


def test_one_sentence_has_no_interval() -> None:
    scores = score(["a dog runs in the park"], [["a dog runs in a park"]])
    assert scores.bleu.low is None and "bs:" not in scores.bleu.signature


def test_of_one_sentence_nothing_is_significant() -> None:
    (found,) = compare(["a cat sat"], [["a dog stood here"]], [["a cat sat"]])
    assert found.bleu.difference and found.bleu.p_value == found.chrf.p_value == 1.0


def test_line_ends_of_windows_hide_no_tokens() -> None:
    assert looks_tokenised(["a dog .\r", "two cats .\r"])


def test_no_interval_goes_over_100() -> None:
    lines = [f"this is sentence number {number} of all" for number in range(20)]
    found = score([*lines[:-1], "quite another"], [lines])
    assert found.bleu.high == 100 and found.chrf.high is not None and found.chrf.high <= 100
