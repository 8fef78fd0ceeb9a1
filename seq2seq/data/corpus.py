"""Parallel corpora: pairs of text files, TSV, CSV, JSONL, tables, and what translators have (`localisation.py`).

Text is read by bytes here, since most readers of text, `str.splitlines` and `datasets` among them, also end a line at
U+2028, form feeds or carriage returns. One that does so in one file of a pair shifts all pairs after it, silently.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2seq.config import CorpusConfig
from seq2seq.data.localisation import reader
from seq2seq.data.tables import Table, open_table
from seq2seq.data.unpacking import LONGEST_LINE, open_unpacked, text_lines
from seq2seq.errors import DataError
from seq2seq.files import atomic_write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SentencePair(NamedTuple):
    """A sentence and its translation; neither holds a line feed."""

    source: str
    target: str


_SIDES = ("source", "target")


class _Columns(NamedTuple):
    """The keys that lead from a row to the text of each side: `("de",)` or `("translation", "de")`."""

    source: tuple[str, ...]
    target: tuple[str, ...]


class _Rows(NamedTuple):
    """The two sides of each pair as they were found, and where that was."""

    sides: Iterator[tuple[Any, Any]]
    names: tuple[str, str]  # the file of each side
    unit: str  # between the name and the number of a row: ":" or ": row "
    first: int = 1  # number of the first row

    def place(self, index: int, side: int) -> str:
        return f"{self.names[side]}{self.unit}{self.first + index}"


def read_lines(path: Path | str) -> Iterator[str]:
    r"""The lines of a UTF-8 text file, unpacked if its name ends in .gz or .zst.

    Only `\n` ends a line; U+2028, U+0085, form feeds and carriage returns are text. A byte order mark is left out.

    Raises:
        DataError: if the file cannot be read to its end as UTF-8; it names the line and the remedy.
    """
    path = Path(path)
    try:
        with open_unpacked(path) as file:
            yield from text_lines(file, path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; expected a text file") from None
    except EOFError:
        raise DataError(f"{path}: the compressed file ends too early; fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged, or not gzip ({error}); fetch it again, or take .gz off its name") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_uncompressed(path: Path) -> None:
    """Refuse to write a file whose name says that it is compressed.

    Raises:
        DataError: which says what to do.
    """
    if path.suffix.lower() in (".gz", ".zst"):
        raise DataError(f"{path}: compressed text is read but not written; take {path.suffix} off the name")


def write_lines(path: Path | str, lines: Iterable[str]) -> int:
    r"""Write lines as UTF-8 text, each ended by `\n`; the file appears when it is complete. Returns their number.

    Raises:
        DataError: if a line holds a line feed or what UTF-8 cannot say, or the name asks for compression.
    """
    path = Path(path)
    check_uncompressed(path)
    number = 0
    with atomic_write(path) as file:
        for line in lines:
            number += 1
            if "\n" in line:
                raise DataError(f"{path}:{number}: the line holds a line feed: {line[:80]!r}; replace it by a space")
            try:
                file.write(line + "\n")
            except UnicodeEncodeError as error:
                raise DataError(f"{path}:{number}: cannot be written as UTF-8 ({error.reason})") from None
    return number


def count_lines(path: Path) -> int:
    r"""How many lines a file has that is not compressed: as `read_lines` gives, the last with or without its \n."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    return lines + (last != b"\n")


def read_corpus(
    corpus: CorpusConfig,
    languages: tuple[str, str] = ("", ""),
    counts: Counter[str] | None = None,
    keep_empty: bool = False,
) -> Iterator[SentencePair]:
    """The sentence pairs of a corpus, in its order and in bounded memory, with its tag before each source.

    The columns of JSONL and of tables are those that the corpus names, else a `translation` column with a text for
    each language, else columns named as the languages, else `source` and `target`. In a TSV, tabs separate columns and
    nothing is quoted; its first line is text unless it has such names.

    Args:
        corpus: where the pairs are.
        languages: codes of the source and the target language, to find columns by.
        counts: what happens is added here: pairs `read`, pairs dropped for an `empty_source` (or both sides empty) or
            an `empty_target`, and `line_breaks_replaced`: sides with line feeds inside, which become spaces.
        keep_empty: give pairs with an empty side as well, instead of dropping them.

    Raises:
        DataError: if the corpus is missing, damaged or misaligned, with the file and the first line concerned.
    """
    counts = Counter() if counts is None else counts
    rows = _open_rows(corpus, languages)
    for index, sides in enumerate(rows.sides):
        counts["read"] += 1
        for side, value in enumerate(sides):
            if problem := _problem(value):
                raise DataError(f"{rows.place(index, side)}: the {_SIDES[side]} side {problem}")
        pair = SentencePair(*(_one_line(value, counts) for value in sides))
        empty = next((side for side in (0, 1) if not pair[side].strip()), None)
        if empty is None or keep_empty:
            yield tagged(pair, corpus.tag)
        elif corpus.drop_empty:
            counts[f"empty_{_SIDES[empty]}"] += 1
        else:
            raise DataError(
                f"{rows.place(index, empty)}: the {_SIDES[empty]} side is empty; mend it, or set `drop_empty` = true"
            )


def tagged(pair: SentencePair, tag: str) -> SentencePair:
    """A pair with a tag before its source; without one, as it is."""
    return SentencePair(f"{tag} {pair.source}", pair.target) if tag else pair


def _problem(value: Any) -> str:
    """What is wrong with the value of a column; an absent value counts as an empty text."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return f"is not text but {type(value).__name__}: {value!r:.60}; choose `source_column` and `target_column`"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # JSON can spell "\ud800"
        return "holds half a surrogate pair, which is no Unicode text; mend it"
    return ""


def _one_line(value: str | None, counts: Counter[str]) -> str:
    if value and "\n" in value:
        counts["line_breaks_replaced"] += 1
        value = value.replace("\r\n", " ").replace("\n", " ")
    return value or ""


def _open_rows(corpus: CorpusConfig, languages: tuple[str, str]) -> _Rows:
    if corpus.source:
        source, target = Path(corpus.source), Path(corpus.target)
        return _Rows(_read_text_pair(source, target), (str(source), str(target)), ":")
    path = Path(corpus.path)
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    if corpus.path and not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if corpus.dataset or path.is_dir() or path.suffix.lower() == ".parquet":
        table = open_table(corpus)
        return _Rows(_read_table(table, corpus, languages), (table.name, table.name), ": row ")
    if name.endswith(".tsv"):
        corpus = _by_header(path, corpus, languages)
        return _Rows(_read_tsv(path, corpus), (str(path), str(path)), ":", first=2 if _has_names(corpus) else 1)
    if name.endswith(".jsonl"):
        return _Rows(_read_json(path, corpus, languages), (str(path), str(path)), ":")
    if name.endswith(".csv"):
        return _Rows(_read_csv(path, corpus, languages), (str(path), str(path)), ": row ")
    if read := reader(path):
        return _Rows(read(path, languages), (str(path), str(path)), ": pair ")
    raise DataError(
        f"{path}: expected a .tsv, .csv, .jsonl, .parquet, .tmx, .po, .xliff or OPUS .zip file or the folder of a "
        "saved data set; two text files are given as `source` and `target`"
    )


def _read_text_pair(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    for number, (one, other) in enumerate(zip_longest(read_lines(source), read_lines(target)), 1):
        if one is None or other is None:
            raise DataError(_misalignment(source, target, number))
        yield one, other


def _misalignment(source: Path, target: Path, first_alone: int) -> str:
    """What to say of two files of unequal length; line `first_alone` is the first that only the longer one has."""
    if not (source.is_file() and target.is_file()):
        return f"{source} and {target}: one of them ends before line {first_alone}; they must belong line by line"
    import numpy as np

    lengths = [np.fromiter(map(len, read_lines(path)), np.int32) for path in (source, target)]
    longer = source if len(lengths[0]) > len(lengths[1]) else target
    suspect = _first_slipped(*lengths) + 1
    told = f"{source} has {len(lengths[0])} lines and {target} has {len(lengths[1])}"
    if suspect == first_alone:
        return f"{told}: {longer}:{suspect} has no partner; make the files belong line by line"
    return f"{told}: by their lengths, lines slip at about {longer}:{suspect}; make the files belong line by line"


def _first_slipped(source: NDArray[np.int32], target: NDArray[np.int32]) -> int:
    """Where lines were most likely put in or lost, given all lines' lengths in characters; counts from 0.

    Lines before it belong together as they stand; those after it do when the longer file is moved by the difference.
    Sides of a pair differ little from the usual ratio of lengths, lines that do not belong together differ more.
    """
    import numpy as np

    shorter, longer = sorted((np.log1p(side) for side in (source, target)), key=len)
    shift, number = len(longer) - len(shorter), len(shorter)
    usual = longer.mean() - (shorter.mean() if number else 0.0)
    gains = abs(longer[shift:] - shorter - usual) - abs(longer[:number] - shorter - usual)
    # totals[p]: how much better lines before p fit unmoved than moved.
    totals = np.concatenate([[0.0], np.cumsum(gains)])
    # Chance alone makes a few lines at the end fit better when moved; do not fall for less than two such lines.
    best = totals.argmax()
    return number if totals[best] - totals[-1] < 2 else int(best)


def _by_header(path: Path, corpus: CorpusConfig, languages: tuple[str, str]) -> CorpusConfig:
    """The corpus with the columns that a TSV's first line calls by its languages, or `source` and `target`, if it does.

    Other first lines are text; so are these where columns are asked for.
    """
    if corpus.source_column or corpus.target_column:
        return corpus
    header = next(read_lines(path), "").removesuffix("\r").split("\t")
    for source, target in (languages, _SIDES):
        if source and source != target and header.count(source) == header.count(target) == 1:
            return replace(corpus, source_column=source, target_column=target)
    return corpus


def _read_tsv(path: Path, corpus: CorpusConfig) -> Iterator[tuple[str, str]]:
    columns = []
    if _has_names(corpus):
        yield from _read_tsv_with_header(path, corpus)
        return
    for side, default in zip(_SIDES, ("0", "1"), strict=True):
        column = getattr(corpus, f"{side}_column") or default
        if not column.isascii():
            raise DataError(f"{path}: `{side}_column` = {column!r}: give the number in digits from 0 to 9")
        columns.append(int(column))
    source, target = columns
    if source == target:
        raise DataError(f"{path}: `source_column` and `target_column` are both {source}; choose two columns")
    width = 0
    for number, line in enumerate(read_lines(path), 1):
        cells = line.split("\t")
        if number == 1:
            width = len(cells)
            if max(columns) >= width:
                raise DataError(f"{path}:1: no column {max(columns)} among {width} (0 is the first); check the columns")
            if width > 2 and not (corpus.source_column and corpus.target_column):
                raise DataError(
                    f"{path}:1: {width} columns; say which with `source_column` and `target_column` (0 is the first)"
                )
        if len(cells) != width:
            raise DataError(f"{path}:{number}: {len(cells)} columns where line 1 has {width}; mend the line")
        yield cells[source], cells[target]


def _has_names(corpus: CorpusConfig) -> bool:
    """Whether columns are asked for by names, which a TSV has in its first line, and not by numbers."""
    return any(column and not column.isdecimal() for column in (corpus.source_column, corpus.target_column))


def _read_tsv_with_header(path: Path, corpus: CorpusConfig) -> Iterator[tuple[str, str]]:
    """The two columns that the first line calls by the names that are asked for."""
    header = next(read_lines(path), "").removesuffix("\r").split("\t")
    wanted = (corpus.source_column, corpus.target_column)
    for side, name in zip(_SIDES, wanted, strict=True):
        if header.count(name) != 1:
            raise DataError(f"{path}:1: no column {name!r} ({', '.join(header)}); check `{side}_column`")
    source, target = (str(header.index(name)) for name in wanted)
    numbered = replace(corpus, source_column=source, target_column=target)
    yield from islice(_read_tsv(path, numbered), 1, None)


def _read_csv(path: Path, corpus: CorpusConfig, languages: tuple[str, str]) -> Iterator[tuple[Any, Any]]:
    """The rows under a header; cells with commas, quotes or line feeds are quoted (RFC 4180)."""
    lines = (f"{line}\n" for line in read_lines(path))
    csv.field_size_limit(LONGEST_LINE // 4)  # characters, of four bytes each
    rows = csv.reader(lines, strict=True)
    number = 0
    try:
        header = next(rows, [])
        columns = _find_columns(dict.fromkeys(header), corpus, languages, str(path)) if header else None
        for name in (keys[-1] for keys in columns or () if header.count(keys[-1]) > 1):
            raise DataError(f"{path}: {header.count(name)} columns have the name {name!r}; rename all but one")
        for number, cells in enumerate(rows, 1):
            if columns is None:
                raise DataError(f"{path}: its first line is empty, where the names of columns are expected; remove it")
            if len(cells) != len(header):
                told = f"{len(cells)} cells under a header of {len(header)}"
                raise DataError(f"{path}: row {number}: {told}; mend the row")
            yield _select(dict(zip(header, cells, strict=True)), columns, f"{path}: row {number}")
    except csv.Error as error:
        raise DataError(f"{path}: row {number + 1}: not CSV ({error}); mend it") from None


def _read_json(path: Path, corpus: CorpusConfig, languages: tuple[str, str]) -> Iterator[tuple[Any, Any]]:
    rows = _json_rows(path)
    first = next(rows, None)
    if first is not None:
        columns = _find_columns(first, corpus, languages, str(path))
        for number, row in enumerate(chain([first], rows), 1):
            yield _select(row, columns, f"{path}:{number}")


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON ({error.msg} at column {error.colno}); mend it") from None
        except (ValueError, RecursionError) as error:  # a number or a nesting beyond all measure
            raise DataError(f"{path}:{number}: not JSON of a sentence pair ({error}); mend it") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}:{number}: expected an object, such as {{"source": ..., "target": ...}}, a line')
        yield row


def _read_table(table: Table, corpus: CorpusConfig, languages: tuple[str, str]) -> Iterator[tuple[Any, Any]]:
    first = table.first_row()
    if first is not None:
        columns = _find_columns(first, corpus, languages, table.name)
        for number, row in enumerate(table.rows(sorted({columns.source[0], columns.target[0]})), 1):
            yield _select(row, columns, f"{table.name}: row {number}")


def _find_columns(row: Mapping[str, Any], corpus: CorpusConfig, languages: tuple[str, str], name: str) -> _Columns:
    """Where the two sides are, judged by the first row."""
    nested = row.get("translation")
    known = {(key,) for key in row} | {("translation", key) for key in (nested if isinstance(nested, dict) else ())}
    wanted = (corpus.source_column or languages[0], corpus.target_column or languages[1])
    choices: list[list[tuple[tuple[str, ...], ...]]]
    if corpus.source_column or corpus.target_column:
        choices = [[((text,), ("translation", text), tuple(text.split(".", 1))) for text in wanted]]
    else:
        choices = [[(("translation", text), (text,)) for text in wanted], [((side,),) for side in _SIDES]]
    for both in choices:
        # An empty name is nobody's choice, though a table's column of numbers may have it.
        found = [next((keys for keys in places if keys in known and keys[-1]), None) for places in both]
        if found[0] and found[1] and found[0] != found[1]:
            return _Columns(found[0], found[1])
    columns = ", ".join(sorted(".".join(keys) for keys in known)) or "none"
    looked = " and ".join(repr(text) for text in wanted if text) or "'source' and 'target'"
    raise DataError(
        f"{name}: no two columns for {looked} (it has {columns}); name them with `source_column` and `target_column`"
    )


def _select(row: Mapping[str, Any], columns: _Columns, where: str) -> tuple[Any, Any]:
    values = []
    for keys in columns:
        value: Any = row
        for key in keys:
            if not isinstance(value, Mapping) or key not in value:
                raise DataError(f"{where}: no column {'.'.join(keys)!r}, which the first row has; mend it")
            value = value[key]
        values.append(value)
    return values[0], values[1]
