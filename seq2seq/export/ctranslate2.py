"""A run as a folder for CTranslate2: the model, its tokenizer, and a short script that translates with it."""

from __future__ import annotations

import logging
from pathlib import Path

from seq2seq.checkpoint import LoadedRun
from seq2seq.data.marian_tokenizer import MarianTokenizer
from seq2seq.decoding.ctranslate2 import convert, penalty_of
from seq2seq.files import atomic_write

_LOG = logging.getLogger(__name__)

# What differs between tokenizers: `cut` gives the pieces of a line, `join` the text of pieces.
_OWN_PIECES = """\
def cut(line):
    return source.encode(line, out_type=str)


def join(pieces):
    return target.decode(pieces).replace("\\n", " ")
"""
_MARIAN_PIECES = """\
def cut(line):
    code = re.match(r"(>>\\S*?<<)?", line)[0]  # of a language, such as >>fra<<
    return [code] * bool(code) + source.encode(line[len(code):], out_type=str)


def join(pieces):
    return target.decode(pieces).replace("▁", " ").strip().replace("\\n", " ")
"""
_SCRIPT = '''"""Translate lines: pip install ctranslate2 sentencepiece; python translate.py < input > output"""
import re
import sys
from pathlib import Path

import ctranslate2
import sentencepiece

folder = Path(__file__).resolve().parent
source = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "{source}"))
target = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "{target}"))
translator = ctranslate2.Translator(str(folder))


{pieces}


*lines, rest = sys.stdin.buffer.read().decode("utf-8-sig", "replace").split("\\n")
lines = [line.removesuffix("\\r") for line in (lines + [rest] if rest else lines)]
results = translator.translate_batch(
    [[*cut({tag!r} + line), "</s>"] for line in lines], beam_size={beam_size}, patience={patience},
    length_penalty={length_penalty}, max_batch_size=64, max_input_length={max_length},
    max_decoding_length={max_length} - 1, min_decoding_length=0, no_repeat_ngram_size={no_repeat_ngram},
)
for line, result in zip(lines, results):
    text = join(result.hypotheses[0]) if line.strip() else ""
    sys.stdout.buffer.write(text.encode("utf-8") + b"\\n")
'''


def write(loaded: LoadedRun, folder: Path, quantization: str | None = None) -> None:
    """Write a run for CTranslate2 into a folder.

    Args:
        loaded: the run.
        folder: to write to; must exist.
        quantization: of the weights, as CTranslate2 names it; None keeps float32.

    Raises:
        DecodingError: if CTranslate2 is not installed.
    """
    convert(loaded.model, loaded.tokenizer, folder, quantization)
    loaded.tokenizer.save(folder / "tokenizer")
    source, target = loaded.tokenizer.model_files
    pieces = (_MARIAN_PIECES if isinstance(loaded.tokenizer, MarianTokenizer) else _OWN_PIECES).rstrip()
    decoding = loaded.config.decoding
    if decoding.length_penalty_form != "power":
        _LOG.warning("`decoding.length_penalty_form` = 'gnmt': CTranslate2 has none; its translate.py takes 'power'")
    settings = {
        "beam_size": decoding.beam_size,
        "patience": max(decoding.patience, 1 / decoding.beam_size),  # it must find one, and this many are the least
        "length_penalty": penalty_of(decoding),
        "no_repeat_ngram": decoding.no_repeat_ngram,
        "max_length": loaded.config.model.max_length,
        "tag": f"{decoding.tag} " if decoding.tag else "",
    }
    with atomic_write(folder / "translate.py") as file:
        file.write(_SCRIPT.format(source=source, target=target, pieces=pieces, **settings))
