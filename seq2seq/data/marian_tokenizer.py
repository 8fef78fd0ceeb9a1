"""The tokenizers of Marian models as Hugging Face has them (OPUS-MT): ids that a JSON file gives to pieces of text.

Two SentencePiece models, one for each side, only cut text into pieces; `vocab.json`, mostly of both sides together,
says which id a piece has. What comes out is what `transformers.MarianTokenizer` gives, but for two cases: special
tokens that are written out in a text (`</s>`) are text here, and what begins with `>>` and has white space before the
`<<` is no language code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from seq2seq.data.segmentation import Piece, Segmenter, UnigramSampling
from seq2seq.data.tokenizer import MARIAN_FILES, Tokenizer, read_checked
from seq2seq.data.vocabulary import Vocabulary, load_processor, one_line
from seq2seq.errors import TokenizerError

_SOURCE, _TARGET, _VOCAB, _TARGET_VOCAB = MARIAN_FILES
_PAD, _UNK, _END = "<pad>", "<unk>", "</s>"
_CODE = re.compile(r">>\S*?<<")


class MarianVocabulary(Vocabulary):
    """One side: a SentencePiece model that cuts text, and the ids of its pieces.

    A language code in front of a text, such as `>>fra<<`, is one piece. What has no id is unknown.
    """

    def __init__(self, model: bytes, ids: Mapping[str, int], size: int, start_id: int) -> None:
        """Join a serialised SentencePiece model with ids.

        Args:
            model: of this side.
            ids: of all pieces, maybe with those of the other side among them.
            size: rows of the embedding, of which some may belong to no piece; 0: as many as the ids need.
            start_id: what a target begins with.

        Raises:
            TokenizerError: if the model is damaged, a special token has no id, or an id is over the size.
        """
        self._processor = load_processor(model)
        self._ids_of = dict(ids)
        needed = max(ids.values()) + 1
        self.size = size or needed
        if needed > self.size:
            raise TokenizerError(f"{_VOCAB} goes up to id {needed - 1}, but the model has {self.size} embeddings")
        missing = [token for token in (_PAD, _UNK, _END) if token not in ids]
        if missing:
            raise TokenizerError(f"{_VOCAB} has no {missing[0]}, which every Marian vocabulary has")
        self.special_ids = (ids[_PAD], ids[_UNK], start_id, ids[_END])
        self._pieces = [f"<id:{token}>" for token in range(self.size)]
        for piece, token in ids.items():
            self._pieces[token] = piece
        self._algorithm = _algorithm(self._processor)
        self._segmenters = {}

    @cached_property
    def unused(self) -> frozenset[int]:
        """The ids that belong to no piece."""
        return frozenset(range(self.size)) - frozenset(self._ids_of.values())

    @property
    def algorithm(self) -> str:
        """How the SentencePiece model cuts, `unigram` or `bpe`."""
        return self._algorithm

    def pieces(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of each text, without end of sentence; no piece contains a space."""
        codes = [found[0] if (found := _CODE.match(text)) else "" for text in texts]
        rests = [text[len(code) :] for text, code in zip(texts, codes, strict=True)]
        cut = self._encode(rests, out_type=str)
        return [[code, *pieces] if code else pieces for code, pieces in zip(codes, cut, strict=True)]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        _, unknown, _, end = self.special_ids
        return [[*(self._ids_of.get(piece, unknown) for piece in pieces), end] for pieces in self.pieces(texts)]

    def _segmenter(self, sampling: float) -> Segmenter:
        if self._algorithm != "unigram":
            raise TokenizerError(
                f"`training.subword_sampling` = {sampling:g}: this Marian tokenizer has lost the characters that byte "
                "pairs are merged from; set it to 0"
            )
        scored = ((text, token, self._processor.piece_to_id(text)) for token, text in enumerate(self._word_pieces))
        return UnigramSampling(
            {text: Piece(token, self._processor.get_score(place)) for text, token, place in scored if text}, sampling
        )

    @cached_property
    def _word_pieces(self) -> list[str]:
        """The piece of each id, or nothing where it is not an ordinary one of this side's SentencePiece model."""
        p = self._processor
        pieces = list(self._pieces)
        for token, (piece, place) in enumerate(zip(pieces, p.piece_to_id(pieces), strict=True)):
            special = p.is_unknown(place) or p.is_control(place) or p.is_byte(place)
            if special or p.get_score(place) == 0 or _CODE.fullmatch(piece):  # symbols of users have the score 0
                pieces[token] = ""
        return pieces

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, on one line; special tokens and ids of no piece are dropped.

        Raises:
            TokenizerError: if an id is not in the vocabulary.
        """
        kept = [token for token in self._checked(ids) if token not in self.special_ids and token not in self.unused]
        return self.join([self._pieces[token] for token in kept])

    def join(self, pieces: Sequence[str]) -> str:
        """The text of pieces as `pieces` gives them."""
        text: str = self._processor.decode(list(pieces), out_type=str)
        return one_line(text.replace("▁", " ")).strip()  # it leaves the sign for a space in pieces of the other side

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The piece of every id, special ones included; `<id:N>` for ids of no piece.

        Raises:
            TokenizerError: if an id is not in the vocabulary.
        """
        return [self._pieces[token] for token in self._checked(ids)]


class MarianTokenizer(Tokenizer):
    """The tokenizer of a Marian model, its files kept as they are.

    It is joint where one `vocab.json` serves both sides, although each side has a SentencePiece model of its own. There
    is no token for the begin: `bos_id` is what the decoder starts with, which usually is padding.
    """

    def __init__(
        self, files: Mapping[str, bytes], start_id: int, source_vocab_size: int = 0, target_vocab_size: int = 0
    ) -> None:
        """Make a tokenizer of the files of a Marian model.

        Args:
            files: contents of source.spm, target.spm and vocab.json, and of target_vocab.json if each side has a
                vocabulary of its own.
            start_id: what the decoder's input begins with.
            source_vocab_size: source embeddings of the model; 0: as many as there are ids.
            target_vocab_size: the same of the target.

        Raises:
            TokenizerError: if a file is damaged, or they do not fit one another.
        """
        self.files = {name: files[name] for name in MARIAN_FILES if name in files}
        self.model_files = (_SOURCE, _TARGET)
        self.joint = _TARGET_VOCAB not in files
        ids = _read_ids(files, _VOCAB)
        target_ids = ids if self.joint else _read_ids(files, _TARGET_VOCAB)
        self.source: MarianVocabulary = MarianVocabulary(files[_SOURCE], ids, source_vocab_size, start_id)
        self.target: MarianVocabulary = MarianVocabulary(files[_TARGET], target_ids, target_vocab_size, start_id)
        if self.joint and self.source.size != self.target.size:
            raise TokenizerError(
                f"one {_VOCAB} for both sides, but {self.source.size} source and {self.target.size} target embeddings"
            )
        self.pad_id = self.source.special_ids[0]
        _, self.unk_id, self.bos_id, self.eos_id = self.target.special_ids
        if self.source.special_ids[3] != self.eos_id:
            raise TokenizerError(f"{_VOCAB} and {_TARGET_VOCAB} have different ids for {_END}")
        for name, token in (("start token", start_id), (_PAD, self.pad_id)):
            if not 0 <= token < self.target.size:
                raise TokenizerError(f"id {token} of the {name}: the target's ids are 0 to {self.target.size - 1}")
        self.start_id = start_id
        never = {*self.target.special_ids, *self.target.unused} - {self.eos_id}
        self.never_output = tuple(sorted(never))
        self.algorithm = self.source.algorithm
        self.normalization = "nfkc"  # or what else the models have inside
        self.user_symbols = ()
        sizes = f"{start_id} {self.source.size} {self.target.size}".encode()
        self.hash = hashlib.sha256(b"".join([*self.files.values(), sizes])).hexdigest()

    def _info(self) -> dict[str, Any]:
        return {
            "kind": "marian",
            "algorithm": self.algorithm,
            "start_id": self.start_id,
            "source_vocab_size": self.source.size,
            "target_vocab_size": self.target.size,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()},
        }


def read_marian(folder: Path, info: Mapping[str, Any]) -> MarianTokenizer:
    """Read a tokenizer that `save` wrote, of which tokenizer.toml says `info`.

    Raises:
        TokenizerError: if a file is missing, damaged, or not the one that was saved.
    """
    try:
        names = [*MARIAN_FILES[:3], *({_TARGET_VOCAB} & info["files"].keys())]
        checksums = {name: str(info["files"][name]) for name in names}
        numbers = [int(info[name]) for name in ("start_id", "source_vocab_size", "target_vocab_size")]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TokenizerError(f"{folder / 'tokenizer.toml'}: damaged: lacks a setting; import the model again") from None
    files = {name: read_checked(folder / name, checksum) for name, checksum in checksums.items()}
    try:
        return MarianTokenizer(files, *numbers)
    except TokenizerError as error:
        raise TokenizerError(f"{folder}: {error}") from None


def _read_ids(files: Mapping[str, bytes], name: str) -> dict[str, int]:
    try:
        ids = json.loads(files[name].decode("utf-8"))
    except ValueError:
        raise TokenizerError(f"{name}: not JSON; get the file again") from None
    if not isinstance(ids, dict) or not ids or not all(type(token) is int and token >= 0 for token in ids.values()):
        raise TokenizerError(f"{name}: does not give each piece an id; get the file again")
    if len(set(ids.values())) < len(ids):
        raise TokenizerError(f"{name}: gives two pieces the same id; get the file again")
    return dict(ids)


def _algorithm(processor: Any) -> str:
    """How a SentencePiece model cuts: scores are log-probabilities in unigram models, and ranks of merges in BPE."""
    scores = [processor.get_score(place) for place in range(processor.get_piece_size())]
    return "bpe" if all(score == int(score) for score in scores) else "unigram"
