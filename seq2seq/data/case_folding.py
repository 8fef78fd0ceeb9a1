"""Text regardless of upper and lower case, by SentencePiece's own normalisation: so every reader of the model does it.

Nothing but a model's rule differs, so a model that folds case and one that does not can have the same pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_RULE = "nfkc_cf"  # NFKC, and each letter in lower case
_NORMALIZER_SPEC = b"\x1a"  # field 3 of SentencePiece's ModelProto, whose length and content follow


def fold_case(lines: Iterable[str]) -> Iterator[str]:
    """The lines as a model of `folding_case` sees them, spaces aside."""
    from sentencepiece import SentencePieceNormalizer

    normalizer = SentencePieceNormalizer(
        rule_name=_RULE, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
    )
    return (normalizer.normalize(line) for line in lines)


def folding_case(model: bytes) -> bytes:
    """The serialised SentencePiece model with the same pieces that folds the case of text first.

    Protocol buffers read messages in a row as one, in which later values stand: what is added sets the rule alone.
    """
    from sentencepiece import SentencePieceNormalizer

    specification: bytes = SentencePieceNormalizer(rule_name=_RULE).serialized_normalizer_spec()
    return model + _NORMALIZER_SPEC + _varint(len(specification)) + specification


def _varint(number: int) -> bytes:
    """A length as protocol buffers write it: seven bits a byte, the lowest first."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
