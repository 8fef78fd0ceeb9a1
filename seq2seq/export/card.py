"""The model card of a packaged run, in the form that the Hugging Face Hub shows (YAML, then Markdown)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.checkpoint import CheckpointInfo
from seq2seq.config import Config
from seq2seq.decoding.ctranslate2 import Ctranslate2Engine
from seq2seq.errors import DecodingError
from seq2seq.files import atomic_write

_MEASURES = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER", "bleu_lowercased_tokenised": "BLEU, lower-cased, tokenised"}


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that a card tells."""

    name: str
    licence: str
    formats: Sequence[str]
    config: Config
    parameters: int
    checkpoint: CheckpointInfo
    lock: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Any]]


def write_card(path: Path, card: Card) -> None:
    """Write a card as a Markdown file."""
    with atomic_write(path) as file:
        for block in _blocks(card):
            file.write(block.strip("\n") + "\n\n")


def _blocks(card: Card) -> Iterator[str]:
    yield _front_matter(card)
    data = card.config.data
    languages = f"{data.source_language or '?'} to {data.target_language or '?'}"
    made = "Trained" if card.checkpoint.step else "Imported"
    base = f", from {card.lock['base']}" if "base" in card.lock else ""
    yield f"# {card.name}\n\nTranslates {languages}. {made} with seq2seq {card.lock['seq2seq']}{base}."
    yield f"Licence: {card.licence}."
    yield f"## Model\n\n{_model(card)}"
    yield f"## Scores\n\n{_scores(card)}"
    yield f"## Data\n\n{_data(card)}"
    yield f"## Use\n\n{_use(card)}"


def _front_matter(card: Card) -> str:
    data = card.config.data
    languages = [language for language in data.languages if language]
    datasets = [corpus["dataset"] for corpus in card.lock["corpora"] if "dataset" in corpus]
    lines = ["---"]
    # JSON strings are YAML strings, whatever is in them.
    lines += ["language:", *(f"- {json.dumps(language)}" for language in languages)] if languages else []
    lines += [f"license: {json.dumps(card.licence)}", "library_name: seq2seq", "pipeline_tag: translation"]
    lines += ["tags:", "- translation", "- seq2seq"]
    lines += ["datasets:", *(f"- {json.dumps(name)}" for name in dict.fromkeys(datasets))] if datasets else []
    return "\n".join([*lines, "---"])


def _model(card: Card) -> str:
    model, step = card.config.model, card.checkpoint.step
    pieces = f"{model.source_vocab_size:,} source and {model.target_vocab_size:,} target"
    if card.config.tokenizer.joint:
        pieces = f"{model.target_vocab_size:,}"
    trained = f" {step:,} steps, {card.checkpoint.target_tokens_seen:,} target tokens seen." if step else ""
    return (
        f"A Transformer (Vaswani et al. 2017) of {card.parameters:,} parameters: {model.encoder_layers} encoder and "
        f"{model.decoder_layers} decoder layers, d_model {model.d_model}, d_ff {model.d_ff}, {model.num_heads} heads, "
        f"{model.norm}-norm, {model.activation}; {pieces} pieces.{trained}"
    )


def _scores(card: Card) -> str:
    if card.scores:
        rows, signatures = ["| measure | score | 95% interval |", "|---|---|---|"], []
        for name, score in card.scores.items():
            measure, low, high = _MEASURES.get(name, name), score.get("low"), score.get("high")
            interval = f"{low:.2f} to {high:.2f}" if low is not None and high is not None else ""
            rows.append(f"| {measure} | {score['score']:.2f} | {interval} |")
            signatures.append(f"* {measure}: `{score['signature']}`")
        tables = "\n".join(rows), "sacreBLEU signatures:", "\n".join(signatures)
        return "\n\n".join(["On the held-out test set, of detokenised text:", *tables])
    validation = card.checkpoint.validation
    if validation:
        found = ", ".join(f"{name} {value:.2f}" for name, value in validation.items())
        beam_size = card.config.training.validation_beam_size
        search = "greedy search" if beam_size == 1 else f"a beam of {beam_size}"
        return f"On validation text, which chose the checkpoint, by {search}: {found}. No test set was scored."
    return "None: this model was not scored."


def _data(card: Card) -> str:
    if not card.lock["corpora"]:
        return "Not known: the run names no corpora."
    rows = ["| for | corpus | pairs |", "|---|---|---|"]
    for corpus in card.lock["corpora"]:
        pairs = corpus.get("pairs")
        rows.append(f"| {corpus['role']} | {_corpus(corpus)} | {f'{pairs:,}' if pairs is not None else ''} |")
    return "\n".join(rows) + "\n\n`data.lock.json` has the whole hashes."


def _corpus(corpus: Mapping[str, Any]) -> str:
    if "dataset" in corpus:
        detail = " ".join(corpus[name] for name in ("subset", "split", "revision") if name in corpus)
        return f"{corpus['dataset']} ({detail})"
    described = []
    for file in corpus["files"]:
        found = f"SHA-256 {file['sha256'][:12]}" if file["sha256"] else "no longer there"
        described.append(f"`{file['name']}` ({found})")
    return ", ".join(described)


def _use(card: Card) -> str:
    lines = ["seq2seq translate . < input > output"]
    with suppress(DecodingError):  # of settings that CTranslate2 does not know
        Ctranslate2Engine.check(card.config.decoding)
        lines.append("seq2seq translate . --engine ctranslate2 < input > output")
    parts = ["\n".join(["With seq2seq installed, in this folder:", "", "```sh", *lines, "```"])]
    for form in card.formats:
        match form:
            case "ctranslate2":
                parts.append(_alone("CTranslate2", "ctranslate2 sentencepiece", "ctranslate2"))
            case "onnx":
                parts.append(_alone("ONNX Runtime", "onnxruntime sentencepiece", "onnx"))
            case "huggingface":
                parts.append(f"Hugging Face:\n\n```python\n{_HUGGING_FACE}\n```")
    return "\n\n".join(parts)


def _alone(engine: str, packages: str, folder: str) -> str:
    command = f"pip install {packages}\npython {folder}/translate.py < input > output"
    return f"With {engine} alone:\n\n```sh\n{command}\n```"


_HUGGING_FACE = """\
# pip install transformers torch sentencepiece
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("huggingface")
model = AutoModelForSeq2SeqLM.from_pretrained("huggingface")
batch = tokenizer(["..."], return_tensors="pt", padding=True)
print(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))"""
