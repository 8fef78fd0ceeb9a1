"""A look at a training before it begins: would it go wrong, how long would it take, and would it fit?

Text is read as training reads it, up to a million pairs of each corpus; what is costly looks at a sample of it.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seq2seq.config import Config, CorpusConfig, DataConfig, TrainingConfig
from seq2seq.data.cleaning import digest_of, near_duplicate_key
from seq2seq.data.corpus import SentencePair, count_lines, read_corpus, write_lines
from seq2seq.data.filters import is_mojibake
from seq2seq.data.sides import Sides
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer, with_tags
from seq2seq.errors import Seq2SeqError, TokenizerError

_PAIRS = 1_000_000  # of each corpus that are read
# Near-duplicates of held-out text are looked for among so many pairs and every tenth of the rest; the same text in all.
_NEAR = 500_000
_SAMPLE = 20_000  # of these that are looked at closely, and that a tokenizer and some steps are trained on
_TAG = re.compile(r"<\S+>")  # of a direction, before a source
_BYTES = 4  # of a parameter, or of one of AdamW's two moments, in float32

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """Something that is wrong: an error makes training go wrong, a warning makes it worse than it could be."""

    check: str
    severity: Severity
    message: str  # names the thing, the value and the remedy


class Diagnosis(NamedTuple):
    """All findings, and what was measured, as plain values."""

    findings: list[Finding]
    figures: dict[str, Any]

    @property
    def is_sound(self) -> bool:
        """Whether training would not go wrong."""
        return all(finding.severity != "error" for finding in self.findings)


def examine(config: Config, output: Path, device: str = "auto") -> Diagnosis:
    """Look at the corpora, the tokenizer, the model and the machine of a training.

    Args:
        config: the whole run.
        output: the run directory that training would write.
        device: as in `train`.
    """
    from seq2seq.training.setup import refuse_to_replace

    findings: list[Finding] = []
    figures: dict[str, Any] = {}
    with _finding("output", findings):
        refuse_to_replace(output)
    with _finding("corpora", findings):
        text = _read(config.data)
        findings += [*_of_text(text), *_of_held_out(text, config.training), *_of_languages(text, config.data)]
        figures["pairs"] = {name: corpus.read for name, corpus in text.items()}
        figures["more_pairs"] = [name for name, corpus in text.items() if not corpus.is_whole]
        for what in ("empty", "duplicates", "carriage_returns"):
            figures[what] = {name: getattr(corpus, what) for name, corpus in text.items()}
        figures["overlap"] = {name: _overlap(text, name) for name in ("validation", "test") if name in text}
        with tempfile.TemporaryDirectory() as folder:
            with _finding("tokenizer", findings):
                tokenizer = _tokenizer(config, text["train"], output)
                for tag in config.tags:
                    tokenizer.check_tag(tag)
                findings += _of_tokens(config, text, tokenizer, figures)
                tokenizer.save(Path(folder) / "tokenizer")
                with _finding("training", findings):
                    findings += _of_training(config, text["train"], tokenizer, Path(folder), device, figures)
            if "parameters" in figures:
                findings += _of_disk(config, output, figures)
    return Diagnosis(findings, figures)


@contextmanager
def _finding(check: str, findings: list[Finding]) -> Iterator[None]:
    """Turn an error, which training would meet too, into a finding."""
    try:
        yield
    except Seq2SeqError as error:
        findings.append(Finding(check, "error", str(error)))


class _Text(NamedTuple):
    """What was read of a corpus."""

    read: int
    kept: tuple[int, ...]  # of each corpus, without pairs with an empty side
    is_whole: bool  # otherwise there is more than was read
    sample: list[SentencePair]
    empty: int
    carriage_returns: int
    duplicates: int
    keys: dict[int, int]  # of each different pair a hash, and what its near-duplicates have in common, or 0


def _read(data: DataConfig) -> dict[str, _Text]:
    languages = (data.source_language, data.target_language)
    corpora: dict[str, Sequence[CorpusConfig]] = {"train": data.train}
    corpora |= {name: [each] for name, each in (("validation", data.validation), ("test", data.test)) if each}
    if not data.train:
        raise Seq2SeqError("`data.train`: no training corpus; name one under [[data.train]] in the config")
    return {name: _read_all(each, languages) for name, each in corpora.items()}


def _read_all(corpora: Sequence[CorpusConfig], languages: tuple[str, str]) -> _Text:
    generator = random.Random(1)
    sample: list[SentencePair] = []
    counts: Counter[str] = Counter()
    keys: dict[int, int] = {}
    is_whole, kept = True, []
    for corpus in corpora:
        before = counts["kept"]
        for pair in islice(read_corpus(replace(corpus, tag=""), languages, counts), _PAIRS):
            number = counts["kept"]
            counts["kept"] += 1
            counts["carriage_returns"] += pair.source.endswith("\r") or pair.target.endswith("\r")
            digest = digest_of("\n".join(pair))
            if digest in keys:
                counts["duplicates"] += 1
            else:
                look = number < _NEAR or number % 10 == 0
                keys[digest] = digest_of("\n".join(map(near_duplicate_key, pair))) if look else 0
            if number < _SAMPLE:
                sample.append(pair)
            elif (place := generator.randrange(number + 1)) < _SAMPLE:
                sample[place] = pair
        kept.append(counts["kept"] - before)
        if kept[-1] == _PAIRS:
            is_whole = False
            _check_rest(corpus)
    if not sample:
        raise Seq2SeqError(f"{_name(corpora[0])}: holds no pair with text on both sides; give another")
    empty = counts["empty_source"] + counts["empty_target"]
    returns, duplicates = counts["carriage_returns"], counts["duplicates"]
    return _Text(counts["read"], tuple(kept), is_whole, sample, empty, returns, duplicates, keys)


def _check_rest(corpus: CorpusConfig) -> None:
    """Of text files that are not read to their ends, at least count the lines."""
    files = [Path(name) for name in (corpus.source, corpus.target) if name]
    if not files or any(file.suffix.lower() in (".gz", ".zst") for file in files):
        return
    source, target = map(count_lines, files)
    if source != target:
        raise Seq2SeqError(
            f"{files[0]} has {source:,} lines and {files[1]} has {target:,}; make the files belong line by line"
        )


def _name(corpus: CorpusConfig) -> str:
    return corpus.source or corpus.path or corpus.dataset


def _of_text(text: dict[str, _Text]) -> Iterator[Finding]:
    """Of each corpus by itself."""
    for name, corpus in text.items():
        kept = corpus.read - corpus.empty
        if corpus.empty > 0.05 * corpus.read:
            yield _warning(
                "empty sides",
                f"`data.{name}`: {corpus.empty:,} of {corpus.read:,} pairs have an empty side; check that "
                "the files belong together",
            )
        if corpus.carriage_returns > 0.01 * kept:
            yield _warning(
                "line ends",
                f"`data.{name}`: {corpus.carriage_returns:,} of {kept:,} pairs end in a carriage return, which "
                "would be learnt; remove it with sed -i 's/\\r$//', or `seq2seq prepare`",
            )
        wrong = sum(map(is_mojibake, corpus.sample))
        if wrong > 0.01 * len(corpus.sample):
            yield _error(
                "encoding",
                f"`data.{name}`: {_share(wrong, len(corpus.sample))} of the pairs have wrongly decoded text, "
                "such as Ã¤ for ä; convert the source anew, or drop them by `seq2seq prepare`",
            )
    train = text["train"]
    if train.duplicates > 0.1 * train.read:
        yield _warning(
            "duplicates",
            f"`data.train`: {train.duplicates:,} of {train.read:,} pairs came before; drop them by `seq2seq prepare`",
        )


def _of_held_out(text: dict[str, _Text], training: TrainingConfig) -> Iterator[Finding]:
    """Of what training text and held-out text have in common: next to nothing, if scores are to mean anything."""
    if "validation" not in text and training.patience:
        yield _error(
            "validation",
            f"`data.validation`: none, and `training.patience` = {training.patience} stops by it; name one, or set it "
            "to 0",
        )
    elif "validation" not in text:
        yield _warning("validation", "`data.validation`: none, so the newest checkpoint counts as the best; name one")
    for name in ("validation", "test"):
        if name not in text:
            continue
        pairs = text[name].keys
        both = _overlap(text, name)
        if both > max(1, 0.01 * len(pairs)):
            yield _error(
                "overlap",
                f"`data.{name}`: {_share(both, len(pairs))} of its pairs are in the training text too, so scores "
                "would say too much; remove them from it by `seq2seq prepare`",
            )


def _overlap(text: dict[str, _Text], name: str) -> int:
    """How many pairs of a corpus are near pairs of the training text."""
    train = text["train"].keys
    near = set(train.values()) - {0}
    return sum(exact in train or key in near for exact, key in text[name].keys.items())


def _of_languages(text: dict[str, _Text], data: DataConfig) -> Iterator[Finding]:
    """Of sides that are swapped: validation against training text, and each against the languages' names.

    Where training text is of several directions, nothing can be told; where it is of one language, not by its words.
    """
    train = text["train"].sample
    sides = Sides.learn(train[::2])

    def swapped(pairs: Sequence[SentencePair]) -> float:
        """The share of pairs whose sides surely have the words of the other side of training text."""
        return sum(map(sides.are_swapped, pairs)) / len(pairs)

    first = [word for pair in train if _TAG.fullmatch(word := pair.source.partition(" ")[0])]
    in_text = set(first) if len(first) > 0.8 * len(train) else set()  # of what was prepared, tags are a part
    if max(len({corpus.tag for corpus in data.train}), len(in_text)) > 1:
        return
    tells = swapped([SentencePair(*pair[::-1]) for pair in train[1::2][:1000] or train]) > 0.8
    for name in ("validation", "test") if tells else ():
        if name in text and swapped(text[name].sample[:1000]) > 0.6:
            yield _error(
                "swapped languages",
                f"`data.{name}`: its source side is in the language of the training text's target side; swap them",
            )
    try:
        from seq2seq.data.filters import other_language

        is_other = other_language((data.source_language, data.target_language))
    except Seq2SeqError:  # not installed, or languages that it does not know
        return
    for name, corpus in text.items():
        pairs = random.Random(1).sample(corpus.sample, min(300, len(corpus.sample)))
        others = sum(map(is_other, pairs))
        if others > 0.2 * len(pairs):  # of several corpora, one may be swapped
            languages = f"{data.source_language}-{data.target_language}"
            yield _error(
                "swapped languages",
                f"`data.{name}`: {_share(others, len(pairs))} of the pairs are not {languages}; swap the sides of "
                "the corpus that they are of, or mend `data.source_language` and `data.target_language`",
            )


def _tokenizer(config: Config, train: _Text, output: Path) -> Tokenizer:
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
        pairs = read_corpus(replace(corpus, tag=""), (data.source_language, data.target_language))
        yield from (pair[side] for pair in islice(pairs, _PAIRS))


def _of_tokens(
    config: Config, text: dict[str, _Text], tokenizer: Tokenizer, figures: dict[str, Any]
) -> Iterator[Finding]:
    """Of what the tokenizer makes of the text."""
    from seq2seq.training.fine_tuning import unknown_characters

    pairs = text.get("validation", text["train"]).sample[:2000]
    for side, (name, vocabulary) in enumerate((("source", tokenizer.source), ("target", tokenizer.target))):
        unknown, total = unknown_characters(vocabulary, (pair[side] for pair in pairs))
        found = sum(unknown.values())
        figures[f"unknown_{name}"] = found / max(total, 1)
        if found > 0.01 * total:
            yield _error(
                "unknown characters",
                f"tokenizer: {_share(found, total)} of the {name} characters of held-out text are unknown to it, or "
                "spelt in bytes; train it on text like it, or raise `tokenizer.character_coverage`",
            )
    sample = text["train"].sample
    sources, targets = (
        [len(ids) for ids in vocabulary.encode([pair[side] for pair in sample])]
        for side, vocabulary in enumerate((tokenizer.source, tokenizer.target))
    )
    lengths = [max(pair) for pair in zip(sources, targets, strict=True)]
    figures["target_tokens"] = round(sum(targets) / len(targets) * _pairs_of_epoch(config.data, text["train"]))
    long = sum(length > config.data.max_length for length in lengths)
    figures["too_long"] = long / len(lengths)
    if long > 0.05 * len(lengths):
        yield (_error if long > 0.5 * len(lengths) else _warning)(
            "too long",
            f"{_share(long, len(lengths))} of the training pairs have more tokens than `data.max_length` = "
            f"{config.data.max_length} and would be dropped; raise it, or shorten them",
        )


def _pairs_of_epoch(data: DataConfig, train: _Text) -> float:
    """How many pairs an epoch has, by the weights of its corpora."""
    if data.curriculum or data.temperature != 1:
        return sum(train.kept)
    return sum(corpus.weight * kept for corpus, kept in zip(data.train, train.kept, strict=True))


def _of_training(
    config: Config, train: _Text, tokenizer: Tokenizer, folder: Path, device: str, figures: dict[str, Any]
) -> Iterator[Finding]:
    """Of the model: how large it is, how much memory it takes, and how long training will be."""
    import torch

    from seq2seq.devices import choose_device, memory_mb
    from seq2seq.model.transformer import Transformer
    from seq2seq.training.forecast import forecast
    from seq2seq.training.setup import with_vocabulary
    from seq2seq.training.steps import less_memory

    config = with_vocabulary(config, tokenizer)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Transformer(config.model).parameters())
    figures["parameters"] = parameters
    chosen = choose_device(device)
    _, total = memory_mb(chosen)
    place = "the machine" if chosen.type == "cpu" else f"the GPU, {chosen},"
    # The weights, their gradients and two moments: without room for these, not even a step can be tried.
    is_trained = not (config.training.lora_rank or config.training.freeze)  # as a whole
    needed = (16 if is_trained else 4) * parameters / 1024**2
    if total and needed > total:
        yield _error(
            "memory",
            f"model: its {parameters:,} parameters need {needed:,.0f} MB in training, and {place} has "
            f"{total:,}; make it smaller (`model.d_model`, `tokenizer.vocab_size`)",
        )
        return
    for side, name in enumerate(("source", "target")):
        write_lines(folder / name, (pair[side] for pair in train.sample))
    sample = CorpusConfig(source=str(folder / "source"), target=str(folder / "target"))
    data = replace(config.data, train=(sample,), curriculum=(), risk_weights=())
    found = forecast(replace(config, data=data), str(folder / "tokenizer"), device)
    hours, tokens = found.hours_and_tokens(config.training)
    figures |= {
        "tokens_per_second": found.tokens_per_second,
        "memory_mb": found.peak_memory_mb,
        "hours": config.recipe.ensemble * hours + sum(found.hours_and_tokens(each)[0] for each in _teachers(config)),
    }
    if train.is_whole and not config.back_translation.monolingual:  # of what length is not known
        figures["epochs"] = tokens / max(figures["target_tokens"] * _copies(config), 1)
    if total and found.peak_memory_mb > 0.9 * total:
        yield _error(
            "memory",
            f"training: takes {found.peak_memory_mb:,.0f} MB, and {place} has {total:,}; "
            f"{less_memory(config.training)}",
        )


def _teachers(config: Config) -> list[TrainingConfig]:
    """The trainings of the models that diversify the training text; the backward ones minimise no risk."""
    minutes = config.diversification.max_minutes or config.training.max_minutes
    forward = replace(config.training, max_minutes=minutes)
    return [forward, replace(forward, minimum_risk=0.0)] * config.diversification.models


def _copies(config: Config) -> float:
    """How often an epoch has the target side of the training text, as people or models translated it."""
    distillation = config.distillation
    own = distillation.original_weight + distillation.weight if distillation.teacher else 1.0
    return own + 2 * config.diversification.models


def _of_disk(config: Config, output: Path, figures: dict[str, Any]) -> Iterator[Finding]:
    """Of the room for checkpoints: those that are kept, the best, and one that is being written.

    The latest, which can be resumed from, and the one being written hold the moments, and beside averages the weights.
    """
    training = config.training
    number = training.keep_checkpoints + 2
    resumable = 2 * (3 if training.ema_decay else 2)
    # Of low-rank matrices, checkpoints hold little else; the weights beside them are there once.
    tensors = 1 if training.lora_rank else number + resumable
    runs = config.recipe.ensemble + 2 * config.diversification.models
    needed = tensors * _BYTES * figures["parameters"] * runs
    place = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    figures |= {"checkpoints_mb": needed / 1024**2, "free_disk_mb": free / 1024**2}
    if needed > free:
        yield _error(
            "disk",
            f"{place}: checkpoints take {needed / 1024**2:,.0f} MB, and {free / 1024**2:,.0f} are free; "
            "make room, or lower `training.keep_checkpoints`",
        )


def _error(check: str, message: str) -> Finding:
    return Finding(check, "error", message)


def _warning(check: str, message: str) -> Finding:
    return Finding(check, "warning", message)


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}"
