"""The tokenizer of a training, and what it makes of the text."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from seq2seq.config import Config, DataConfig
from seq2seq.data.corpus import read_corpus
from seq2seq.data.tags import without_tag
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer, with_tags
from seq2seq.doctor import text as texts
from seq2seq.doctor.findings import Finding, error, share, warning
from seq2seq.doctor.text import Text
from seq2seq.errors import TokenizerError


def tokenizer_of(config: Config, train: Text, output: Path) -> Tokenizer:
    """The tokenizer that a training would take, or one like the one it would train, of a sample of its text.

    Raises:
        CheckpointError, TokenizerError, TrainingError: as training would.
    """
    if config.training.initialise_from:
        from seq2seq.training.fine_tuning import base_of

        return base_of(config, None, output)[1]
    if config.tokenizer.path:
        return Tokenizer.load(config.tokenizer.path)
    wanted = with_tags(config.tokenizer, config.tags)
    with tempfile.TemporaryDirectory() as folder:
        try:
            source, target = ([pair[side] for pair in train.sample] for side in (0, 1))
            return train_tokenizer(wanted, source, target, Path(folder) / "tokenizer")
        except TokenizerError:
            if train.read <= len(train.sample):
                raise
        # A sample may be too small for so many pieces where the whole is not.
        return train_tokenizer(wanted, _side(config.data, 0), _side(config.data, 1), Path(folder) / "tokenizer")


def _side(data: DataConfig, side: int) -> Iterator[str]:
    """The text of a side, as much of it as is read of each corpus."""
    for corpus in data.train:
        pairs = read_corpus(replace(corpus, tag=""), data.languages)
        yield from (pair[side] for pair in islice(pairs, texts.PAIRS))


def of_tokens(
    config: Config, text: dict[str, Text], tokenizer: Tokenizer, figures: dict[str, Any]
) -> Iterator[Finding]:
    """Of what the tokenizer makes of the text."""
    from seq2seq.training.fine_tuning import unknown_characters

    pairs = text.get("validation", text["train"]).sample[:2000]
    # Of what was prepared, a tag is a part of the text; the tokenizer has it as one piece.
    held_out = [without_tag(pair.source) for pair in pairs], [pair.target for pair in pairs]
    for side, (name, vocabulary) in enumerate((("source", tokenizer.source), ("target", tokenizer.target))):
        unknown, total = unknown_characters(vocabulary, held_out[side])
        found = sum(unknown.values())
        figures[f"unknown_{name}"] = found / max(total, 1)
        if found > 0.01 * total:
            yield error(
                "unknown characters",
                f"tokenizer: {share(found, total)} of the {name} characters of held-out text are unknown to it, or "
                "spelt in bytes; train it on text like it, or raise `tokenizer.character_coverage`",
            )
    sample = text["train"].sample
    sources, targets = (
        [len(ids) for ids in vocabulary.encode([pair[side] for pair in sample])]
        for side, vocabulary in enumerate((tokenizer.source, tokenizer.target))
    )
    lengths = [max(pair) for pair in zip(sources, targets, strict=True)]
    figures["target_tokens"] = round(sum(targets) / len(targets) * pairs_of_epoch(config.data, text["train"]))
    long = sum(length > config.data.max_length for length in lengths)
    figures["too_long"] = long / len(lengths)
    if long > 0.05 * len(lengths):
        yield (error if long > 0.5 * len(lengths) else warning)(
            "too long",
            f"{share(long, len(lengths))} of the training pairs have more tokens than `data.max_length` = "
            f"{config.data.max_length} and would be dropped; raise it, or shorten them",
        )


def pairs_of_epoch(data: DataConfig, train: Text) -> float:
    """How many pairs an epoch has, by the weights of its corpora."""
    if data.curriculum or data.temperature != 1:
        return sum(train.kept)
    return sum(corpus.weight * kept for corpus, kept in zip(data.train, train.kept, strict=True))
