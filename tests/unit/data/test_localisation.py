"""Formats of translators, and tables with headers; files of other programs are at the end."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from seq2seq.config import CorpusConfig
from seq2seq.data.corpus import read_corpus, read_lines
from seq2seq.errors import DataError

LANGUAGES = ("en", "de")

TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en" segtype="sentence" o-tmf="x" adminlang="en" datatype="plaintext"
 creationtool="x" creationtoolversion="1"/><body>
<tu tuid="1"><tuv xml:lang="en-US"><seg>Open <bpt i="1">&lt;b&gt;</bpt>the<ept i="1">&lt;/b&gt;</ept> file</seg></tuv>
 <tuv xml:lang="DE"><seg>Öffne <hi>die</hi> Datei</seg></tuv></tu>
<tu><tuv xml:lang="de"><seg>nur deutsch</seg></tuv><tuv xml:lang="fr"><seg>oui</seg></tuv></tu>
<tu><tuv lang="de_AT"><seg>ja
 doch</seg></tuv><tuv lang="en_GB"><seg>yes</seg></tuv><tuv lang="en"><seg>yeah</seg></tuv></tu>
</body></tmx>
"""
PO = """# A catalogue.
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "dog"
msgstr "Hund"

msgid "two"
"words"
msgstr "zwei\\tWörter"

#, fuzzy
msgid "cat"
msgstr "Kater?"

msgid "mouse"
msgstr ""

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Datei"
msgstr[1] "%d Dateien"

#~ msgid "old"
#~ msgstr "alt"
"""
XLIFF = """<?xml version="1.0" encoding="utf-8"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="a" source-language="en" target-language="de" datatype="plaintext"><body>
<trans-unit id="1"><source>dog</source><target>Hund</target></trans-unit>
<trans-unit id="2"><source>cat</source></trans-unit>
<trans-unit id="4"><source>cow</source><target state="needs-review-translation">Kuh?</target></trans-unit>
<trans-unit id="3"><source>a &amp; b</source><target>ä &amp; b</target></trans-unit>
</body></file></xliff>
"""
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def pairs_of(path: Path, **settings: str) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in read_corpus(CorpusConfig(path=str(path), **settings), LANGUAGES)]


def write(path: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tmx_has_units_in_both_languages_without_codes(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.tmx", TMX.replace("UTF-8", encoding), encoding)
    assert pairs_of(path) == [("Open the file", "Öffne die Datei"), ("yeah", "ja  doch")]


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_tmx_may_be_compressed(tmp_path: Path, ending: str) -> None:
    pack = gzip.compress if ending == "gz" else pytest.importorskip("zstandard").compress
    path = tmp_path / f"a.tmx.{ending}"
    path.write_bytes(pack(TMX.encode()))
    assert pairs_of(path) == [("Open the file", "Öffne die Datei"), ("yeah", "ja  doch")]
    path.write_bytes(pack(TMX.encode())[:-20])
    with pytest.raises(DataError, match="damaged, or cannot be read"):
        pairs_of(path)


def test_tmx_is_read_piece_by_piece(tmp_path: Path) -> None:
    unit = '<tu><tuv xml:lang="en"><seg>dog</seg></tuv><tuv xml:lang="de"><seg>Hund</seg></tuv></tu>\n'
    path = write(tmp_path / "a.tmx", f"<tmx><body>\n{unit * 50_000}</body></tmx>")
    tracemalloc.start()
    assert sum(1 for _ in read_corpus(CorpusConfig(path=str(path)), LANGUAGES)) == 50_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_po_has_what_is_translated(tmp_path: Path) -> None:
    expected = [("dog", "Hund"), ("twowords", "zwei\tWörter"), ("%d file", "%d Datei"), ("%d files", "%d Dateien")]
    assert pairs_of(write(tmp_path / "a.po", PO)) == expected


def test_po_of_another_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.po: is in fr, not in de; check"):
        pairs_of(write(tmp_path / "a.po", PO.replace("UTF-8", "UTF-8\\n\"\n\"Language: fr")))
    for said in ("de_AT", "de@formal", "German"):
        text = PO.replace("UTF-8", f"UTF-8\\n\"\n\"Language: {said}")
        assert pairs_of(write(tmp_path / "b.po", text))[0] == ("dog", "Hund")


@pytest.mark.parametrize("name", ["a.xlf", "a.xliff"])
def test_xliff_has_what_is_translated(tmp_path: Path, name: str) -> None:
    assert pairs_of(write(tmp_path / name, XLIFF)) == [("dog", "Hund"), ("a & b", "ä & b")]


def test_xliff_of_version_2_has_its_segments(tmp_path: Path) -> None:
    text = """<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.0" srcLang="en" trgLang="de">
    <file id="f"><unit id="1">
    <segment><source>dog <ph id="1"/>here</source><target>Hund <ph id="1"/>da</target></segment>
    <segment><source>Two.</source><target>Zwei.</target></segment></unit>
    <unit id="2"><segment state="initial"><source>cat</source></segment></unit>
    <unit id="3"><segment state="initial"><source>cow</source><target>cow</target></segment></unit></file></xliff>"""
    assert pairs_of(write(tmp_path / "a.xlf", text)) == [("dog here", "Hund da"), ("Two.", "Zwei.")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xlf", XLIFF.replace('"en"', '"de-AT"').replace('target-language="de"', 'target-language="en_US"')),
        ("b.xlf", XLIFF.replace('source-language="en" target-language="de"', 'target-language="en"')),
        ("a.po", PO.replace("UTF-8", "UTF-8\\n\"\n\"Language: en_GB")),
    ],
)
def test_files_of_the_other_direction_are_turned_round(tmp_path: Path, name: str, text: str) -> None:
    assert pairs_of(write(tmp_path / name, text))[0] == ("Hund", "dog")


@pytest.mark.parametrize(
    "text",
    [
        XLIFF.replace('target-language="de"', 'target-language="fr"'),
        XLIFF.replace("</file>", '</file><file original="b" source-language="de" target-language="en"/>'),
    ],
)
def test_xliff_of_other_languages_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a\.xlf: is of .*, not of en-de"):
        pairs_of(write(tmp_path / "a.xlf", text))


@pytest.mark.parametrize(("name", "text"), [("a.tmx", TMX), ("a.xlf", XLIFF)])
def test_entities_are_refused(tmp_path: Path, name: str, text: str) -> None:
    body = text[text.index("<tmx" if name == "a.tmx" else "<xliff") :]
    with pytest.raises(DataError, match="declares entities"):
        pairs_of(write(tmp_path / name, BOMB + body.replace("Hund", "&b;")))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.tmx", b"no XML", "not XML"),
        ("a.tmx", TMX.encode()[:-20], "not XML"),
        ("a.xlf", b"<xliff", "not XML"),
        ("a.tmx", b'<?xml version="1.0" encoding="gb2312"?><tmx/>', "convert it to UTF-8"),
        ("a.po", b'msgid "a\nmsgstr', "cannot be read"),
        ("a.zip", b"no zip", "damaged, or not a zip archive"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        pairs_of(write(tmp_path / name, data))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_varieties_of_a_language(tmp_path: Path) -> None:
    unit = '<tu><tuv xml:lang="en-GB"><seg>dog</seg></tuv><tuv xml:lang="pt-BR"><seg>cachorro</seg></tuv></tu>'
    path = CorpusConfig(path=str(write(tmp_path / "a.tmx", f"<tmx><body>{unit}</body></tmx>")))
    for target in ("pt", "pt-BR", "pt_br"):
        assert list(read_corpus(path, ("en", target))) == [("dog", "cachorro")]
    assert list(read_corpus(path, ("eng", "por"))) == [("dog", "cachorro")]
    for languages, named in ((("en", "pt-PT"), "pt-PT"), (("en-US", "pt"), "en-US"), (("en", "zh"), "zh")):
        with pytest.raises(DataError, match=f"is in en-GB, pt-BR, not in {named}; check"):
            list(read_corpus(path, languages))


def test_an_empty_variety_hides_no_other(tmp_path: Path) -> None:
    unit = """<tu><tuv xml:lang="en-US"><seg> </seg></tuv><tuv xml:lang="en-GB"><seg>dog</seg></tuv>
    <tuv xml:lang="de"><seg>Hund</seg></tuv></tu>"""
    assert pairs_of(write(tmp_path / "a.tmx", f"<tmx><body>{unit}</body></tmx>")) == [("dog", "Hund")]


def test_markup_in_the_codes_of_xliff_is_no_text(tmp_path: Path) -> None:
    source = 'the <bpt id="1">&lt;b&gt;</bpt>big<ept id="1">&lt;/b&gt;</ept> dog<ph id="2">%s</ph>s'
    text = XLIFF.replace("<source>dog", f"<source>{source}")
    text = text.replace("<target>Hund", '<target>der <g id="1">große</g> <x id="2"/>Hund')
    assert pairs_of(write(tmp_path / "a.xlf", text))[0] == ("the big dogs", "der große Hund")


@pytest.mark.parametrize(
    ("rule", "one", "many"),
    [
        ("nplurals=4; plural=(n%100==1 ? 1 : n%100==2 ? 2 : n%100==3 || n%100==4 ? 3 : 0);", "1", "0"),
        ("nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n != 0 ? 1 : 2);", "0", "1"),
        ("nplurals=1; plural=0;", "0", "0"), ("nplurals=2; plural=n !+ 1;", "0", "3"),
        ("nplurals=2; plural=n==!n;", "0", "3"), ("nplurals=2; plural=n-5;", "3", "3"),
        ("nplurals=9; plural=n > 1 ? 8 : 0;", "0", "3"), ("nplurals=INTEGER; plural=EXPRESSION;", "0", "3"),
    ],
)  # fmt: skip
def test_plural_forms_are_those_of_the_header(tmp_path: Path, rule: str, one: str, many: str) -> None:
    forms = "".join(f'msgstr[{i}] "{i}"\n' for i in range(4))
    text = f"""msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: {rule}\\n"

msgid "a"
msgid_plural "b"
{forms}"""
    assert pairs_of(write(tmp_path / "a.po", text)) == [("a", one), ("b", many)]


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damaged_and_marked_archives(packing: int, tmp_path: Path) -> None:
    path, line = tmp_path / "a.zip", b"\xef\xbb\xbfHund\n"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("a.en", line * 500)
        archive.writestr("a.de", line * 500)
    assert pairs_of(path)[0] == ("Hund", "Hund")
    whole = path.read_bytes()
    for place in range(40, 60):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        with suppress(DataError):  # or nothing is wrong that can be seen
            pairs_of(write(path, bytes(broken)))


def test_opus_archives(tmp_path: Path) -> None:
    path = tmp_path / "en-de.txt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "x")
        archive.writestr("X.de-en.en", "dog\na\u2028b\n")
        archive.writestr("X.de-en.de", "Hund\nä\n")
    assert pairs_of(path) == [("dog", "Hund"), ("a\u2028b", "ä")]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("Y.de", "")
    with pytest.raises(DataError, match=r"2 files end in \.de"):
        pairs_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.en", "dog\n")
        archive.writestr("X.de", "Hund\nzwei\n")
    with pytest.raises(DataError, match=r"X\.en or X\.de ends before line 2"):
        pairs_of(path)


def test_csv_has_a_header_and_quoted_cells(tmp_path: Path) -> None:
    text = '\ufeffid,en,de\n1,"a, ""b""\nc","Ä"\n2,,x\n3,dog,Hund\n'
    assert pairs_of(write(tmp_path / "a.csv", text)) == [('a, "b" c', "Ä"), ("dog", "Hund")]
    assert pairs_of(tmp_path / "a.csv", source_column="de", target_column="id")[0] == ("Ä", "1")
    long = "a" * 200_000  # over the limit that Python's reader has by itself
    assert pairs_of(write(tmp_path / "b.csv", f"en,de\n{long},b\n")) == [(long, "b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("en,de\na\n", "row 1: 1 cells under a header of 2"),
        ('en,de\na,b\na,"b\n', "row 2: not CSV"),
        ("x,y\na,b\n", "no two columns for 'en' and 'de'"),
        ("en,de,en\n1,2,3\n", "2 columns have the name 'en'; rename"),
        ("\nen,de\na,b\n", r"a\.csv: its first line is empty"),
        ("\n\n", r"a\.csv: its first line is empty, where the names of columns are expected"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(DataError, match=message):
        pairs_of(path)


def test_an_unnamed_column_of_numbers_is_no_side(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ",de,en\n0,Hallo,Hello\n1,Welt,World\n")
    with pytest.raises(DataError, match="no two columns for 'de'"):
        list(read_corpus(CorpusConfig(path=str(path)), ("de", "")))
    assert pairs_of(path) == [("Hello", "Hallo"), ("World", "Welt")]


def test_nested_columns_may_be_named_as_they_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": 1, "translation": {"de": "Hallo", "fr": "Bonjour"}}\n')
    with pytest.raises(DataError, match=r"it has id, translation, translation\.de, translation\.fr"):
        pairs_of(path)
    assert pairs_of(path, source_column="translation.fr", target_column="translation.de") == [("Bonjour", "Hallo")]


def test_tsv_columns_by_the_names_of_the_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "id\tDeutsch\tEnglish\n1\tHund\tdog\n")
    assert pairs_of(path, source_column="English", target_column="Deutsch") == [("dog", "Hund")]


def test_zstandard_of_zeros_does_not_fill_memory(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "a.de.zst"
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packing:
        for _ in range(512):
            packing.write(bytes(2**20))
    assert path.stat().st_size < 2**17  # which were unpacked at once
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="no line end in 64 MB"):
            list(read_lines(path))
        assert tracemalloc.get_traced_memory()[1] < 350_000_000
    finally:
        tracemalloc.stop()


def test_zstandard(tmp_path: Path) -> None:
    import zstandard

    with pytest.raises(DataError, match=r"none\.zst: no such file"):
        list(read_lines(tmp_path / "none.zst"))

    packed = zstandard.ZstdCompressor().compress("dog\u2028\nHünd\n".encode() * 20_000)
    path = write(tmp_path / "a.de.zst", packed)
    assert list(read_lines(path)) == ["dog\u2028", "Hünd"] * 20_000
    assert list(read_lines(write(path, packed * 2))) == ["dog\u2028", "Hünd"] * 40_000  # two frames
    for end in (3, len(packed) // 2, len(packed) - 1, len(packed) + 5):
        with pytest.raises(DataError, match=r"a\.de\.zst: the compressed file ends too early"):
            list(read_lines(write(path, (packed * 2)[:end])))
    assert list(read_lines(write(path, b""))) == []
    with pytest.raises(DataError, match=r"a\.de\.zst: cannot be read: damaged, or not zstandard"):
        list(read_lines(write(path, b"plain text\n")))


@pytest.mark.parametrize(
    ("name", "module"), [("a.tmx", "defusedxml"), ("a.po", "translate.storage.po"), ("a.zst", "zstandard")]
)
def test_what_is_not_installed_is_named(
    tmp_path: Path, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    path = write(tmp_path / name, TMX)
    with pytest.raises(DataError, match=r"pip install 'seq2seq\[localisation\]'"):
        list(read_lines(path)) if name.endswith(".zst") else pairs_of(path)


def test_nor_is_what_unpacks_a_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(DataError, match=r"a\.tmx\.zst: unpacking it needs zstandard; pip install"):
        pairs_of(write(tmp_path / "a.tmx.zst", TMX))
