"""Pairs from what translators work with: translation memories (TMX), gettext catalogues (PO), XLIFF, and OPUS archives.

TMX is read piece by piece, so its size does not matter; PO and XLIFF are read whole, by translate-toolkit. XML with
declarations of entities, which a small file can blow up memory with, is refused.
"""

from __future__ import annotations

import gettext
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from seq2seq.data.unpacking import open_unpacked, text_lines
from seq2seq.errors import DataError
from seq2seq.languages import language_of, subtags

Pairs = Iterator[tuple[str | None, str | None]]

_INSTALL = "pip install 'seq2seq[localisation]'"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_LANGUAGES_OF = {"xliff": ("srcLang", "trgLang"), "file": ("source-language", "target-language")}  # XLIFF 2 and 1
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

    A language is found by its code: `en` is also `en-US` and `eng`, unless a unit has both.

    Raises:
        DataError: if it is no XML, declares entities, has no unit in one of the languages, or these are not known.
    """
    if not all(languages):
        raise DataError(f"{path}: set `data.source_language` and `data.target_language`, to choose among its languages")
    root, seen = None, set[str]()
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
                texts.setdefault(language, "".join(_plain(seg) for seg in variant if _name(seg) == "seg"))
        seen.update(texts)
        yield _text_in(languages[0], texts), _text_in(languages[1], texts)
        element.clear()
        assert root is not None
        if _name(root) == "tmx" and len(root):
            body = root[-1]
            if _name(body) == "body":
                body.clear()  # the units that are done, or all of them would stay
    for language in languages:
        if seen and not any(_is_code_of(language, code) for code in seen):
            found = ", ".join(sorted(filter(None, seen))) or "no language that it names"
            raise DataError(f"{path}: is in {found}, not in {language}; check `data.*_language`")


def read_po(path: Path, languages: tuple[str, str]) -> Pairs:
    """Messages and their translations; those that are not translated, or fuzzy, or obsolete, are left out.

    Of a message with plural forms, these are those for one and for a hundred things. If its header says that the
    translations are in the source language and not in the target's, they are the source.

    Raises:
        DataError: if it cannot be read, or is of another language, or translate-toolkit is not installed.
    """
    store = _parsed(_toolkit("po", path).pofile.parsefile, path)
    into = str(store.parseheader().get("Language") or "")
    pairs = _units(store, lambda unit: bool(unit.isfuzzy()), _plural_forms(store))
    is_swapped = _is_code_of(languages[0], into) and not _is_code_of(languages[1], into)
    is_code = re.fullmatch(r"[A-Za-z]{2,3}([-_@].*)?", into)
    if is_code and all(languages) and not is_swapped and not _is_code_of(languages[1], into):
        raise DataError(f"{path}: is in {into}, not in {languages[1]}; check `data.*_language`")
    return _swapped(pairs) if is_swapped else pairs


def read_xliff(path: Path, languages: tuple[str, str]) -> Pairs:
    """Sources and targets but for those whose state is that they need work; of version 2, segments.

    If it says that it is of the other direction, its targets are the source.

    Raises:
        DataError: if it cannot be read, declares entities, or is of other languages, or for want of translate-toolkit.
    """
    version, stated = "", set[tuple[str, ...]]()
    for event, element in _elements(path):
        if event == "start":  # later, nothing is left of it: the toolkit reads it, this is to see that it is safe
            version = version or element.get("version", "1")  # of the root
            names = _LANGUAGES_OF.get(_name(element), ())
            stated.add(tuple(element.get(name, "") for name in names))
        else:
            element.clear()
    is_swapped = _is_of_other_direction({each for each in stated if any(each)}, languages, path)
    if version.startswith("2"):
        pairs = _units(_parsed(_toolkit("xliff2", path).Xliff2File.parsefile, path), _is_initial)
    else:
        store = _parsed(_toolkit("factory", path).getobject, path)
        for element in list(store.document.iter()):
            if isinstance(element.tag, str) and _name(element) in _CODES:
                element[:], element.text = [], None
        pairs = _units(store, _needs_work)
    return _swapped(pairs) if is_swapped else pairs


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
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError) as error:
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
    return text_lines(io.BufferedReader(file), name)  # its own way to read a line up to a limit is slow


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


def _plural_forms(store: Any) -> tuple[int, int]:
    """Which translations of a message are the ones for one and for many things: by the header, or the first and last.

    In Arabic, the first one is for none; in Slovenian and Latvian, the last one is for some other number.
    """
    found = re.search(r"plural=([^;]+)", str(store.parseheader().get("Plural-Forms") or ""))
    try:
        form = gettext.c2py(found[1]) if found else None
        return (form(1), form(100)) if form else (0, -1)
    except (ValueError, SyntaxError, ZeroDivisionError):  # no formula
        return 0, -1


def _units(store: Any, is_doubtful: Callable[[Any], bool], forms_of: tuple[int, int] = (0, -1)) -> Pairs:
    for unit in store.units:
        if unit.isheader() or unit.isobsolete() or is_doubtful(unit):
            continue
        forms = [(str(unit.source or ""), str(unit.target or ""))]
        if unit.hasplural() and len(unit.source.strings) > 1:
            texts = unit.target.strings
            one, many = (i if 0 <= i < len(texts) else -1 for i in forms_of)
            forms = [(str(unit.source.strings[0]), str(texts[one])), (str(unit.source.strings[1]), str(texts[many]))]
        yield from (form for form in forms if all(form))


def _swapped(pairs: Pairs) -> Pairs:
    return ((target, source) for source, target in pairs)


def _is_of_other_direction(stated: set[tuple[str, ...]], languages: tuple[str, str], path: Path) -> bool:
    """Whether a file is from the target to the source language, by the languages that its parts say they are of.

    Raises:
        DataError: if it is neither so nor the other way round, or parts of it are of both kinds.
    """
    if not all(languages):
        return False

    def fits(pair: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
        return all(not code or _is_code_of(language, code) for language, code in zip(wanted, pair, strict=True))

    if all(fits(pair, languages) for pair in stated):
        return False
    if all(fits(pair, languages[::-1]) for pair in stated):
        return True
    found = ", ".join(sorted("-".join(code or "?" for code in pair) for pair in stated))
    raise DataError(f"{path}: is of {found}, not of {'-'.join(languages)}; check `data.*_language`, or split the file")


def _is_initial(unit: Any) -> bool:
    """Whether a segment of XLIFF 2 says that it is not translated: many programs copy the source into it first."""
    return bool(unit.xmlelement.get("state") == "initial")


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
    except DataError:  # which is a ValueError: of what unpacks it
        raise
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
    found = [code for code in texts if _is_code_of(language, code)]
    found.sort(key=lambda code: (not texts[code].strip(), _code(code) != _code(language)))
    return texts[found[0]] if found else None


def _is_code_of(language: str, code: str) -> bool:
    wanted, found = f"{_code(language)}-", f"{_code(code)}-"
    return found.startswith(wanted) or wanted.startswith(found)


@lru_cache(maxsize=1024)
def _code(language: str) -> str:
    """A code such as `en-us`, its language by two letters if it has such."""
    return "-".join([language_of(language), *subtags(language)[1:]])
