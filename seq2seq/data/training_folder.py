"""A folder from which training begins at once: filtered text, its tokens, the tokenizer, and a config that names them.

    DIR/train/corpus000/          what is left of the first training corpus; see `seq2seq.data.preparation`
    DIR/train/corpus000/tokens/   the same rows as token ids; see `seq2seq.data.token_store`
    DIR/tokenizer/                trained on all of them, or a copy of the one that the config names
    DIR/validation.source, .target, test.source, ...   held-out text as it was
    DIR/config.toml               the config, with all of these in the place of what it named; paths are relative

Each part is made anew only if what it depends on has changed: another `data.max_length` changes the report alone,
another tokenizer the tokens too, and other filters all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

from seq2seq.config import NO_STAGES, Config, CorpusConfig, run_of, save_config
from seq2seq.data.arrow_files import SIDES, fingerprint_of, pairs_of, read_json, shards_of, table_of
from seq2seq.data.corpus import read_corpus, write_lines
from seq2seq.data.preparation import CORPUS, LOCK, Clock, Prepared, Progress, prepare, write_report
from seq2seq.data.token_store import TokenStore
from seq2seq.data.token_writer import BESIDE, write_tokens
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer, with_tags
from seq2seq.errors import DataError
from seq2seq.files import alone_in, are_as_they_were, hashes_of, sha256_of, write_json
from seq2seq.settings import to_dict

_TOKENIZER, _CONFIG = "tokenizer", "config.toml"


def make_ready(config: Config, output: Path | str, progress: Progress = lambda *done: None) -> Prepared:
    """Filter the training corpora of a config, and make all of them that training needs; nothing twice.

    Raises:
        DataError, ConfigError: as `prepare` does, or if another process works in the folder.
        TokenizerError: if the text or the settings do not allow the tokenizer, or a given one is damaged.
    """
    output = Path(output)
    with alone_in(output, DataError):
        return _made_ready(config, output, progress)


def _made_ready(config: Config, output: Path, progress: Progress) -> Prepared:
    """In a folder in which nobody else works."""
    _check_config(output)
    given = _given(config)  # whose mistakes are not to be told after hours
    done = prepare(config, output, progress)
    clock = Clock()
    tokenizer, was_there = _tokenizer(config, given, output, progress)
    clock.lap("tokenizer")
    stores = {}
    for folder in sorted((output / CORPUS).glob("corpus*")):
        stores[folder.name], found = _tokens(
            folder, output, tokenizer, lambda pairs: progress("tokens", pairs, done.report["kept"])
        )
        was_there &= found
    clock.lap("tokens")
    _lock(output, {"papers": {}})  # if it is killed before the end, they are not those that the lockfile has
    _write_config(config, output)
    report = {**done.report, "coverage": _coverage(stores, config.data.max_length)}
    write_report(output, report, config.data.languages)
    papers = [output / _CONFIG, *output.glob("report.*"), *output.glob("validation.*"), *output.glob("test.*")]
    tokens = output.glob(f"{CORPUS}/*/{BESIDE}/*")
    _lock(output, {"tokens": hashes_of(output, tokens), "papers": hashes_of(output, papers)})
    clock.lap("hashing")
    return Prepared(output, report, done.was_there and was_there, {**done.seconds, **clock.seconds})


def _lock(output: Path, entries: Mapping[str, Any]) -> None:
    """Add entries to the lockfile."""
    write_json(output / LOCK, {**read_json(output / LOCK), **entries})


def _check_config(output: Path) -> None:
    """Refuse to replace a config that was edited since it was written."""
    path, written = output / _CONFIG, read_json(output / LOCK).get("papers", {}).get(_CONFIG)
    if written and path.exists() and sha256_of(path) != written:
        raise DataError(
            f"{path}: was edited since `prepare` wrote it, and would be written anew; move it elsewhere, and change "
            "what is prepared, or train with --set"
        )


def _tokenizer(config: Config, given: Tokenizer | None, output: Path, progress: Progress) -> tuple[Tokenizer, bool]:
    """The tokenizer, and whether it was there; what stands in its place is replaced when there is a new one."""
    lock, folder = read_json(output / LOCK), output / _TOKENIZER
    wanted = with_tags(config.tokenizer, config.tags)
    settings = {name: value for name, value in to_dict(wanted).items() if name != "path"}
    made_from = {"given": given.hash} if given else {"text": fingerprint_of(output / CORPUS), "settings": settings}
    before = lock.get("tokenizer", {})
    if before.get("made_from") == made_from and are_as_they_were(output, before.get("files", {})):
        return Tokenizer.load(folder), True
    if given:
        given.save(folder)
        tokenizer = given
    else:
        progress("tokenizer", 0, 0)
        tokenizer = train_tokenizer(wanted, _lines(config, output, 0), _lines(config, output, 1), folder)
    _lock(output, {"tokenizer": {"made_from": made_from, "files": hashes_of(output, folder.glob("*"))}})
    return tokenizer, False


def _given(config: Config) -> Tokenizer | None:
    """The tokenizer that the config names, or that of the run that is to be fine-tuned; it knows all tags."""
    if config.training.initialise_from:
        given = Tokenizer.load(run_of(Path(config.training.initialise_from)) / _TOKENIZER)
    elif config.tokenizer.path:
        given = Tokenizer.load(config.tokenizer.path)
    else:
        return None
    for tag in config.tags:
        given.check_tag(tag)
    return given


def _lines(config: Config, output: Path, side: int) -> Iterator[str]:
    """The text of a side, without tags, which are symbols of the tokenizer and no text."""
    for number, corpus in enumerate(config.data.train):
        before = f"{corpus.tag} " if corpus.tag and side == 0 else ""
        for shard in shards_of(output / CORPUS / f"corpus{number:03}"):
            yield from (text.removeprefix(before) for text in table_of(shard)[SIDES[side]].to_pylist())


def _tokens(
    folder: Path, output: Path, tokenizer: Tokenizer, progress: Callable[[int], object]
) -> tuple[TokenStore, bool]:
    """The tokens of a corpus, and whether they were there."""
    made_from = {"tokenizer": tokenizer.hash, "text": fingerprint_of(folder)}
    place = folder / BESIDE
    before = read_json(output / LOCK).get("tokens", {})
    if all(before.get(name, digest) == digest for name, digest in hashes_of(output, place.glob("*")).items()):
        store = TokenStore.open(place)
        if store and store.made_from == made_from:
            progress(len(store))
            return store, True
    blocks = ((shard.name, partial(pairs_of, shard)) for shard in shards_of(folder))
    return write_tokens(place, blocks, tokenizer, made_from, text="..", progress=progress), False


def _write_config(config: Config, output: Path) -> None:
    """Write held-out text, and the config that names what is here instead of what it was made from."""
    held_out: dict[str, CorpusConfig | None] = {}
    for name, corpus in (("validation", config.data.validation), ("test", config.data.test)):
        paths = [output / f"{name}.{side}" for side in SIDES]
        pairs = list(read_corpus(corpus, config.data.languages)) if corpus else []
        for side, path in enumerate(paths):
            path.unlink(missing_ok=True)
            if corpus:
                write_lines(path, (pair[side] for pair in pairs))
        held_out[name] = CorpusConfig(source=str(paths[0]), target=str(paths[1])) if corpus else None
    folders = [(output / CORPUS / f"corpus{number:03}", corpus) for number, corpus in enumerate(config.data.train)]
    there = [folder.exists() for folder, _ in folders]  # of some corpora, nothing may be left
    train = tuple(_at(corpus, folder) for folder, corpus in compress(folders, there))
    weights = ((stage, tuple(compress(stage.weights, there))) for stage in config.data.curriculum)
    # Of corpora of which nothing is left, a stage would have nothing to show.
    curriculum = tuple(replace(stage, weights=rest) for stage, rest in weights if any(rest))
    if config.data.curriculum and not curriculum:
        raise DataError("`data.curriculum`: nothing is left of the corpora of any of its stages; see `[prepare]`")
    parts = (tuple(compress(weights, there)) for weights in (config.data.last_weights, config.data.risk_weights))
    last_weights, risk_weights = (weights if any(weights) else () for weights in parts)
    data = replace(
        config.data, train=train, curriculum=curriculum, last_weights=last_weights, risk_weights=risk_weights,
        validation=held_out["validation"], test=held_out["test"],
    )  # fmt: skip
    tokenizer = replace(config.tokenizer, path=str(output / _TOKENIZER))
    # What makes more text is a recipe's, and `seq2seq train` would refuse it; without it, a last part is like the rest.
    training = config.training if last_weights else replace(config.training, last_from=1.0)
    save_config(replace(config, data=data, tokenizer=tokenizer, training=training, **NO_STAGES), output / _CONFIG)


def _at(corpus: CorpusConfig, folder: Path) -> CorpusConfig:
    """A training corpus as it was prepared, clean and with its tag before each source; its weight stays."""
    return CorpusConfig(path=str(folder), weight=corpus.weight)


def _coverage(stores: Mapping[str, TokenStore], max_length: int) -> dict[str, Any]:
    """What the tokenizer makes of the text: shares of unknown pieces and of bytes, and pieces for each word."""
    pairs = sum(map(len, stores.values()))
    fitting = sum(store.fitting(max_length) for store in stores.values())
    sides = {}
    for side in SIDES:
        total = {name: sum(store.coverage[side][name] for store in stores.values())
                 for name in ("tokens", "unknown", "bytes", "words")}  # fmt: skip
        pieces = total["tokens"] - pairs  # without end tokens
        sides[side] = {
            "pieces": pieces, "unknown": total["unknown"], "bytes": total["bytes"],
            "unknown_share": total["unknown"] / max(pieces, 1), "bytes_share": total["bytes"] / max(pieces, 1),
            "pieces_per_word": pieces / max(total["words"], 1),
        }  # fmt: skip
    return {**sides, "max_length": max_length, "too_long": pairs - fitting, "pairs": pairs}
