"""A run as a folder for CTranslate2: the model, its tokenizer, and a short script that translates with it."""

from __future__ import annotations

from pathlib import Path

from seq2seq.checkpoint import LoadedRun
from seq2seq.decoding.ctranslate2 import convert
from seq2seq.files import atomic_write

_SCRIPT = '''"""Translate lines: pip install ctranslate2 sentencepiece; python translate.py < input > output"""
import sys
from pathlib import Path

import ctranslate2
import sentencepiece

folder = Path(__file__).resolve().parent
source = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "{source}.model"))
target = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "{target}.model"))
translator = ctranslate2.Translator(str(folder))
*lines, rest = sys.stdin.buffer.read().decode("utf-8").split("\\n")
lines += [rest] if rest else []
pieces = [[*source.encode(line, out_type=str), "</s>"] if line.strip() else ["</s>"] for line in lines]
results = translator.translate_batch(
    pieces, beam_size={beam_size}, patience={patience}, length_penalty={length_penalty}, max_batch_size=64,
    max_input_length={max_length}, max_decoding_length={max_length} - 1,
)
for line, result in zip(lines, results):
    text = target.decode(result.hypotheses[0]) if line.strip() else ""
    sys.stdout.buffer.write(text.replace("\\n", " ").encode("utf-8") + b"\\n")
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
    source, target = ("joint", "joint") if loaded.tokenizer.joint else ("source", "target")
    decoding = loaded.config.decoding
    settings = {
        "beam_size": decoding.beam_size,
        "patience": decoding.patience,
        "length_penalty": decoding.length_penalty,
        "max_length": loaded.config.model.max_length,
    }
    with atomic_write(folder / "translate.py") as file:
        file.write(_SCRIPT.format(source=source, target=target, **settings))
