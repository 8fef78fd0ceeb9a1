"""A run as a folder for CTranslate2: the model, its tokenizer, and a short script that translates with it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import DecodingConfig
from seq2seq.data.marian_tokenizer import MarianTokenizer
from seq2seq.decoding.ctranslate2 import convert, penalty_of
from seq2seq.decoding.search import in_power_form
from seq2seq.files import atomic_write

_LOG = logging.getLogger(__name__)
_BATCH_SIZE = 64  # sentences of similar lengths, which have one greatest length

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
NEVER = {never!r}  # what is no text, such as unknown characters


{pieces}


*lines, rest = sys.stdin.buffer.read().decode("utf-8-sig", "replace").split("\\n")
lines = [line.removesuffix("\\r") for line in (lines + [rest] if rest else lines)]
tokens = [[*cut({tag!r} + line)[: {max_length} - 1], "</s>"] for line in lines]  # a longer text is cut off
texts = [""] * len(lines)


def greatest(i):
    return min(int({ratio} * len(tokens[i]) + 1e-6) + {offset}, {max_length})  # with the end token


def translate(batch, forbidden=None):
    results = translator.translate_batch(
        [tokens[i] for i in batch], beam_size={beam_size}, patience={patience}, length_penalty={length_penalty},
        no_repeat_ngram_size={no_repeat_ngram}, max_input_length=0, min_decoding_length=0,
        max_decoding_length=max(greatest(batch[-1]) - 1, 1), suppress_sequences=forbidden,
    )
    for i, result in zip(batch, results):
        found = result.hypotheses[0]
        if len(batch) > 1 and len(found) + 1 > greatest(i):
            translate([i])
        elif not forbidden and any([piece] in NEVER for piece in found):
            translate([i], NEVER)
        else:
            texts[i] = join(found)


nothing = len(cut({tag!r}.strip())) + 1
some = [i for i, line in enumerate(lines) if line.strip() and len(tokens[i]) > nothing]
order = sorted(some, key=lambda i: len(tokens[i]))
for first in range(0, len(order), {batch_size}):
    translate(order[first : first + {batch_size}])
sys.stdout.buffer.write("".join(f"{{text}}\\n" for text in texts).encode("utf-8"))
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
    decoding = in_power_form(loaded.config.decoding)
    if decoding.length_penalty and decoding != loaded.config.decoding:
        _LOG.warning("`decoding.length_penalty_form` = 'gnmt': CTranslate2 has none; wrote 'power' with 1.0")
    settings = {
        "beam_size": decoding.beam_size,
        "patience": max(decoding.patience, 1 / decoding.beam_size),  # it must find one, and this many are the least
        "length_penalty": penalty_of(decoding),
        "no_repeat_ngram": decoding.no_repeat_ngram,
        "ratio": min(decoding.max_length_ratio, loaded.config.model.max_length),
        "offset": decoding.max_length_offset,
        "max_length": loaded.config.model.max_length,
        "batch_size": _BATCH_SIZE,
        "tag": f"{decoding.tag} " if decoding.tag else "",
        # To forbid them at once would change the probabilities of all others.
        "never": [[piece] for piece in loaded.tokenizer.target_tokens(loaded.tokenizer.never_output)],
    }
    with atomic_write(folder / "translate.py") as file:
        file.write(_SCRIPT.format(source=source, target=target, pieces=pieces, **settings))


def without_unknown(decoding: DecodingConfig) -> DecodingConfig:
    """The settings of a search without those that our engine refuses, since CTranslate2 does not know them."""
    return replace(
        in_power_form(decoding), min_length_ratio=0.0, epsilon=0.0, patience=max(decoding.patience, 1.0)
    )
