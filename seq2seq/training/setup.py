"""Make a run directory ready: a new one, one to go on with, or one to overwrite."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import compress, islice
from pathlib import Path
from typing import TypeVar

from seq2seq.checkpoint import latest
from seq2seq.config import Config, ModelConfig, TokenizerConfig, load_config, run_of, save_config
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.data.lexicon import FILE as LEXICON
from seq2seq.data.token_writer import prepared_tokens
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer, with_tags
from seq2seq.errors import ConfigError, DataError, TrainingError
from seq2seq.files import clear_directory
from seq2seq.settings import flat, to_dict
from seq2seq.training.feed import read_pairs
from seq2seq.training.fine_tuning import base_of, copy_base, warn_of_unknown
from seq2seq.training.mixture import parts_with_weights, refuse_parts_without_pairs

TOKENS = "tokens"  # the folder of a run with the tokens of corpora that were not prepared
FOLDERS = ("checkpoints", "tokenizer", "tensorboard", "base", TOKENS)  # that training writes into a run
_BEGUN = "metrics.jsonl"  # the first file of a run
_FILES = (LEXICON, "scores.json", "config.toml")
_LOOKED_AT = 100_000  # pairs of a corpus in which characters are sought that a tokenizer does not know
_FIXED = ("model.", "tokenizer.", "training.initialise_from", "training.freeze", "training.lora_")

_Section = TypeVar("_Section", ModelConfig, TokenizerConfig)


def set_up_run(
    config: Config,
    run: Path,
    tokenizer: Tokenizer | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Config, Tokenizer]:
    """Write the run's configuration and tokenizer, or take up what is there.

    Returns:
        The config with the vocabulary sizes filled in, and the run's tokenizer.

    Raises:
        TrainingError: if the run exists already and neither `resume` nor `overwrite` is set, or cannot be resumed; or
            if something else is in its place.
        ConfigError: if there are no training corpora.
        DataError: if one cannot be read, or lies where training writes.
    """
    _refuse_stages(config)
    if not config.data.train:
        raise ConfigError("`data.train`: no training corpus; name one under [[data.train]] in the config")
    if config.training.patience and config.data.validation is None:
        raise ConfigError(
            f"`training.patience` = {config.training.patience}: stops by validations, and there is no text for them; "
            "name a corpus in `data.validation`, or leave it out"
        )
    if config.training.patience and config.data.last_weights:
        raise ConfigError(
            f"`training.patience` = {config.training.patience}: might end training before its last part, which has "
            "`data.last_weights`, has begun; leave one of the two out"
        )
    if config.training.validate_every and config.data.validation is None:
        say("no validation corpus (`data.validation`): the newest checkpoint will count as the best")
    refuse_to_replace(run)
    there = (run / "config.toml").exists()
    if there and resume and not overwrite:
        return _take_up(config, run, say)
    if there and not overwrite:
        raise TrainingError(
            f"{run}: holds a run already; --resume goes on with it, --overwrite starts anew, or choose another --output"
        )
    if resume:
        say(f"{run}: nothing to resume there; starting anew")
    _check_places(config, run)
    _check_corpora(config)
    given = tokenizer is not None or bool(config.tokenizer.path or config.training.initialise_from)
    if config.training.initialise_from:
        config, tokenizer = base_of(config, tokenizer, run)
    tokenizer = _make_tokenizer(config, tokenizer, say)
    _check_tokenizer(config, tokenizer)
    _check_lengths(config, tokenizer)
    config = with_vocabulary(config, tokenizer)
    if given:
        warn_of_unknown(_first(config, tokenizer, 0), _first(config, tokenizer, 1), tokenizer, say)
    for name in ("tokenizer", "base"):
        if (run / name).is_symlink():  # to those of another run, which are not ours to replace
            (run / name).unlink()
    clear_run(run)  # only now that nothing can be wrong any more
    tokenizer.save(run / "tokenizer")
    copy_base(config, run)
    save_config(config, run / "config.toml")
    return config, tokenizer


def _refuse_stages(config: Config) -> None:
    """Refuse what only a recipe does, instead of leaving it out without a word."""
    teacher, monolingual = config.distillation.teacher, config.back_translation.monolingual
    for name, value in (("distillation.teacher", teacher), ("back_translation.monolingual", monolingual)):
        if value:
            raise ConfigError(
                f"`{name}` = {value}: is a stage of `seq2seq recipe run`; here, translate the text with `seq2seq "
                "translate`, and list it under [[data.train]]"
            )
    if config.diversification.models:
        raise ConfigError(
            f"`diversification.models` = {config.diversification.models}: is a stage of `seq2seq recipe run`; run the "
            "recipe, or leave it out"
        )


def _check_corpora(config: Config) -> None:
    """Read all corpora through, so that a bad line is found before anything is said or written.

    Those that `seq2seq prepare` made have been read through then.
    """
    languages = config.data.languages
    sizes = [
        sum(1 for _ in read_corpus(corpus, languages)) if (store := prepared_tokens(corpus)) is None else len(store)
        for corpus in config.data.train
    ]
    if not any(sizes):
        raise DataError("the training corpora hold no pair with text on both sides; check `data.train`")
    refuse_parts_without_pairs(config.data, config.training.minimum_risk > 0, sizes)
    if config.data.validation is not None and not sum(1 for _ in read_corpus(config.data.validation, languages)):
        raise DataError("the validation corpus holds no pair with text on both sides; check `data.validation`")


def _check_lengths(config: Config, tokenizer: Tokenizer) -> None:
    """Refuse corpora without a pair that is short enough, also those of one part; mostly, the first ones are."""
    limit, languages = config.data.max_length, config.data.languages

    def fits(pair: SentencePair) -> bool:
        ids = tokenizer.encode_source([pair.source])[0], tokenizer.encode_target([pair.target])[0]
        return max(map(len, ids)) <= limit

    parts = parts_with_weights(config.data, config.training.minimum_risk > 0)
    least = min([1.0, *(weight for _, weights in parts for weight in weights if weight)])
    enough = math.ceil(1 / least)  # of which each weight takes one
    sizes = [sum(1 for _ in islice(filter(fits, read_corpus(each, languages)), enough)) for each in config.data.train]
    told = f"all have more tokens than `data.max_length` = {limit}; raise it, or shorten them"
    if not any(sizes):
        raise DataError(f"no usable pair: {told}")
    for name, weights in parts:
        if not any(compress(weights, sizes)):
            raise DataError(f"`{name}` = {list(weights)}: no usable pair of the corpora that it takes: {told}")
    refuse_parts_without_pairs(config.data, config.training.minimum_risk > 0, sizes)


def _make_tokenizer(config: Config, given: Tokenizer | None, say: Callable[[str], None]) -> Tokenizer:
    if given is not None:
        return given
    if config.tokenizer.path:
        return _load_tokenizer(config.tokenizer, say)
    kind = "joint" if config.tokenizer.joint else "separate"
    say(f"training a {config.tokenizer.algorithm} tokenizer ({kind}, {config.tokenizer.vocab_size:,} pieces)")
    with tempfile.TemporaryDirectory() as folder:
        wanted = with_tags(config.tokenizer, config.tags)
        return train_tokenizer(wanted, _side(config, 0), _side(config, 1), Path(folder) / "tokenizer")


def _load_tokenizer(config: TokenizerConfig, say: Callable[[str], None]) -> Tokenizer:
    """The one that the config names; say so if it is not as large as the config asks, which is easily typed in vain."""
    tokenizer = Tokenizer.load(Path(config.path))
    sizes = list(dict.fromkeys((tokenizer.source_vocab_size, tokenizer.target_vocab_size)))
    if config.vocab_size not in (*sizes, TokenizerConfig.vocab_size):
        say(
            f"`tokenizer.vocab_size` = {config.vocab_size:,}: not used, the tokenizer in {config.path} has "
            f"{' and '.join(f'{size:,}' for size in sizes)} pieces; leave out `tokenizer.path` to train another"
        )
    return tokenizer


def _check_tokenizer(config: Config, tokenizer: Tokenizer) -> None:
    """Refuse one that lacks a tag, or cannot draw segmentations where that is asked for."""
    for tag in config.tags:
        tokenizer.check_tag(tag)
    if sampling := config.training.subword_sampling:
        tokenizer.encode_source(["a"], sampling, 0)
        tokenizer.encode_target(["a"], sampling, 0)


def _side(config: Config, side: int) -> Iterator[str]:
    """The text of a side, without tags, which are symbols of the tokenizer and no text."""
    train = tuple(replace(corpus, tag="") for corpus in config.data.train)
    return (pair[side] for pair in read_pairs(replace(config, data=replace(config.data, train=train))))


def _first(config: Config, tokenizer: Tokenizer, side: int) -> Iterator[str]:
    """The begin of each corpus, without tags; of those prepared with the tokenizer, the report has told already."""
    for corpus in config.data.train:
        store = prepared_tokens(corpus)
        if store is None or store.made_from["tokenizer"] != tokenizer.hash:
            pairs = islice(read_corpus(replace(corpus, tag=""), config.data.languages), _LOOKED_AT)
            yield from (pair[side] for pair in pairs)


def with_vocabulary(config: Config, tokenizer: Tokenizer) -> Config:
    """Fill in the vocabulary sizes; a joint tokenizer is needed where all embeddings are tied."""
    if config.model.needs_joint_vocabulary and not tokenizer.joint:
        raise ConfigError(
            f"`model.tied_embeddings` = {config.model.tied_embeddings!r}: needs a joint tokenizer, this one is not; "
            "use 'decoder'"
        )
    model = replace(
        config.model,
        source_vocab_size=tokenizer.source_vocab_size,
        target_vocab_size=tokenizer.target_vocab_size,
    )
    return replace(config, model=model)


def _take_up(config: Config, run: Path, say: Callable[[str], None]) -> tuple[Config, Tokenizer]:
    """Resume: model and tokenizer must be what they were; other changes are said.

    A run that was fine-tuned needs its base no more, once there is a checkpoint: it may have gone, or moved.
    """
    tokenizer = Tokenizer.load(run / "tokenizer")
    own = load_config(run / "config.toml")
    base, was = config.training.initialise_from, own.training.initialise_from
    if base and not (run_of(Path(base)) / "config.toml").exists():
        # Which the config had from the base; what is not a default, it says itself.
        model, tokens = _filled(config.model, own.model), _filled(config.tokenizer, own.tokenizer)
        config = replace(config, model=model, tokenizer=tokens)
    _check_tokenizer(config, tokenizer)
    config = with_vocabulary(config, tokenizer)
    before, now = (flat(to_dict(value)) for value in (own, config))
    changed = [name for name in before.keys() | now.keys() if before.get(name) != now.get(name)]
    free = {"tokenizer.path"}
    if base and was and not (run_of(Path(was)) / "config.toml").exists() and latest(run) is not None:
        free.add("training.initialise_from")
    fixed = sorted(name for name in changed if name.startswith(_FIXED) and name not in free)
    if fixed:
        name = fixed[0]
        raise TrainingError(
            f"{run}: cannot resume, `{name}` was {before.get(name)!r} and is {now.get(name)!r} now; "
            "change it back, or start anew with --overwrite or another --output"
        )
    for name in sorted(changed):
        say(f"changed since the run began: {name} = {now.get(name)!r} (was {before.get(name)!r})")
    return config, tokenizer


def _filled(given: _Section, own: _Section) -> _Section:
    """Settings with those of a run where they are the defaults, whether they were left out or given so."""
    defaults = type(given)()
    names = [field.name for field in fields(given)]
    return replace(own, **{n: getattr(given, n) for n in names if getattr(given, n) != getattr(defaults, n)})


def refuse_to_replace(run: Path) -> None:
    """Refuse a folder that holds no run, but what training would replace.

    Raises:
        TrainingError: which names it.
    """
    config, begun = run / "config.toml", run / _BEGUN
    has_checkpoints = any((run / "checkpoints").glob("*/checkpoint.json"))
    if config.exists() and (begun.exists() or has_checkpoints):
        return
    if has_checkpoints:
        raise TrainingError(f"{config}: missing beside checkpoints; put it back, or choose another --output")
    if begun.exists() and not begun.stat().st_size and not config.exists():
        return  # killed while it was set up
    for path in (run / name for name in (*FOLDERS, *_FILES, _BEGUN)):
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise TrainingError(
                f"{path}: exists already, belongs to no run, and training would replace it; choose another --output, "
                "or delete it"
            )


def _check_places(config: Config, run: Path) -> None:
    """Refuse corpora in a folder that training removes."""
    for corpus in (*config.data.train, *([config.data.validation] if config.data.validation else [])):
        for name in filter(None, (corpus.source, corpus.target, corpus.path)):
            if any(Path(name).resolve().is_relative_to((run / folder).resolve()) for folder in FOLDERS):
                raise DataError(f"{name}: lies where training puts its own files; move it, or choose another --output")


def clear_run(run: Path) -> None:
    """Remove what training writes, and nothing else that may lie in the folder; leave an empty first file.

    Killed at any moment, it leaves a whole run, or what counts as one that is being set up.
    """
    run.mkdir(parents=True, exist_ok=True)
    checkpoints, *others = FOLDERS
    clear_directory(run / checkpoints)
    (run / _BEGUN).write_bytes(b"")
    for name in _FILES:
        (run / name).unlink(missing_ok=True)
    for name in others:
        clear_directory(run / name)
