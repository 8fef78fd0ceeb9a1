from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import Config, DataConfig, DecodingConfig, ModelConfig, TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.errors import ExportError
from seq2seq.export.huggingface import HuggingFaceModel, write
from seq2seq.model.transformer import Transformer

WORDS = [f"{first}{second}{third}" for first in "abcdefg" for second in "hijk" for third in "lmnop"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    symbols = ("<2de>", ">>xx<<")
    config = TokenizerConfig(vocab_size=80, byte_fallback=False, algorithm="bpe", user_symbols=symbols)
    return train_tokenizer(config, WORDS, WORDS, tmp_path_factory.mktemp("tokenizer") / "t")


def run(tokenizer: Tokenizer, decoding: DecodingConfig | None = None, **model: Any) -> LoadedRun:
    sizes = {
        "encoder_layers": 1, "decoder_layers": 1, "d_model": 8, "d_ff": 8, "num_heads": 2, "norm": "post",
        "max_length": 50, "source_vocab_size": 80, "target_vocab_size": 80,
    }  # fmt: skip
    config = ModelConfig(**{**sizes, **model})
    whole = Config(
        model=config, decoding=decoding or DecodingConfig(),
        data=DataConfig(max_length=50, source_language="de", target_language="en"),
    )  # fmt: skip
    return LoadedRun(Transformer(config), whole, tokenizer, Path("nowhere"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "pre"}, r"^`model.norm` = 'pre': .*; export to ctranslate2 or onnx$"),
        ({"activation": "swiglu"}, r"^`model.activation` = 'swiglu': .*; export to ctranslate2 or onnx$"),
    ],
)
def test_what_marian_cannot_be_is_refused(
    tokenizer: Tokenizer, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ExportError, match=message):
        write(run(tokenizer, **settings), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files(tokenizer: Tokenizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    write(run(tokenizer, DecodingConfig(beam_size=3, length_penalty=0.5, no_repeat_ngram=4)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "source.spm", "target.spm",
        "tokenizer_config.json", "vocab.json",
    }  # fmt: skip
    output, errors = capfd.readouterr()
    assert not output, "transformers is kept quiet"
    assert all(line.startswith("seq2seq: ") for line in errors.splitlines()), "but for what we say ourselves"
    search = json.loads((tmp_path / "generation_config.json").read_text(encoding="utf-8"))
    expected = {
        "num_beams": 3, "length_penalty": 0.5, "early_stopping": True, "no_repeat_ngram_size": 4, "max_length": 50,
        "suppress_tokens": [0, 1, 2], "decoder_start_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
    }  # fmt: skip
    assert expected.items() <= search.items()
    assert search.get("forced_eos_token_id") is None
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["MarianMTModel"]
    assert config["forced_eos_token_id"] is None
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (settings["source_lang"], settings["target_lang"], settings["model_max_length"]) == ("de", "en", 50)
    assert str(tmp_path) not in json.dumps(settings)
    assert (tmp_path / "source.spm").read_bytes() == tokenizer.files["joint.model"]


def test_source_text_in_any_case(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = TokenizerConfig(vocab_size=80, byte_fallback=False, algorithm="bpe", fold_source_case=True)
    capitals = [word.upper() for word in WORDS]
    folding = train_tokenizer(config, capitals, WORDS, tmp_path / "t")
    write(run(folding), tmp_path / "model")
    theirs = transformers.MarianTokenizer.from_pretrained(tmp_path / "model")
    texts = ["ahl AHL Bim", "GKP"]
    lower = folding.encode_source([text.lower() for text in texts])
    assert theirs(texts)["input_ids"] == folding.encode_source(texts) == lower
    assert theirs(text_target=texts)["input_ids"] == folding.encode_target(texts)


def test_sampling(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    write(run(tokenizer, DecodingConfig(sample=True, top_k=7, temperature=0.5)), tmp_path)
    search = json.loads((tmp_path / "generation_config.json").read_text(encoding="utf-8"))
    assert {"do_sample": True, "top_k": 7, "temperature": 0.5}.items() <= search.items()
    assert search.get("num_beams") is None


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"length_penalty_form": "gnmt", "length_penalty": 0.6}, "length_penalty_form"),
        ({"patience": 2.0}, "patience"),
        ({"min_length_ratio": 0.5}, "min_length_ratio"),
    ],
)
def test_what_generate_cannot_do_is_said(
    tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], warning: str
) -> None:
    pytest.importorskip("transformers")
    loaded = run(tokenizer)
    with caplog.at_level(logging.WARNING, logger="seq2seq"):
        write(loaded, tmp_path)
    before = [record.getMessage() for record in caplog.records]
    assert len(before) == 1 and ">>xx<<" in before[0]
    config = replace(loaded.config, decoding=replace(loaded.config.decoding, **settings))
    with caplog.at_level(logging.WARNING, logger="seq2seq"):
        write(loaded._replace(config=config), tmp_path)
    assert f"`decoding.{warning}` = " in caplog.text
    search = json.loads((tmp_path / "generation_config.json").read_text(encoding="utf-8"))
    assert search["length_penalty"] == 1.0


def test_without_transformers(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for attempt in (lambda: write(run(tokenizer), tmp_path), lambda: HuggingFaceModel.load(tmp_path)):
        with pytest.raises(ExportError, match=r"needs transformers: pip install 'seq2seq\[huggingface\]'$"):
            attempt()


def test_a_folder_that_transformers_cannot_load(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ExportError, match="transformers cannot load it") as error:
        HuggingFaceModel.load(tmp_path)
    assert "\n" not in str(error.value)
