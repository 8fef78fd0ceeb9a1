"""The whole page, from runs and files."""

import logging
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from strict_html import Page, loads, text_of

from seq2seq.config import DecodingConfig, load_config, save_config
from seq2seq.decoding.translator import Translator
from seq2seq.errors import DataError, DecodingError, TokenizerError
from seq2seq.reporting import report as reporting
from seq2seq.reporting.report import Texts, Translating, write_report

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> & </section>"
GREEDY = Translating(beam_size=1, device="cpu")
WIDE = Translating(beam_size=3, device="cpu")


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', html)


def written(path: Path) -> str:
    html = path.read_text(encoding="utf-8")
    Page(html)
    assert loads(html) == []
    return html


def test_one_run_alone_gives_curves_and_settings(trained_run: Path, tmp_path: Path) -> None:
    write_report([trained_run], tmp_path / "r.html")
    html = written(tmp_path / "r.html")
    assert sections(html) == ["glance", "curves", "settings"]
    assert "de to en" in html


def test_all_together(corpus: Path, trained_run: Path, tmp_path: Path) -> None:
    source, reference = corpus / "test.de", corpus / "test.en"
    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    done: list[int] = []
    texts = Texts(source=source, reference=reference, systems=[("perfect", reference)])
    write_report([trained_run, copy], tmp_path / "r.html", texts, GREEDY, progress=done.append)
    html = written(tmp_path / "r.html")
    text = text_of(html)
    assert sections(html) == ["glance", "curves", "settings", "scores", "slices", "sentences", "attention"]
    assert sum(done) == 40
    assert "beam 1" in text and "the training text of tiny" in text and "Difference from tiny" in text
    translations = Translator.load(trained_run, "cpu").translate(source.read_text(encoding="utf-8").splitlines()[:3])
    for number in (1, 2, 3):
        assert f"Sentence {number}" in text
    assert translations[0].source in text
    write_report([trained_run, copy], tmp_path / "again.html", texts, GREEDY)
    assert written(tmp_path / "again.html") == html


def test_runs_translate_together_and_another_chooses(corpus: Path, trained_run: Path, tmp_path: Path) -> None:
    texts = Texts(source=corpus / "test.de", reference=corpus / "test.en")
    back = tmp_path / "back"
    shutil.copytree(trained_run, back)
    config = back / "config.toml"
    swapped = {'source_language = "de"': 'source_language = "en"', 'target_language = "en"': 'target_language = "de"'}
    told = config.read_text(encoding="utf-8")
    for before, after in swapped.items():
        assert before in told
        told = told.replace(before, after)
    config.write_text(told, encoding="utf-8")
    write_report([trained_run], tmp_path / "alone.html", texts, GREEDY)
    write_report([trained_run], tmp_path / "twice.html", texts, replace(GREEDY, ensemble=[trained_run]))
    write_report([trained_run], tmp_path / "back.html", texts, replace(GREEDY, rerank_by=back))
    alone, twice, chosen = (text_of(written(tmp_path / f"{name}.html")) for name in ("alone", "twice", "back"))
    assert twice == alone.replace("beam 1", f"beam 1, together with {trained_run}")  # a model with itself is the model
    assert f"beam 32, chosen by {back} among 32" in chosen and "Attention" in chosen
    with pytest.raises(DataError, match=f"--rerank-by {back}: nothing is translated without --source"):
        write_report([trained_run], tmp_path / "r.html", translating=Translating(rerank_by=back))


def test_ready_made_translations_need_no_run_and_nothing_of_them_gets_out_of_hand(tmp_path: Path) -> None:
    for name in ("source", "reference", "one", "two"):
        lines = [f"{EVIL} {name}", "", f"plain {name} 3", "\u202eright to left", "漢字"]
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    paths = {name: tmp_path / name for name in ("source", "reference")}
    systems = [(EVIL, tmp_path / "one"), ("two", tmp_path / "two")]
    write_report([], tmp_path / "r.html", Texts(**paths, systems=systems))
    html = written(tmp_path / "r.html")
    assert sections(html) == ["glance", "scores", "slices", "sentences"]
    assert html.count("<script") == 1 and "<img" not in html
    assert f"{EVIL} source" in text_of(html)
    assert "this test set, for want of the training text" in text_of(html)


def test_without_a_reference_nothing_is_scored(corpus: Path, trained_run: Path, tmp_path: Path) -> None:
    write_report([trained_run], tmp_path / "r.html", Texts(source=corpus / "test.de"))
    html = written(tmp_path / "r.html")
    assert sections(html) == ["glance", "curves", "settings", "scores", "sentences", "attention"]
    assert "No reference was given" in text_of(html) and "95% interval" not in html


def test_without_a_source_kinds_are_told_by_the_reference(corpus: Path, tmp_path: Path) -> None:
    texts = Texts(reference=corpus / "test.en", systems=[("one", corpus / "test.en")])
    write_report([], tmp_path / "r.html", texts)
    assert "Kinds are told by the reference" in text_of(written(tmp_path / "r.html"))


def test_a_run_without_metrics_can_still_translate(corpus: Path, trained_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    (copy / "metrics.jsonl").unlink()
    write_report([copy], tmp_path / "r.html", Texts(source=corpus / "test.de"))
    assert sections(written(tmp_path / "r.html")) == ["glance", "settings", "scores", "sentences", "attention"]


def test_mistakes_leave_nothing_behind(corpus: Path, trained_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "r.html"
    with pytest.raises(DataError, match="20 lines"):
        write_report([trained_run], output, Texts(source=corpus / "test.de", reference=corpus / "train.en"))
    with pytest.raises(DataError, match="4 systems"):
        write_report([], output, Texts(systems=[(str(i), corpus / "test.en") for i in range(4)]))
    with pytest.raises(DataError, match="nothing is translated without --source"):
        write_report([trained_run], output, translating=WIDE)
    assert not output.parent.exists()


def test_what_a_later_run_cannot_do_is_found_before_the_first_translates(
    corpus: Path, trained_run: Path, tmp_path: Path
) -> None:
    copy, done = shutil.copytree(trained_run, tmp_path / "copy"), list[int]()
    config = load_config(copy / "config.toml")
    save_config(replace(config, decoding=replace(config.decoding, tag="<2fr>")), copy / "config.toml")
    with pytest.raises(TokenizerError, match="<2fr>"):
        write_report([trained_run, copy], tmp_path / "r.html", Texts(source=corpus / "test.de"), progress=done.append)
    assert not done


def test_a_beam_is_refused_for_a_run_that_samples(corpus: Path, trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "sampling")
    config = load_config(tmp_path / "sampling/config.toml")
    save_config(replace(config, decoding=DecodingConfig(sample=True)), tmp_path / "sampling/config.toml")
    with pytest.raises(DecodingError, match=r"--beam-size 3: does nothing for .*sampling, which samples"):
        write_report([tmp_path / "sampling"], tmp_path / "r.html", Texts(source=corpus / "test.de"), WIDE)
    assert not (tmp_path / "r.html").exists()


def test_nothing_but_a_page_is_replaced(corpus: Path, tmp_path: Path) -> None:
    shutil.copy(corpus / "test.en", tmp_path / "system")
    texts = Texts(systems=[("one", tmp_path / "system")])
    with pytest.raises(DataError, match=r"system: is there already, and no page; choose another --output"):
        write_report([], tmp_path / "system", texts)
    assert (tmp_path / "system").read_bytes() == (corpus / "test.en").read_bytes()
    for _ in range(2):
        write_report([], tmp_path / "page", texts)


def test_tokenised_text_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokenised"
    path.write_text("a well @-@ known dog .\n", encoding="utf-8")
    logger = logging.getLogger("seq2seq")
    logger.addHandler(caplog.handler)  # the command line's own handler may have taken over
    try:
        write_report([], tmp_path / "r.html", Texts(systems=[("one", path)]))
    finally:
        logger.removeHandler(caplog.handler)
    assert "looks tokenised" in caplog.text


def test_where_it_cannot_be_written_is_told_before_anything_is_translated(
    trained_run: Path, corpus: Path, tmp_path: Path
) -> None:
    done: list[int] = []
    with pytest.raises(OSError, match="not a regular file"):
        texts = Texts(source=corpus / "test.de")
        write_report([trained_run], tmp_path, texts, progress=done.append)
    assert done == []


def test_a_pipe_is_no_place_for_a_page(trained_run: Path, corpus: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="not a regular file"):
            write_report([trained_run], Path(f"/dev/fd/{writing}"), Texts(source=corpus / "test.de"))
    finally:
        os.close(reading)
        os.close(writing)


def test_kinds_of_sentences_are_told_without_tags(tmp_path: Path) -> None:
    lines = ["A Dog sleeps", "a cat", "a bird sings 3 songs", "one"] * 5
    tagged = "".join(f"<2de> {line}\n" for line in lines)
    for name, text in (("tagged", tagged), ("plain", "".join(f"{line}\n" for line in lines))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        texts = Texts(source=tmp_path / name, reference=tmp_path / "tagged", systems=[("s", tmp_path / "tagged")])
        write_report([], tmp_path / f"{name}.html", texts)
    pages = [written(tmp_path / f"{name}.html") for name in ("tagged", "plain")]
    found = [text_of(html.partition('id="slices"')[2].partition("</section>")[0]) for html in pages]
    assert "without digits" in found[1]
    assert found[0] == found[1]


def test_a_training_text_that_may_not_be_looked_at_is_no_reason_to_lose_the_page(
    trained_run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/home/other/train.de")

    monkeypatch.setattr(reporting, "training_sources", refused)
    texts = Texts(source=corpus / "test.de", reference=corpus / "test.en")
    write_report([trained_run], tmp_path / "r.html", texts, GREEDY)
    assert "for want of the training text" in text_of(written(tmp_path / "r.html"))


def test_rare_words_of_a_long_training_text_are_of_its_first_part(
    trained_run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = Texts(source=corpus / "test.de", reference=corpus / "test.en")
    for most, told in ((300, "counted in the training text"), (299, "counted in the first 299 pairs of the training")):
        monkeypatch.setattr("seq2seq.reporting.report._MOST_PAIRS", most)
        write_report([trained_run], tmp_path / "r.html", texts, GREEDY)
        assert told in (tmp_path / "r.html").read_text(encoding="utf-8")
