"""Training that starts from a run: its weights and tokenizer, frozen parts, low-rank matrices (LoRA)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from torch import nn

from seq2seq.checkpoint import load_model, name_to_keep, read_base, read_info, resolve, save_base, save_checkpoint
from seq2seq.config import Config, ModelConfig, Part, TokenizerConfig, load_config, save_config
from seq2seq.data.lexicon import Lexicon
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.data.vocabulary import Vocabulary
from seq2seq.errors import CheckpointError, TrainingError
from seq2seq.files import atomic_directory
from seq2seq.model.lora import add_lora
from seq2seq.model.transformer import Transformer
from seq2seq.settings import to_dict
from seq2seq.weights import assign_weights, parameters_of

# No weight of the run depends on these: positions are computed, and its training is past its initialisation.
_MAY_DIFFER = ("dropout", "attention_dropout", "activation_dropout", "max_length", "initialisation")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_CHARACTER = re.compile(r".[\u0300-\u036f]*", re.DOTALL)  # with its accents: tokenizers may compose them
_EXAMPLES = 8  # of unknown characters in a message


def base_of(config: Config, given: Tokenizer | None, output: Path) -> tuple[Config, Tokenizer]:
    """The config with the tokenizer settings of the run that is to be fine-tuned, and that run's tokenizer.

    Args:
        config: names the run.
        given: a tokenizer that is asked for; only that run's will do.
        output: the run directory to make, which must be another one.

    Raises:
        CheckpointError, TokenizerError: if there is no such run, or it is damaged.
        TrainingError: if another model or tokenizer is asked for.
    """
    run, _ = resolve(config.training.initialise_from)
    if run.resolve() == output.resolve():  # overwriting would remove what training is to start from
        raise TrainingError(f"`training.initialise_from` = {run}: is the run to write; choose another --output")
    base = load_config(run / "config.toml")
    tokenizer = load_model(config.training.initialise_from).tokenizer  # of weights that are whole, and trained with it
    path = config.tokenizer.path
    for other in (given, Tokenizer.load(path) if path else None):
        if other is not None and other.hash != tokenizer.hash:
            raise TrainingError(
                f"`training.initialise_from` = {run}: its tokenizer is not the one that was given "
                f"({other.hash[:12]}, not {tokenizer.hash[:12]}); leave the tokenizer out, its vocabulary stays"
            )
    _check_same("model", config.model, base.model, run)
    _check_same("tokenizer", config.tokenizer, base.tokenizer, run)
    return replace(config, tokenizer=replace(base.tokenizer, path="")), tokenizer


def _check_same(
    section: str, settings: ModelConfig | TokenizerConfig, base: ModelConfig | TokenizerConfig, run: Path
) -> None:
    wanted, there = to_dict(settings), to_dict(base)
    vocabulary = ("source_vocab_size", "target_vocab_size")  # 0 before the tokenizer is known
    for name, value in there.items():
        may_differ = name in (*_MAY_DIFFER, "path") or (name in vocabulary and not wanted[name])
        if wanted[name] != value and not may_differ:
            raise TrainingError(
                f"`{section}.{name}` = {wanted[name]!r}: {run}, which `training.initialise_from` names, has {value!r}; "
                "leave it out to take that run's"
            )


def copy_base(config: Config, run: Path) -> None:
    """Write the weights that low-rank matrices are trained beside into the run."""
    if config.training.lora_rank:
        save_base(run, parameters_of(load_model(config.training.initialise_from).model))


def start_from_base(model: Transformer, config: Config, run: Path, resumed: bool) -> None:
    """Give a new model the weights that it starts from, and say what of it is to be trained."""
    training = config.training
    if training.lora_rank:
        assign_weights(model, read_base(run), run / "base")
        add_lora(model, training)
    elif training.initialise_from and not resumed:  # a checkpoint of this run has all weights
        base = load_model(training.initialise_from)
        assign_weights(model, parameters_of(base.model), base.checkpoint)
    freeze(model, training.freeze)


def freeze(model: Transformer, parts: Iterable[Part]) -> None:
    """Let parts of a model keep their weights.

    Raises:
        TrainingError: if nothing is left to train.
    """
    modules: dict[Part, tuple[nn.Module, ...]] = {
        "embeddings": (model.source_embedding, model.target_embedding, model.output),
        "encoder": (model.encoder, model.encoder_norm),
        "decoder": (model.decoder, model.decoder_norm),
    }
    for part in parts:
        for module in modules[part]:
            module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError(f"`training.freeze` = {list(parts)}: leaves nothing to train; take a part out")


def merge(path: Path | str, output: Path | str, adapter: Path | str | None = None) -> Path:
    """Write a run without low-rank matrices that translates the same: config, tokenizer and one whole checkpoint.

    Args:
        path: a run that trained low-rank matrices, or one of its checkpoints; with `adapter`, what it was trained from.
        output: the run directory to make.
        adapter: an `adapter.safetensors` to merge.

    Returns:
        The run directory.

    Raises:
        CheckpointError: if something is missing or damaged, does not belong together, or `output` is there already.
        TokenizerError: if the tokenizer is not that of the checkpoint.
    """
    output = Path(output)
    if output.exists():
        raise CheckpointError(f"{output}: is there already; choose another folder")
    loaded = load_model(path, adapter=adapter)
    info = read_info(loaded.checkpoint)
    if adapter is not None:
        info = replace(info, validation=None, best_score=None)  # which were of other weights
    # R-Drop needs dropout, which that of the matrices may have been.
    training = replace(
        loaded.config.training, initialise_from="", freeze=(), lora_rank=0, lora_embedding_rank=0, r_drop=0.0
    )
    lexicon = Lexicon.load(resolve(path)[0])
    with atomic_directory(output) as partial:
        loaded.tokenizer.save(partial / "tokenizer")
        save_config(replace(loaded.config, training=training), partial / "config.toml")
        save_checkpoint(partial, info, parameters_of(loaded.model), name=name_to_keep(loaded.checkpoint))
        if lexicon is not None:
            lexicon.save(partial)
    return output


def unknown_characters(vocabulary: Vocabulary, texts: Iterable[str]) -> tuple[dict[str, int], int]:
    """How often each character comes that a vocabulary does not know, and how many characters there are."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_CHARACTER.findall(text))
    unknown = {character: count for character, count in counts.items() if not _knows(vocabulary, character)}
    return unknown, counts.total()


def describe_unknown(vocabulary: Vocabulary, texts: Iterable[str], side: str) -> str:
    """One line about the characters of texts that a vocabulary does not know, with numbers; empty if it knows all."""
    unknown, total = unknown_characters(vocabulary, texts)
    if not unknown:
        return ""
    found = sum(unknown.values())
    most = sorted(unknown.items(), key=lambda item: -item[1])[:_EXAMPLES]
    examples = ", ".join(f"{character!r} {count:,}" for character, count in most)
    more = ", ..." if len(unknown) > _EXAMPLES else ""
    pieces = vocabulary.tokens(range(vocabulary.size))
    fate = "spelt in bytes" if any(map(_BYTE.fullmatch, pieces)) else "read as unknown"
    return (
        f"warning: {found:,} of {total:,} {side} characters ({found / total:.2%}), {len(unknown):,} different ones, "
        f"are not in the vocabulary and are {fate}: {examples}{more}"
    )


def _knows(vocabulary: Vocabulary, character: str) -> bool:
    tokens = vocabulary.encode([character])[0]
    return vocabulary.special_ids[1] not in tokens and not any(map(_BYTE.fullmatch, vocabulary.tokens(tokens)))


def warn_of_unknown(
    sources: Iterable[str], targets: Iterable[str], tokenizer: Tokenizer, say: Callable[[str], None]
) -> None:
    """Say how much of a corpus a tokenizer that was not trained on it does not know."""
    for side, vocabulary, texts in (("source", tokenizer.source, sources), ("target", tokenizer.target, targets)):
        if line := describe_unknown(vocabulary, texts, side):
            say(line)
