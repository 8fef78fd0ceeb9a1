"""Choosing among translations by their length, and by how well the source can be had back, with a reverse model.

A translation y of a source x scores

    log p(y | x) / penalty(|y|) + weight * log p(x | y) / penalty(|x|) + reward * |y|

with lengths in tokens, the end token included. Without a length penalty (`length_penalty = 0`) that is the criterion of
Li et al. 2016 (arXiv 1510.03055), whose model of the other direction has a weight, and so has the length;
with the default penalty, the length itself, the noisy-channel score of Yee et al. 2019 (arXiv 1908.05731) without its
language model. The reverse model sets translations back that leave something out, since the source is unlikely given
these; the reward moves the length of all translations, where these are shorter or longer than people's.
"""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.config import Config, DecodingConfig
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.scoring import score_tokens
from seq2seq.decoding.search import Hypothesis, best_first, length_penalty
from seq2seq.errors import DecodingError
from seq2seq.languages import differ
from seq2seq.model.transformer import Transformer


class ReverseModel:
    """A model that translates back; its tokenizer may be another one."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, tag: str = "") -> None:
        """Put the model into evaluation mode (no dropout); a tag stands before each text that it translates back."""
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._before = f"{tag} " if tag else ""

    def scores(self, pairs: Sequence[tuple[str, str]], config: DecodingConfig) -> list[float]:
        """`log p(x | y) / penalty(|x|)` of pairs of x and y; of what is too long it sees the start."""
        sources = self._cut(self._tokenizer.encode_target([source for source, _ in pairs]))
        translations = self._cut(self._tokenizer.encode_source([f"{self._before}{text}" for _, text in pairs]))
        log_probs = score_tokens(self._model, self._tokenizer, translations, sources, config.batch_tokens)
        return [value / length_penalty(len(x), config) for value, x in zip(log_probs, sources, strict=True)]

    def _cut(self, texts: Sequence[list[int]]) -> list[list[int]]:
        limit = self._model.config.max_length
        return [text if len(text) <= limit else [*text[: limit - 1], text[-1]] for text in texts]


def check_directions(forward: Config, reverse: Config, name: str) -> None:
    """Refuse a run that does not translate back what another one translates; where a language is not known, pass.

    Raises:
        DecodingError: which names the run and the languages.
    """
    there, back = forward.data.languages, reverse.data.languages
    if differ(there, (back[1], back[0])):
        raise DecodingError(
            f"{name}: translates {back[0]} to {back[1]}; a run that chooses among translations of {there[0]} to "
            f"{there[1]} must translate {there[1]} to {there[0]}"
        )


def rerank(
    hypotheses: Sequence[Hypothesis], reverse_scores: Sequence[float | None], config: DecodingConfig
) -> list[Hypothesis]:
    """Hypotheses whose scores are the model's own, with what else counts added to these; the best first."""
    return best_first(
        [
            each._replace(
                score=each.score + beyond_the_model(len(each.tokens) + 1, reverse, config), reverse_score=reverse
            )
            for each, reverse in zip(hypotheses, reverse_scores, strict=True)
        ]
    )


def reweighted(hypotheses: Sequence[Hypothesis], change: float) -> list[Hypothesis]:
    """Hypotheses with the weight of their reverse scores changed by so much; the best first."""
    return best_first(
        [each._replace(score=each.score + change * (each.reverse_score or 0.0)) for each in hypotheses]
    )


def beyond_the_model(length: int, reverse_score: float | None, config: DecodingConfig) -> float:
    """What a translation of `length` tokens gets beside the model's own score."""
    return config.length_reward * length + config.reverse_weight * (reverse_score or 0.0)
