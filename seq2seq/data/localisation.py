"""Pairs from what translators work with: translation memories (TMX), gettext catalogues (PO), XLIFF, and OPUS archives.

TMX is read piece by piece, so its size does not matter; PO and XLIFF are read whole, by translate-toolkit. XML with
declarations of entities, which a small file can blow up memory with, is refused.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from seq2seq.data.unpacking import decode_line, open_unpacked
from seq2seq.errors import DataError

Pairs = Iterator[tuple[str | None, str | None]]

_INSTALL = "pip install 'seq2seq[localisation]'"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = {"bpt", "ept", "it", "ph", "ut"}  # elements of TMX whose content is some other program's formatting


def reader(path: Path) -> Callable[[Path, tuple[str, str]], Pairs] | None:
    """What reads a file of this name; None if it is of no such format."""
    if path.name.lower().endswith((".tmx.gz", ".tmx.zst")):
        return read_tmx
    return {
        ".tmx": read_tmx, ".po": read_po, ".xlf": read_xliff, ".xliff": read_xliff, ".zip": read_opus_zip,
    }.get(path.suffix.lower())  # fmt: skip


def read_tmx(path: Path, languages: tuple[str, str]) -> Pairs:
    """The texts of each translation unit in the two languages; None where it has none.

    A language is found by its code: `en` is also `en-US`, unless a unit has both.

    Raises:
        DataError: if it is no XML, declares entities, or the languages are not known.
    """
    if not all(languages):
        raise DataError(f"{path}: set `data.source_language` and `data.target_language`, to choose among its languages")
    root = None
    for event, element in _elements(path):
        if event == "start":
            root = element if root is None else root
            continue
        if _name(element) != "tu":
            continue
        texts: dict[str, str] = {}
        for variant in element:
            if _name(variant) == "tuv":
                language = variant.get(_LANGUAGE) or variant.get("lang") or ""
                texts.setdefault(language.lower(), "".join(_plain(seg) for seg in variant if _name(seg) == "seg"))
        yield _text_in(languages[0], texts), _text_in(languages[1], texts)
        element.clear()
        assert root is not None
        if _name(root) == "tmx" and len(root):
            body = root[-1]
            if _name(body) == "body":
                body.clear()  # the units that are done, or all of them would stay


def read_po(path: Path, languages: tuple[str, str]) -> Pairs:
    """Messages and their translations; those that are not translated, or fuzzy, or obsolete, are left out.

    Raises:
        DataError: if it cannot be read, or translate-toolkit is not installed.
    """
    storage = _toolkit("po", path)
    return _units(_parsed(storage.pofile.parsefile, path), lambda unit: bool(unit.isfuzzy()))


def read_xliff(path: Path, languages: tuple[str, str]) -> Pairs:
    """Sources and targets, of version 1 but for those whose state is that they need work; of version 2, segments.

    Raises:
        DataError: if it cannot be read, declares entities, or translate-toolkit is not installed.
    """
    version = ""
    for _, element in _elements(path):
        version = version or element.get("version", "1")  # of the root
        element.clear()  # only to see that it is safe
    if version.startswith("2"):
        return _units(_parsed(_toolkit("xliff2", path).Xliff2File.parsefile, path), lambda unit: False)
    return _units(_parsed(_toolkit("factory", path).getobject, path), _needs_work)


def read_opus_zip(path: Path, languages: tuple[str, str]) -> Pairs:
    """The lines of an OPUS archive's two files in Moses format, `NAME.en` and `NAME.de`.

    Raises:
        DataError: if the archive is damaged, lacks a file, or the files have not the same number of lines.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [_member(archive, path, language) for language in languages]
            with archive.open(names[0]) as source, archive.open(names[1]) as target:
                sides = (_lines(source, f"{path}/{names[0]}"), _lines(target, f"{path}/{names[1]}"))
                for number, pair in enumerate(zip_longest(*sides), 1):
                    if None in pair:
                        raise DataError(f"{path}: {' or '.join(names)} ends before line {number}; fetch it again")
                    yield pair
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged, or not a zip archive ({error}); fetch it again") from None
    except (NotImplementedError, RuntimeError) as error:  # a compression that Python has not; encrypted
        raise DataError(f"{path}: cannot be unpacked ({error}); pack its files anew") from None


def _member(archive: zipfile.ZipFile, path: Path, language: str) -> str:
    found = [name for name in archive.namelist() if language and name.endswith(f".{language}")]
    if len(found) != 1:
        names = ", ".join(archive.namelist()[:5])
        raise DataError(f"{path}: {len(found)} files end in .{language} (it has {names}); check `data.*_language`")
    return found[0]


def _lines(file: Any, name: str) -> Iterator[str]:
    for number, raw in enumerate(io.BufferedReader(file), 1):
        yield decode_line(raw.removesuffix(b"\n"), name, number)


def _toolkit(module: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(f"translate.storage.{module}")
    except ImportError:
        raise DataError(f"{path}: reading it needs translate-toolkit; {_INSTALL}") from None


def _parsed(parse: Callable[[str], Any], path: Path) -> Any:
    try:
        return parse(str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # the toolkit's parsers have no common root
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read ({told}); check that it is whole") from None


def _units(store: Any, is_doubtful: Callable[[Any], bool]) -> Pairs:
    for unit in store.units:
        source, target = str(unit.source or ""), str(unit.target or "")
        if source and target and not (unit.isheader() or unit.isobsolete() or is_doubtful(unit)):
            yield source, target


def _needs_work(unit: Any) -> bool:
    """Whether a unit of XLIFF says so; that it is not "approved" yet is what most of them say."""
    target = unit.get_target_dom() if hasattr(unit, "get_target_dom") else None
    state = "" if target is None else target.get("state", "")
    return state.startswith("needs-") or state == "new"


def _elements(path: Path) -> Iterator[tuple[str, Any]]:
    """The elements of an XML file as they begin and end, without declarations of entities."""
    try:
        from defusedxml import ElementTree
        from defusedxml.common import DefusedXmlException
    except ImportError:
        raise DataError(f"{path}: reading it needs defusedxml; {_INSTALL}") from None
    try:
        with open_unpacked(path) as file:
            yield from ElementTree.iterparse(file, events=("start", "end"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (OSError, EOFError, zlib.error) as error:  # of unpacking it
        raise DataError(f"{path}: damaged, or cannot be read ({error}); fetch it again") from None
    except DefusedXmlException:
        raise DataError(f"{path}: declares entities, which can be an attack; remove its <!ENTITY ...>") from None
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not XML ({error}); fetch or export it again") from None
    except (ValueError, LookupError) as error:  # the parser knows few encodings
        raise DataError(f"{path}: its encoding cannot be read ({error}); convert it to UTF-8") from None


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _plain(element: Any) -> str:
    """The text of a segment, without formatting codes."""
    parts = [element.text or ""]
    for child in element:
        if _name(child) not in _CODES:
            parts.append(_plain(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _text_in(language: str, texts: dict[str, str]) -> str | None:
    """The text in a language: `en` is also `en-US`, and the other way round, but `pt-BR` is not `pt-PT`."""
    wanted = language.lower().replace("_", "-")
    codes = {code.replace("_", "-"): code for code in texts}
    found = [code for code in codes if f"{code}-".startswith(f"{wanted}-") or f"{wanted}-".startswith(f"{code}-")]
    found.sort(key=lambda code: code != wanted)
    return texts[codes[found[0]]] if found else None
