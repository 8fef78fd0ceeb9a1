"""Subword tokenizers: SentencePiece models (Kudo and Richardson 2018), trained here; raw text in, raw text out.

Those of published Marian models are in `seq2seq.data.marian_tokenizer`; `Tokenizer.load` reads both kinds.

Training is deterministic: the sample of lines is a function of the seed, and the number of threads, on which sums of
floats depend, is fixed. So is subword sampling, which is not SentencePiece's: see `seq2seq.data.segmentation`.
"""

from __future__ import annotations

import hashlib
import io
import random
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from seq2seq.config import TokenizerConfig
from seq2seq.data.case_folding import fold_case, folding_case
from seq2seq.data.vocabulary import Vocabulary
from seq2seq.errors import TokenizerError
from seq2seq.files import atomic_directory, atomic_write

_PAD, _UNK, _BOS, _EOS = 0, 1, 2, 3
_RESERVED = re.compile(r"<pad>|<unk>|</?s>|<0x[0-9A-F]{2}>")
_LONGEST_LINE = 10_000  # characters of a line that the tokenizer is trained on; a line without end must not fill memory
_THREADS = 8  # of the trainer; the model depends on the number, so it is not that of the machine
_INFO = "tokenizer.toml"
_SIDES = (("joint",), ("source", "target"))
MARIAN_FILES = ("source.spm", "target.spm", "vocab.json", "target_vocab.json")  # the last one if sides have their own


class Tokenizer:
    """The vocabularies of both sides: one shared by both (joint), or one each.

    Attributes:
        source, target: the vocabularies; the same object when one model serves both sides.
        joint: whether both sides share their pieces and ids.
        hash: SHA-256 over the models, the identity of the tokenizer.
        algorithm, normalization, user_symbols: as in `TokenizerConfig`.
        pad_id, unk_id, bos_id, eos_id: special ids, the same on both sides.
        start_id: what the decoder's input begins with.
        never_output: ids that no translation holds; search leaves them out.
        files: by name, the bytes of the files that it consists of.
        model_files: of these, the SentencePiece models that cut source and target text into pieces.
    """

    def __init__(
        self,
        models: Mapping[str, bytes],
        *,
        algorithm: str,
        normalization: str,
        user_symbols: Sequence[str] = (),
        joint: bool = False,
    ) -> None:
        """Make a tokenizer of serialised models.

        Args:
            models: SentencePiece models under "joint", or under "source" and "target".
            algorithm: as in `TokenizerConfig`.
            normalization: as in `TokenizerConfig`.
            user_symbols: as in `TokenizerConfig`.
            joint: whether two models have the same pieces, as they may where only one of them folds case.

        Raises:
            TokenizerError: if a model is damaged, or the special ids of the two differ, or the pieces of joint ones.
        """
        assert tuple(models) in _SIDES, f"models must be one of {_SIDES}"
        self.files = {f"{name}.model": model for name, model in models.items()}
        self.model_files = (next(iter(self.files)), next(reversed(self.files)))
        self.algorithm = algorithm
        self.normalization = normalization
        self.user_symbols = tuple(user_symbols)
        self.joint = joint or "joint" in models
        self.hash = hashlib.sha256(b"".join(models.values())).hexdigest()
        vocabularies = [Vocabulary(model, algorithm, user_symbols) for model in models.values()]
        self.source, self.target = vocabularies[0], vocabularies[-1]
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = self.source.special_ids
        self.start_id = self.bos_id
        self.never_output: tuple[int, ...] = (self.pad_id, self.unk_id, self.bos_id)
        if self.source.special_ids != self.target.special_ids:
            raise TokenizerError("source.model and target.model have different special ids; train them together")
        if joint and len(models) > 1:
            source, target = (each.tokens(range(each.size)) for each in vocabularies)
            if source != target:
                raise TokenizerError("source.model and target.model have different pieces; train them together")

    @property
    def source_vocab_size(self) -> int:
        """Pieces of the source vocabulary."""
        return self.source.size

    @property
    def target_vocab_size(self) -> int:
        """Pieces of the target vocabulary."""
        return self.target.size

    def encode_source(self, texts: Sequence[str], sampling: float = 0.0, seed: int = 0) -> list[list[int]]:
        """The source ids of each text; see `Vocabulary.encode`."""
        return self.source.encode(texts, sampling, seed)

    def encode_target(self, texts: Sequence[str], sampling: float = 0.0, seed: int = 0) -> list[list[int]]:
        """The target ids of each text; see `Vocabulary.encode`."""
        return self.target.encode(texts, sampling, seed)

    def decode_source(self, ids: Sequence[int]) -> str:
        """The text of source ids; see `Vocabulary.decode`."""
        return self.source.decode(ids)

    def decode_target(self, ids: Sequence[int]) -> str:
        """The text of target ids; see `Vocabulary.decode`."""
        return self.target.decode(ids)

    def source_pieces(self, text: str) -> list[str]:
        """The pieces of one source text."""
        return self.source.pieces([text])[0]

    def target_tokens(self, ids: Sequence[int]) -> list[str]:
        """The piece of every target id."""
        return self.target.tokens(ids)

    def check_tag(self, tag: str) -> None:
        """Refuse a tag that is not one piece of the source vocabulary, beside what marks the begin of a word.

        Raises:
            TokenizerError: if it would be split, or is unknown.
        """
        ids = self.source.encode([tag])[0][:-1]
        if self.unk_id in ids or self.source.tokens(ids) not in ([tag], ["▁", tag], [f"▁{tag}"]):
            known = ", ".join(self.user_symbols) or "none"
            raise TokenizerError(
                f"tag {tag!r}: is no piece of the vocabulary (symbols it knows: {known}); train a tokenizer with it, "
                "by a `tag` of a corpus or `tokenizer.user_symbols`"
            )

    def save(self, folder: Path | str) -> None:
        """Write its files and tokenizer.toml into a folder, whole or not at all; a tokenizer there is replaced.

        Raises:
            TokenizerError: if the folder cannot be written, or holds anything but a tokenizer.
        """
        import tomli_w

        folder = Path(folder)
        check_output(folder)
        try:
            with atomic_directory(folder) as partial:
                for name, content in self.files.items():
                    (partial / name).write_bytes(content)
                with atomic_write(partial / _INFO) as file:
                    file.write(tomli_w.dumps(self._info()))
        except OSError as error:
            raise TokenizerError(f"{folder}: cannot write the tokenizer: {error.strerror or error}") from None

    def _info(self) -> dict[str, Any]:
        """What tokenizer.toml says."""
        sizes = (self.source.size, self.target.size)
        return {
            "algorithm": self.algorithm,
            "normalization": self.normalization,
            "user_symbols": self.user_symbols,
            "joint": self.joint,
            "models": {
                name.removesuffix(".model"): {"vocab_size": size, "sha256": hashlib.sha256(model).hexdigest()}
                for (name, model), size in zip(self.files.items(), sizes, strict=False)
            },
        }

    @classmethod
    def load(cls, folder: Path | str) -> Tokenizer:
        """Read a tokenizer that `save` wrote.

        Raises:
            TokenizerError: if the folder or a file is missing, damaged, or not the one that was saved.
        """
        folder = Path(folder)
        info = _read_info(folder)
        if info.get("kind") == "marian":
            from seq2seq.data.marian_tokenizer import read_marian

            return read_marian(folder, info)
        try:
            checksums = {name: entry["sha256"] for name, entry in info["models"].items()}
            settings = {name: str(info[name]) for name in ("algorithm", "normalization")}
            symbols = [str(symbol) for symbol in info["user_symbols"]]
            names = next(names for names in _SIDES if set(names) == set(checksums))
        except (KeyError, TypeError, AttributeError, StopIteration):
            raise TokenizerError(f"{folder / _INFO}: damaged: lacks a setting; train the tokenizer again") from None
        models = {name: read_checked(folder / f"{name}.model", checksums[name]) for name in names}
        try:
            return cls(models, **settings, user_symbols=symbols, joint=info.get("joint") is True)
        except TokenizerError as error:
            raise TokenizerError(f"{folder}: {error}") from None


def train_tokenizer(
    config: TokenizerConfig, source: Iterable[str], target: Iterable[str], output: Path | str
) -> Tokenizer:
    """Train a tokenizer on lines of text and save it into the folder `output`.

    Blank lines do not count, of very long ones the first 10,000 characters do. A joint vocabulary is trained on the
    lines of both sides; with `fold_source_case`, one model for each side has its pieces. Special ids are pad 0, unk 1,
    bos 2, eos 3.

    Args:
        config: the settings; `path` is not used.
        source: lines of the source side, read once.
        target: lines of the target side, read once.
        output: folder to write; a tokenizer that stands there is replaced.

    Raises:
        TokenizerError: if the text or the settings do not allow such a tokenizer, or `output` cannot be written.
    """
    check_output(Path(output))
    _check_symbols(config.user_symbols)
    if config.fold_source_case:
        source = fold_case(source)
    texts = {"joint": chain(source, target)} if config.joint else {"source": source, "target": target}
    models = {name: _train(config, lines, name) for name, lines in texts.items()}
    if config.fold_source_case:
        source_model, target_model = next(iter(models.values())), next(reversed(models.values()))
        models = {"source": folding_case(source_model), "target": target_model}
    tokenizer = Tokenizer(
        models,
        algorithm=config.algorithm,
        normalization=config.normalization,
        user_symbols=config.user_symbols,
        joint=config.joint,
    )
    tokenizer.save(output)
    return tokenizer


def with_tags(config: TokenizerConfig, tags: Sequence[str]) -> TokenizerConfig:
    """The settings of a tokenizer that has each tag as one piece."""
    return replace(config, user_symbols=tuple(dict.fromkeys([*config.user_symbols, *tags])))


def check_output(folder: Path) -> None:
    """Refuse an output folder in which something else than a tokenizer would be lost."""
    if folder.exists() and not folder.is_dir():
        raise TokenizerError(f"{folder}: is a file; name a folder for the tokenizer")
    if Path.cwd().is_relative_to(folder.resolve()):  # which is replaced as a whole
        raise TokenizerError(f"{folder}: is the current folder, or holds it; name a folder of its own")
    if folder.is_dir():
        ours = {_INFO, *(f"{name}.model" for name in chain(*_SIDES)), *MARIAN_FILES}
        others = sorted(path.name for path in folder.iterdir() if path.name not in ours)
        if others:
            raise TokenizerError(f"{folder}: holds other files ({others[0]}); name a new folder for the tokenizer")


def sample_lines(lines: Iterable[str], size: int, seed: int) -> list[str]:
    """At most `size` lines (0: all), each as likely as any other, in memory for `size` lines.

    Reservoir sampling (Vitter 1985, algorithm R). Blank lines are left out and very long ones are cut.
    """
    generator = random.Random(seed)
    kept: list[str] = []
    texts = (line[:_LONGEST_LINE] for line in lines if line and not line.isspace())
    for seen, text in enumerate(texts, 1):
        if size == 0 or seen <= size:
            kept.append(text)
        elif (place := int(generator.random() * seen)) < size:
            kept[place] = text
    return kept


def _train(config: TokenizerConfig, lines: Iterable[str], name: str) -> bytes:
    import sentencepiece

    sample = sample_lines(lines, config.max_sentences, config.seed)
    if not sample:
        side = "" if name == "joint" else f"{name} "
        raise TokenizerError(f"no {side}text to train the tokenizer on: all lines are empty; check the corpus")
    model = io.BytesIO()
    identity = config.normalization == "identity"
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
            model_writer=model,
            model_type=config.algorithm,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=config.byte_fallback,
            user_defined_symbols=[symbol.replace(" ", "▁") for symbol in config.user_symbols],
            normalization_rule_name=config.normalization,
            remove_extra_whitespaces=not identity,
            pad_id=_PAD,
            unk_id=_UNK,
            bos_id=_BOS,
            eos_id=_EOS,
            unk_surface="⁇",  # the default has spaces around it, which would double those of the text
            max_sentence_length=16 * _LONGEST_LINE,  # in bytes: SentencePiece drops longer lines without a word
            num_threads=_THREADS,
            minloglevel=2,  # errors only: they are raised too, and the log would reach the user's terminal
        )
    except (RuntimeError, ValueError) as error:
        raise TokenizerError(_explain(str(error), config, name)) from None
    return model.getvalue()


def _check_symbols(symbols: Sequence[str]) -> None:
    for place, symbol in enumerate(symbols):
        reason = ""
        if not symbol.strip() or "\n" in symbol:
            reason = "is blank or holds a line end"
        elif _RESERVED.fullmatch(symbol):
            reason = "is a special piece already"
        elif symbol in symbols[:place]:
            reason = "is there twice"
        if reason:
            raise TokenizerError(f"`tokenizer.user_symbols`: {symbol!r} {reason}; remove it")


def _explain(message: str, config: TokenizerConfig, name: str) -> str:
    """One line for the user from an error of the trainer."""
    text = "text" if name == "joint" else f"{name} text"
    setting = f"`tokenizer.vocab_size` = {config.vocab_size}"
    if found := re.search(r"size too high .*value <= (\d+)", message):
        return f"{setting}: too high for so little {text}; set it to {found[1]} or less"
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        remedy = f"set it to more than {found[1]}, or lower `tokenizer.character_coverage`"
        return f"{setting}: too low for all characters, bytes and symbols of the {text}; {remedy}"
    if "!sentences_.empty()" in message:
        return f"no {text} to train the tokenizer on: nothing is left but reserved characters; check the corpus"
    return f"cannot train the tokenizer on the {text}: {' '.join(message.split())}"


def _read_info(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / _INFO).read_bytes().decode("utf-8"))
    except FileNotFoundError:
        what = "no tokenizer.toml in this folder" if folder.is_dir() else "no such tokenizer folder"
        raise TokenizerError(f"{folder}: {what}; `seq2seq tokenizer train FILE... --output DIR` makes one") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise TokenizerError(f"{folder / _INFO}: damaged: not TOML; train the tokenizer again") from None
    except OSError as error:
        raise TokenizerError(f"{folder}: cannot read the tokenizer: {error.strerror}") from None


def read_checked(path: Path, checksum: str) -> bytes:
    """The bytes of a tokenizer's file.

    Raises:
        TokenizerError: if it is missing, or has not this SHA-256.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise TokenizerError(f"{path}: missing; restore the file or train the tokenizer again") from None
    except OSError as error:
        raise TokenizerError(f"{path}: cannot read the tokenizer: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != checksum:
        raise TokenizerError(
            f"{path}: damaged or replaced: SHA-256 is {found[:12]}..., {_INFO} has {str(checksum)[:12]}...; "
            "restore the file or train the tokenizer again"
        )
    return content
