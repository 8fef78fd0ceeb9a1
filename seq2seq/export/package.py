"""A run as a folder to give away: what inference needs, a model card, and where the data came from.

    DIR/README.md              the model card
    DIR/data.lock.json         the corpora, each with its revision or its SHA-256, and the version of seq2seq
    DIR/seq2seq.json           the mark of what was made here, which may be replaced
    DIR/config.toml            without corpora and paths
    DIR/lexicon.safetensors    what shortlists are made of, if the run has it
    DIR/tokenizer/, DIR/checkpoints/NAME/model.safetensors, checkpoint.json
    DIR/ctranslate2/, huggingface/, onnx/   the same model for other engines, if asked for

The folder is a run: every command that translates takes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seq2seq.checkpoint import LoadedRun, load_model, name_to_keep, read_info, resolve, save_checkpoint
from seq2seq.config import Config, CorpusConfig, run_of, save_config
from seq2seq.data.corpus import read_corpus
from seq2seq.data.lexicon import Lexicon
from seq2seq.decoding.loading import MARK
from seq2seq.errors import DataError, ExportError
from seq2seq.export.card import Card, write_card
from seq2seq.export.exporter import Format, export, without_data
from seq2seq.export.output import mark
from seq2seq.files import atomic_directory, sha256_of, write_json
from seq2seq.weights import parameters_of


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What a run does not say of itself."""

    name: str  # of the model, the title of its card
    licence: str = "unknown"  # as in SPDX, such as mit or cc-by-4.0
    formats: Sequence[Format] = ()


def package(
    run: Path | str, output: Path | str, publication: Publication, say: Callable[[str], None] = lambda line: None
) -> None:
    """Write a run, with its best checkpoint or the one that is named, as a folder that can be moved and shared.

    Args:
        run: a run directory, or one checkpoint in it.
        output: the folder to make; what stands there is replaced.
        publication: name, licence, and other formats to put in.
        say: is told what is done.

    Raises:
        CheckpointError, TokenizerError: if the run is damaged.
        ExportError: if a format cannot express the model, or did not pass verification, or the run is a package, which
            does not say all that a card has.
    """
    folder, checkpoint = resolve(run)
    if (folder / MARK).exists():
        raise ExportError(f"{folder}: is a package already; name the run that it was made of")
    loaded = load_model(run)
    with atomic_directory(output) as partial:
        for form in publication.formats:  # first, for one may be refused
            export(loaded, form, partial / form)
            say(f"{form}: written and verified")
        lock = lock_of(loaded.config, loaded.tokenizer.hash)
        write_json(partial / "data.lock.json", lock)
        save_config(without_data(loaded.config), partial / "config.toml")
        loaded.tokenizer.save(partial / "tokenizer")
        if (lexicon := Lexicon.load(folder)) is not None:
            lexicon.save(partial)
        save_checkpoint(partial, read_info(checkpoint), parameters_of(loaded.model), name=name_to_keep(checkpoint))
        write_card(partial / "README.md", _card(loaded, folder, publication, lock))
        mark(partial, format="package")


def lock_of(config: Config, tokenizer_hash: str) -> dict[str, Any]:
    """What a run was trained on, as far as it can be known: nothing of where the files lay."""
    corpora = [("train", corpus) for corpus in config.data.train]
    corpora += [("validation", config.data.validation)] if config.data.validation else []
    corpora += [("test", config.data.test)] if config.data.test else []
    return {
        "seq2seq": version("seq2seq"),
        "tokenizer": tokenizer_hash,
        **({"base": _base(config)} if config.training.initialise_from else {}),
        "corpora": [{"role": role, **_provenance(corpus, config.data.languages)} for role, corpus in corpora],
    }


def _base(config: Config) -> str:
    """The name of the run that a run was fine-tuned from."""
    return run_of(Path(config.training.initialise_from)).name


def _provenance(corpus: CorpusConfig, languages: tuple[str, str]) -> dict[str, Any]:
    if corpus.dataset:
        kept = ("dataset", "subset", "split", "revision")
        return {name: getattr(corpus, name) for name in kept if getattr(corpus, name)}
    paths = [Path(path) for path in (corpus.source, corpus.target, corpus.path) if path]
    found: dict[str, Any] = {"files": [_file(path) for path in paths]}
    if all(path.exists() for path in paths):
        try:
            found["pairs"] = sum(1 for _ in read_corpus(corpus, languages))
        except DataError:  # changed since
            found["pairs"] = None
    return found


def _file(path: Path) -> dict[str, str | None]:
    return {"name": path.name, "sha256": _hash_of(path)}


def _hash_of(path: Path) -> str | None:
    """The SHA-256 of a file, or of the names and hashes of a folder's files; None if it is not there."""
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _card(loaded: LoadedRun, run: Path, publication: Publication, lock: Mapping[str, Any]) -> Card:
    return Card(
        name=publication.name,
        licence=publication.licence,
        formats=publication.formats,
        config=loaded.config,
        parameters=sum(parameter.numel() for parameter in parameters_of(loaded.model).values()),
        checkpoint=read_info(loaded.checkpoint),
        lock=lock,
        scores=_scores(run, loaded.checkpoint),
    )


def _scores(run: Path, checkpoint: Path) -> Mapping[str, Mapping[str, Any]]:
    """What the recipe's last stage found on the test set, if it was with this checkpoint alone."""
    try:
        scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ExportError(f"{run / 'scores.json'}: damaged; run the recipe again, or delete the file") from None
    # A mean may have been made anew.
    own_figures = {"checkpoint": checkpoint.name, "checkpoint_step": read_info(checkpoint).step}
    if any(scores.get(name, own) != own for name, own in own_figures.items()) or scores.get("models", 1) > 1:
        return {}
    return {name: score for name, score in scores.items() if isinstance(score, dict) and "signature" in score}
