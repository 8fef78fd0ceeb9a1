"""One SentencePiece model: raw text to token ids or pieces, and back.

With identity normalisation and byte fallback, `decode(encode(text)) == text` for every line of text, spaces at the ends
and in a row included. The one exception is U+2581 (▁), SentencePiece's own sign for a space: it comes back as a space.
NFKC normalisation also makes runs of spaces one and removes those at the ends.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from seq2seq.data.segmentation import BpeDropout, Piece, Segmenter, UnigramSampling
from seq2seq.errors import TokenizerError

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_LONGEST_WORD = 32  # characters that are sampled at once; longer runs, in text without spaces, are cut between pieces


class Vocabulary:
    """One SentencePiece model: text to token ids or pieces, and back.

    Attributes:
        size: pieces in the vocabulary, special ones included.
        special_ids: of padding, an unknown character, the begin and the end of a sentence.
    """

    def __init__(self, model: bytes, algorithm: str, user_symbols: Sequence[str] = ()) -> None:
        """Load a serialised model, which was trained with this algorithm and these symbols.

        Raises:
            TokenizerError: if the bytes are not a SentencePiece model with all four special pieces.
        """
        self._processor = processor = load_processor(model)
        self.size: int = processor.get_piece_size()
        self.special_ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        if min(self.special_ids) < 0:
            raise TokenizerError("a SentencePiece model without <pad>, <unk>, <s> or </s>; train it with seq2seq")
        self._algorithm = algorithm
        self._user_pieces = {symbol.replace(" ", "▁") for symbol in user_symbols}
        self._segmenters: dict[float, Segmenter] = {}

    def encode(self, texts: Sequence[str], sampling: float = 0.0, seed: int = 0) -> list[list[int]]:
        """The ids of each text with the final end of sentence, and no begin.

        Args:
            texts: lines of text.
            sampling: 0 for the best segmentation. Unigram: smoothing alpha of segmentations drawn from all possible
                ones; lower is more random and longer, 0.1 to 0.5 are usual (Kudo 2018). BPE: probability with which a
                merge is left out, usually 0.1 (Provilkov et al. 2020).
            seed: of the sampling, from 0; the ids are a function of the texts, `sampling` and `seed`.
        """
        encoded = self._ids(texts)
        if sampling == 0.0:
            return encoded
        if sampling not in self._segmenters:
            self._segmenters[sampling] = self._segmenter(sampling)
        segmenter, generator = self._segmenters[sampling], random.Random(seed)
        return [self._resample(ids, segmenter, generator) for ids in encoded]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(texts, out_type=int, add_eos=True)

    def _segmenter(self, sampling: float) -> Segmenter:
        pieces = {text: Piece(i, self._processor.get_score(i)) for i, text in enumerate(self._word_pieces) if text}
        return UnigramSampling(pieces, sampling) if self._algorithm == "unigram" else BpeDropout(pieces, sampling)

    @cached_property
    def _word_pieces(self) -> list[str]:
        """The piece of each id, or nothing where it is never part of a word: special, a byte or a user symbol."""
        p = self._processor
        pieces = self.tokens(range(self.size))
        for i, piece in enumerate(pieces):
            if p.is_control(i) or p.is_unknown(i) or p.is_byte(i) or piece in self._user_pieces:
                pieces[i] = ""
        return pieces

    @cached_property
    def byte_ids(self) -> list[int]:
        """The ids of the pieces in which unknown characters are spelt, if it has such."""
        return [i for i, piece in enumerate(self.tokens(range(self.size))) if _BYTE.fullmatch(piece)]

    def _resample(self, ids: list[int], segmenter: Segmenter, generator: random.Random) -> list[int]:
        """The ids with another segmentation of each word."""
        sampled: list[int] = []
        word, word_pieces = "", self._word_pieces
        for token in ids:
            text = word_pieces[token]
            if word and (not text or text[0] == "▁" or len(word) >= _LONGEST_WORD):
                sampled += segmenter(word, generator)
                word = ""
            if text:
                word += text
            else:
                sampled.append(token)  # as the final end of sentence is, so no word is left
        return sampled

    def pieces(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of each text, without end of sentence; no piece contains a space."""
        return self._encode(texts, out_type=str)

    def _encode(self, texts: Sequence[str], **options: Any) -> list[Any]:
        try:
            encoded: list[Any] = self._processor.encode(list(texts), num_threads=1, **options)
            return encoded
        except (TypeError, UnicodeEncodeError):  # SentencePiece does not say which text
            for text in texts:
                if any("\ud800" <= character <= "\udfff" for character in text):
                    raise TokenizerError(f"{text[:40]!r}: holds half a surrogate pair; give whole characters") from None
            raise

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, on one line and always valid Unicode.

        Padding, begin and end are dropped; an unknown character reads ⁇; bytes that are not UTF-8 read U+FFFD; a line
        end spelt in bytes becomes a space.

        Raises:
            TokenizerError: if an id is not in the vocabulary.
        """
        pad, _, bos, eos = self.special_ids
        kept = [token for token in self._checked(ids) if token not in (pad, bos, eos)]
        return one_line(self._processor.decode(kept))

    def join(self, pieces: Sequence[str]) -> str:
        """The text of pieces as `pieces` gives them; what is not a piece of the vocabulary stands for itself."""
        return one_line(self._processor.decode(list(pieces), out_type=str))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The piece of every id, special ones included.

        Raises:
            TokenizerError: if an id is not in the vocabulary.
        """
        return [str(self._processor.id_to_piece(token)) for token in self._checked(ids)]

    def _checked(self, ids: Sequence[int]) -> list[int]:
        for token in ids:
            if not 0 <= token < self.size:
                raise TokenizerError(f"token id {token}: not in this vocabulary; its ids are 0 to {self.size - 1}")
        return list(ids)


def load_processor(model: bytes) -> Any:
    """SentencePiece's processor of a serialised model.

    Raises:
        TokenizerError: if the bytes are not a SentencePiece model.
    """
    import sentencepiece

    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        size = processor.get_piece_size()
    except RuntimeError:
        raise TokenizerError("not a SentencePiece model, or a damaged one; train the tokenizer again") from None
    if size == 0:  # SentencePiece takes no bytes for a model without pieces
        raise TokenizerError("an empty SentencePiece model; train the tokenizer again")
    return processor


def one_line(text: str) -> str:
    """The text with a space for each line end, which bytes may spell."""
    return text.replace("\r\n", " ").replace("\n", " ")
