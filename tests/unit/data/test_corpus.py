from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seq2seq.config import CorpusConfig
from seq2seq.data import unpacking
from seq2seq.data.corpus import SentencePair, count_lines, read_corpus, read_lines, write_lines
from seq2seq.errors import DataError

# Everything that some reader of text somewhere takes for the end of a line, except the line feed.
TRAPS = "a\rb\x0bc\x0cd\x1ce\x1df\x1eg\x85h\u2028i\u2029j\r"
LINES = st.lists(st.text(st.characters(exclude_characters="\n\0\ufeff", codec="utf-8")))


def pairs_of(counts: Counter[str] | None = None, languages: tuple[str, str] = ("", ""), **corpus: object):
    return list(read_corpus(CorpusConfig(**{name: str(value) for name, value in corpus.items()}), languages, counts))


def write(path: Path, text: str | bytes) -> Path:
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_json(path: Path, *rows: object) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def test_characters_of_zero_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.de").write_bytes(b"a\0\0\0\0\nb\n")
    assert list(read_lines(tmp_path / "a.de")) == ["a\0\0\0\0", "b"]


@pytest.mark.parametrize("name", ["a.de", "a.de.gz"])
def test_lines_without_end_do_not_fill_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "LONGEST_LINE", 2**20)
    line = "x" * (2**20 - 1)
    path = write(tmp_path / name, f"\n{line}\n{line}")
    assert list(read_lines(path)) == ["", line, line]
    with pytest.raises(DataError, match=rf"{name}:2: no line end in 1 MB; is this text, one sentence a line\?"):
        list(read_lines(write(path, f"\n{line}x\n")))


@given(lines=LINES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_lines_are_read_as_written_and_only_a_line_feed_ends_one(lines: list[str], tmp_path: Path) -> None:
    assert write_lines(tmp_path / "text", lines) == len(lines)
    assert list(read_lines(tmp_path / "text")) == lines
    write(tmp_path / "text.gz", (tmp_path / "text").read_bytes())
    assert list(read_lines(tmp_path / "text.gz")) == lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (f"{TRAPS}\n{TRAPS}\n".encode(), [TRAPS, TRAPS]),
    ],
)
def test_line_ends_and_marks(data: bytes, lines: list[str], tmp_path: Path) -> None:
    assert list(read_lines(write(tmp_path / "text", data))) == lines
    assert count_lines(tmp_path / "text") == len(lines)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.de", "grün\ngrün\n".encode("latin-1"), r"a\.de:1: not UTF-8 \(byte 0xfc at column 3\); .* iconv"),
        ("a.de", b"ok\n\nab\xff", r"a\.de:3: not UTF-8 \(byte 0xff at column 3\)"),
        ("a.de", b"ok\n\xed\xa0\x80\n", r"a\.de:2: not UTF-8"),
        ("a.de", "Tür\nTor\n".encode("utf-16"), r"a\.de:1: is UTF-16 text; .* iconv -f utf-16"),
        ("a.de", "Tür\nTor\n".encode("utf-16-be"), r"a\.de:1: is UTF-16 text"),
        ("a.de", gzip.compress(b"text\n", mtime=0), r"a\.de:1: is compressed with gzip; .* a name that ends in \.gz"),
    ],
)
def test_wrong_encodings_are_named_with_line_and_remedy(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_lines(write(tmp_path / name, data)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"plain text\n", "damaged, or not gzip"),
        (gzip.compress(b"some text\n" * 1000, mtime=0)[:-12], "ends too early; fetch it again"),
        (gzip.compress(b"some text\n", mtime=0)[:-8] + b"12345678", "damaged"),
        (gzip.compress(bytes(range(1, 250)), mtime=0)[:12] + b"\xff" * 40, "damaged"),
    ],
)
def test_damaged_compression(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.gz: .*{message}"):
        list(read_lines(tmp_path / "a.gz"))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: no such file; check the path"):
        list(read_lines(tmp_path / "none"))
    with pytest.raises(DataError, match="is a folder; expected a text file"):
        list(read_lines(tmp_path))
    with pytest.raises(DataError, match=r"none\.tsv: no such file or folder"):
        pairs_of(path=tmp_path / "none.tsv")
    with pytest.raises(DataError, match=r"a\.odt: expected a \.tsv, \.csv, .* file"):
        pairs_of(path=write(tmp_path / "a.odt", "a,b\n"))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("out", ["fine", "one\nand two"], r"out:2: the line holds a line feed: .*; replace it"),
        ("out", ["half a pair \ud800"], r"out:1: cannot be written as UTF-8"),
        ("out.gz", ["fine"], r"out\.gz: .*take \.gz off"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(name: str, lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        write_lines(tmp_path / name, lines)
    assert list(tmp_path.iterdir()) == []


def test_a_pair_of_files_keeps_in_step_whatever_the_lines_hold(tmp_path: Path) -> None:
    source = write(tmp_path / "a.de", f"eins\n{TRAPS}\ndrei")
    target = write(tmp_path / "a.en.gz", f"{TRAPS}\ntwo\nthree\n")
    counts: Counter[str] = Counter()
    expected = [("eins", TRAPS), (TRAPS, "two"), ("drei", "three")]
    assert pairs_of(counts, source=source, target=target) == expected
    assert counts == {"read": 3}


def test_pairs_come_before_the_files_are_read_to_their_ends(tmp_path: Path) -> None:
    source = write(tmp_path / "a.de", b"x\n" * 5 + b"\xff\n" + b"x\n" * 100_000)
    target = write(tmp_path / "a.en", b"y\n" * 100)
    corpus = CorpusConfig(source=str(source), target=str(target))
    assert list(islice(read_corpus(corpus), 5)) == [SentencePair("x", "y")] * 5


@pytest.mark.parametrize("longer", ["source", "target"])
@pytest.mark.parametrize("num_lost", [1, 3])
@pytest.mark.parametrize("place", [0, 50, 299])
def test_unequal_line_counts_name_both_and_the_suspect(longer: str, num_lost: int, place: int, tmp_path: Path) -> None:
    # A translation is about a fifth longer; lengths vary as those of sentences do.
    lengths = [5 + index * 37 % 91 for index in range(300)]
    whole = ["x" * length for length in lengths]
    cut = ["y" * (length * 6 // 5 + length % 3) for length in lengths]
    del cut[place : place + num_lost]
    sides = {"source": whole, "target": cut} if longer == "source" else {"source": cut, "target": whole}
    for side, lines in sides.items():
        write_lines(tmp_path / side, lines)
    with pytest.raises(DataError) as caught:
        pairs_of(source=tmp_path / "source", target=tmp_path / "target")
    message = str(caught.value)
    assert f"source has {len(sides['source'])} lines and " in message
    assert f"target has {len(sides['target'])}" in message
    (suspect,) = re.findall(rf"{longer}:(\d+)", message)
    assert abs(int(suspect) - 1 - place) <= 3


@pytest.mark.parametrize(
    ("source", "target", "suspect"),
    [("a\nb\nc\n", "a\nb\n", "source:3 has no partner"), ("", "a\n", "target:1 has no partner")],
)
def test_lines_beyond_the_end_have_no_partner(source: str, target: str, suspect: str, tmp_path: Path) -> None:
    write(tmp_path / "source", source)
    write(tmp_path / "target", target)
    with pytest.raises(DataError, match=suspect):
        pairs_of(source=tmp_path / "source", target=tmp_path / "target")


def test_empty_sides_are_dropped_and_counted_or_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.de", "a\n\n \t\u2028\nd\n\n")
    target = write(tmp_path / "a.en", "a\nb\nc\n\u00a0\n\n")
    counts: Counter[str] = Counter()
    assert pairs_of(counts, source=source, target=target) == [("a", "a")]
    assert counts == {"read": 5, "empty_source": 3, "empty_target": 1}
    strict = CorpusConfig(source=str(source), target=str(target), drop_empty=False)
    with pytest.raises(DataError, match=r"a\.de:2: the source side is empty; mend it, or set `drop_empty`"):
        list(read_corpus(strict))


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("en\tde\tscore\nyes\tja\t1\n", [("ja", "yes")]),
        ("source\ttarget\r\nja\tyes\n", [("ja", "yes")]),
        ("de\tdie\nja\tyes\n", [("de", "die"), ("ja", "yes")]),
    ],
)
def test_tsv_may_have_a_header_of_languages(text: str, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    corpus = CorpusConfig(path=str(write(tmp_path / "a.tsv", text)))
    assert list(read_corpus(corpus, ("de", "en"))) == pairs


def test_tsv_takes_numbered_columns_and_quotes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f'"a\tb"\n{TRAPS}\tc\n')
    assert pairs_of(path=path) == [('"a', 'b"'), (TRAPS, "c")]
    assert pairs_of(path=path, source_column=1, target_column=0) == [('b"', '"a'), ("c", TRAPS)]
    path = write(tmp_path / "b.TSV.gz", "1\tHund\tdog\n2\t\tcat\n")
    counts: Counter[str] = Counter()
    assert pairs_of(counts, path=path, source_column=2, target_column=1) == [("dog", "Hund")]
    assert counts == {"read": 2, "empty_target": 1}


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a\tb\na b\n", {}, r"a\.tsv:2: 1 columns where line 1 has 2"),
        ("a\tb\na\tb\tc\n", {}, r"a\.tsv:2: 3 columns where line 1 has 2"),
        ("a\tb\n\n", {}, r"a\.tsv:2: 1 columns"),
        ("a\tb\tc\n", {}, r"a\.tsv:1: 3 columns; say which"),
        ("a\tb\n", {"source_column": 0, "target_column": 2}, r"a\.tsv:1: no column 2 among 2"),
        ("a\tb\n", {"source_column": "de"}, r"a\.tsv:1: no column 'de' \(a, b\); check `source_column`"),
        ("a\tb\n", {"source_column": "a", "target_column": "c"}, r"no column 'c' .*check `target_column`"),
        ("a\tb\n", {"source_column": "२", "target_column": "1"}, "digits from 0 to 9"),
        ("a\tb\n", {"source_column": 1}, "both 1"),
        (b"a\tb\na\t\xff\n", {}, r"a\.tsv:2: not UTF-8"),
    ],
)
def test_bad_tsv(text: str | bytes, columns: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        pairs_of(path=write(tmp_path / "a.tsv", text), **columns)


@pytest.mark.parametrize("columns", [{}, {"source_column": "a", "target_column": "b"}])
def test_lines_under_a_header_are_counted_with_it(columns: dict[str, str], tmp_path: Path) -> None:
    corpus = CorpusConfig(path=str(write(tmp_path / "a.tsv", "a\tb\nx\t\n")), drop_empty=False, **columns)
    with pytest.raises(DataError, match=r"a\.tsv:2: the target side is empty"):
        list(read_corpus(corpus))


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ({"translation": {"de": "Hund", "en": "dog", "fr": "chien"}, "de": 1, "id": 7}, {}),
        ({"de": "Hund", "en": "dog", "source": "a film", "target": 3}, {}),
        ({"source": "Hund", "target": "dog"}, {}),
        ({"a": "Hund", "b": "dog", "de": "", "en": ""}, {"source_column": "a", "target_column": "b"}),
        ({"german": "Hund", "en": "dog"}, {"source_column": "german"}),
        ({"translation": {"deu": "Hund", "en": "dog"}}, {"source_column": "deu"}),
    ],
)
def test_columns_are_found_by_name(row: dict[str, object], settings: dict[str, str], tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.jsonl", row, row)
    assert pairs_of(languages=("de", "en"), path=path, **settings) == [("Hund", "dog")] * 2


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"de": "Hund", "source": "a film"}, {}, r"no two columns for 'de' and 'en' \(it has de, source\); name them"),
        ({"en": "dog", "source": "a film"}, {}, "no two columns"),  # a mix of names would be a guess
        ({"translation": {"fr": "chien"}}, {}, r"it has translation, translation\.fr"),
        ({"de": "a", "en": "b"}, {"source_column": "x"}, "no two columns for 'x' and 'en'"),
        ({"de": "a", "en": "b"}, {"source_column": "en"}, "no two columns for 'en' and 'en'"),
        ({}, {}, "it has none"),
    ],
)
def test_columns_that_are_not_there(
    row: dict[str, object], settings: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"a\.jsonl: .*{message}"):
        pairs_of(languages=("de", "en"), path=write_json(tmp_path / "a.jsonl", row), **settings)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"source": "a", ', r"a\.jsonl:2: not JSON \(.* at column 17\)"),
        ("", r"a\.jsonl:2: not JSON"),
        ("[" * 100_000, r"a\.jsonl:2: not JSON"),
        ('["a", "b"]', r"a\.jsonl:2: expected an object"),
        ('{"source": "a"}', r"a\.jsonl:2: no column 'target', which the first row has"),
        ('{"source": "a", "target": 5}', r"a\.jsonl:2: the target side is not text but int: 5"),
        ('{"source": ["a"], "target": "b"}', r"a\.jsonl:2: the source side is not text but list"),
        ('{"source": "\\ud800", "target": "b"}', r"a\.jsonl:2: the source side holds half a surrogate pair"),
    ],
)
def test_bad_jsonl(line: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"source": "a", "target": "b"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        pairs_of(path=path)


def test_absent_text_is_empty_and_line_breaks_become_spaces(tmp_path: Path) -> None:
    sides = [("a", None), ("one\r\ntwo", "\nthree\n"), ("\n", "x")]
    rows = [{"source": source, "target": target} for source, target in sides]
    counts: Counter[str] = Counter()
    assert pairs_of(counts, path=write_json(tmp_path / "a.jsonl", *rows)) == [("one two", " three ")]
    assert counts == {"read": 3, "empty_target": 1, "empty_source": 1, "line_breaks_replaced": 3}


def test_an_empty_jsonl_has_no_pairs(tmp_path: Path) -> None:
    assert pairs_of(path=write(tmp_path / "a.jsonl.gz", "")) == []


def test_a_tag_is_put_before_each_source(tmp_path: Path) -> None:
    write(tmp_path / "s", "a\n\nb c\n")
    write(tmp_path / "t", "A\nx\nB C\n")
    assert pairs_of(source=tmp_path / "s", target=tmp_path / "t", tag="<bt>") == [("<bt> a", "A"), ("<bt> b c", "B C")]
