"""Many translations of each sentence, and the choice of the best: by minimum Bayes risk, a reverse model, or length.

Minimum Bayes risk (Kumar and Byrne 2004; Eikema and Aziz 2020, arXiv 2005.10283) chooses the candidate with the highest
expected utility: its mean chrF or BLEU with every candidate, itself included, as the reference. Equal candidates count
as often as they were found. Of samples the mean is an estimate of the expectation over what the model believes; the
hypotheses of a beam are no sample, yet to count each once gave better translations than to weigh them by probability.
Which search finds candidates, the other settings say. The utilities of N of them take time in O(N^2): see
`seq2seq.decoding.utility`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seq2seq.config import DecodingConfig
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.engine import Engine, Task
from seq2seq.decoding.reranking import ReverseModel, rerank
from seq2seq.decoding.search import Hypothesis, best_first
from seq2seq.decoding.utility import bleu_utilities, chrf_utilities
from seq2seq.errors import DecodingError


class CandidateEngine:
    """An engine with a choice among its translations, where the settings or a reverse model ask for one."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, reverse: ReverseModel | None = None) -> None:
        """Choose among what an engine finds; `tokenizer` is its own."""
        self._engine = engine
        self._tokenizer = tokenizer
        self._reverse = reverse

    @property
    def max_length(self) -> int:
        """The engine's."""
        return self._engine.max_length

    @property
    def workers(self) -> int:
        """The engine's."""
        return self._engine.workers

    @property
    def in_processes(self) -> bool:
        """The engine's."""
        return self._engine.in_processes

    def check(self, config: DecodingConfig) -> None:
        """Refuse settings that the engine does not know, and two choices at once.

        Raises:
            DecodingError: which names the setting.
        """
        if self._reverse is not None and config.mbr != "off":
            raise DecodingError(f"`decoding.mbr` = {config.mbr}: a reverse model chooses already; leave one out")
        if self._reverse is not None and config.n_best > config.candidates:
            raise DecodingError(
                f"`decoding.n_best` = {config.n_best}: is over `decoding.candidates` = {config.candidates}"
            )
        self._engine.check(self._settings(config))

    def prepare(self, config: DecodingConfig) -> None:
        """Have the engine make ready."""
        self._engine.prepare(self._settings(config))

    def batch_size(self, config: DecodingConfig) -> int:
        """Sentences to search together, so that candidates are no more than the hypotheses of a plain beam search."""
        if not self._chooses(config):
            return config.batch_size
        return max(config.batch_size * config.beam_size // self._settings(config).n_best, 1)

    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, or its candidates, no two with the same text; best first."""
        if not self._chooses(config):
            return self._engine.search(tasks, config)
        settings = self._settings(config)
        found = [hypotheses[: settings.n_best] for hypotheses in self._engine.search(tasks, settings)]
        texts = [[self._tokenizer.decode_target(each.tokens) for each in hypotheses] for hypotheses in found]
        if config.mbr != "off":
            return [_most_useful(*each, config) for each in zip(found, texts, strict=True)]
        distinct = [_distinct(*each) for each in zip(found, texts, strict=True)]
        pairs = [(task.text, text) for task, candidates in zip(tasks, distinct, strict=True) for text in candidates]
        scores = iter(self._reverse.scores(pairs, config) if self._reverse is not None else [None] * len(pairs))
        return [
            rerank(list(candidates.values()), [next(scores) for _ in candidates], config) for candidates in distinct
        ]

    def _chooses(self, config: DecodingConfig) -> bool:
        return self._reverse is not None or config.mbr != "off" or config.length_reward != 0

    def _settings(self, config: DecodingConfig) -> DecodingConfig:
        """What the engine is asked for."""
        if not self._chooses(config):
            return config
        number = max(config.candidates, config.n_best)
        return replace(config, mbr="off", length_reward=0.0, n_best=number, beam_size=max(config.beam_size, number))


def _most_useful(
    hypotheses: Sequence[Hypothesis], texts: Sequence[str], config: DecodingConfig
) -> list[Hypothesis]:
    """The distinct candidates with their expected utilities, 0 to 100, as scores: best first, of equals the earlier."""
    distinct, counts = _distinct(hypotheses, texts), Counter(texts)
    utilities = (chrf_utilities if config.mbr == "chrf" else bleu_utilities)(list(distinct))
    expected = utilities @ np.array([counts[text] for text in distinct]) / len(texts)
    scored = zip(distinct.values(), expected.round(9).tolist(), strict=True)  # equals differ by rounding alone
    return best_first([candidate._replace(score=score) for candidate, score in scored])


def _distinct(hypotheses: Sequence[Hypothesis], texts: Sequence[str]) -> dict[str, Hypothesis]:
    """The first hypothesis of each text."""
    found: dict[str, Hypothesis] = {}
    for text, hypothesis in zip(texts, hypotheses, strict=True):
        found.setdefault(text, hypothesis)
    return found
