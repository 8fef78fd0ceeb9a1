"""The scripts of exports, which need no seq2seq, do what `Translator` does with text: its tag, and its case."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import Config, DataConfig, DecodingConfig, TokenizerConfig
from seq2seq.data.tokenizer import train_tokenizer
from seq2seq.decoding.translator import Translator
from seq2seq.export.exporter import Format, export
from tests.random_models import random_model

WORDS = [f"{first}{second}{third}" for first in "abcdefg" for second in "hijk" for third in "lmnop"]
LINES = ["ahl bim", "gkp", "", "chn dko ejp fhl", "bim " * 9, "a", "   "]


@pytest.mark.parametrize(("form", "package"), [("ctranslate2", "ctranslate2"), ("onnx", "onnxruntime")])
def test_unknown_characters_are_never_said(form: Format, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    config = TokenizerConfig(vocab_size=80, byte_fallback=False, algorithm="bpe")
    tokenizer = train_tokenizer(config, WORDS, WORDS, tmp_path / "tokenizer")
    model, decoding = random_model(), DecodingConfig(beam_size=1)
    said = [each.hypotheses[0].tokens for each in Translator(model, tokenizer, decoding).translate(LINES)[:2]]
    with torch.no_grad():  # likelier than what it says now
        model.output.weight[list(tokenizer.never_output)] = 1.5 * model.output.weight[said[0][0]]
    run = Config(model=model.config, tokenizer=config, decoding=decoding, data=DataConfig(max_length=100))
    export(LoadedRun(model, run, tokenizer, tmp_path), form, tmp_path / "out", verified=False)
    command = [sys.executable, tmp_path / "out" / "translate.py"]
    done = subprocess.run(command, input="\n".join(LINES).encode(), capture_output=True, check=True, timeout=60)
    ours = [each.text for each in Translator(model, tokenizer, decoding).translate(LINES)]
    assert done.stdout.decode("utf-8").removesuffix("\n").split("\n") == ours
    assert "⁇" not in done.stdout.decode("utf-8")


@pytest.mark.parametrize("folding", [True, False])
@pytest.mark.parametrize(("form", "package"), [("ctranslate2", "ctranslate2"), ("onnx", "onnxruntime")])
def test_tag_and_case(form: Format, package: str, folding: bool, tmp_path: Path) -> None:
    """Without folding case, text stays as it is in all else, too: spaces around it are pieces."""
    pytest.importorskip(package)
    config = TokenizerConfig(
        vocab_size=80, byte_fallback=False, algorithm="bpe", fold_source_case=folding, user_symbols=("<2DE>",),
        normalization="nfkc" if folding else "identity",
    )  # fmt: skip
    tokenizer = train_tokenizer(config, WORDS, WORDS, tmp_path / "tokenizer")
    model, decoding = random_model(), DecodingConfig(tag="<2DE>", beam_size=1)
    run = Config(model=model.config, tokenizer=config, decoding=decoding, data=DataConfig(max_length=100))
    export(LoadedRun(model, run, tokenizer, tmp_path), form, tmp_path / "out", sentences=LINES)

    def by_script(lines: list[str]) -> list[str]:
        command = [sys.executable, tmp_path / "out" / "translate.py"]
        done = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, check=True, timeout=60)
        return done.stdout.decode("utf-8").removesuffix("\n").split("\n")

    ours, untagged = (
        [each.text for each in Translator(model, tokenizer, settings).translate(LINES)]
        for settings in (decoding, replace(decoding, tag=""))
    )
    assert by_script(LINES) == ours != untagged
    assert (by_script([line.upper() for line in LINES]) == ours) is folding
