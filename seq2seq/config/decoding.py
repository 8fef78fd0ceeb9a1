"""Settings of translating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seq2seq.config.bounds import at_least, check_tag, within
from seq2seq.errors import ConfigError

WeightPrecision = Literal["float32", "int8", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """Search: beam search, greedy (a beam of 1), or sampling."""

    beam_size: Annotated[int, "hypotheses kept at each step; 1 is greedy"] = 5
    n_best: Annotated[
        int, "translations to give for each sentence; at most beam_size, or candidates if one of them is chosen"
    ] = 1
    length_penalty: Annotated[float, "alpha: scores are log-probability / length penalty; 0 for none"] = 1.0
    length_penalty_form: Annotated[
        Literal["power", "gnmt"], "length^alpha, or ((5 + length) / 6)^alpha (Wu et al. 2016, equation 14)"
    ] = "power"
    patience: Annotated[float, "the search ends at patience * beam_size finished hypotheses (Kasai et al. 2022)"] = 1.0
    max_length_ratio: Annotated[float, "longest output in tokens: ratio * source tokens + max_length_offset"] = 2.0
    max_length_offset: Annotated[int, "tokens added to the longest output"] = 20
    min_length_ratio: Annotated[float, "shortest output in tokens: ratio * source tokens"] = 0.0
    no_repeat_ngram: Annotated[int, "n-grams of tokens of this size occur once at most, 0 for no rule"] = 0
    tag: Annotated[str, "put before each text to translate, as in training: <2de>; must be one piece"] = ""
    sample: Annotated[bool, "draw translations from the model instead of searching for the best"] = False
    temperature: Annotated[float, "of sampling; below 1 sharper"] = 1.0
    top_k: Annotated[int, "sample from the k likeliest tokens, 0 for all"] = 0
    top_p: Annotated[float, "sample from the likeliest tokens of this total probability (Holtzman et al. 2020)"] = 1.0
    epsilon: Annotated[float, "sample tokens of at least this probability only (Hewitt et al. 2022), 0 for all"] = 0.0
    seed: Annotated[int, "seed of sampling"] = 1
    mbr: Annotated[
        Literal["off", "chrf", "bleu"],
        "choose the candidate most like all others, by minimum Bayes risk (Eikema and Aziz 2020), and in which "
        "measure; bleu is of words, so for languages without spaces between them, chrf",
    ] = "off"
    candidates: Annotated[
        int, "found for each sentence, by beam search or sampling, where mbr, another run or length_reward chooses"
    ] = 32
    reverse_weight: Annotated[
        float, "of a run that translates back: candidates get score + weight * score of the source (Yee et al. 2019)"
    ] = 0.5
    length_reward: Annotated[
        float, "added to a candidate's score for each of its tokens, or taken off: candidates are chosen by it, too"
    ] = 0.0
    batch_size: Annotated[int, "sentences decoded together, at most"] = 64
    batch_tokens: Annotated[int, "source tokens decoded together, padding included, at most"] = 4096
    precision: Annotated[
        WeightPrecision,
        "of matrix products; int8 weights are rounded at loading: faster on a CPU, nearly the same translations",
    ] = "float32"
    shortlist: Annotated[
        bool, "consider only likely translations of the source's tokens, by the run's lexicon: faster, not the same"
    ] = False
    too_long: Annotated[
        Literal["split", "refuse"], "what becomes of sentences that are longer than any of training, `data.max_length`"
    ] = "split"

    def __post_init__(self) -> None:
        """Check the bounds and what must fit together."""
        for name in ("beam_size", "n_best", "candidates", "batch_size", "batch_tokens"):
            at_least(f"decoding.{name}", getattr(self, name), 1)
        for name in (
            "max_length_ratio", "max_length_offset", "min_length_ratio", "no_repeat_ngram", "top_k",
        ):  # fmt: skip
            at_least(f"decoding.{name}", getattr(self, name), 0)
        check_tag("decoding.tag", self.tag)
        within("decoding.length_penalty", self.length_penalty, 0, 20)
        within("decoding.patience", self.patience, 0.01, 100)
        within("decoding.top_p", self.top_p, 1e-6, 1)
        within("decoding.epsilon", self.epsilon, 0, 1)
        within("decoding.reverse_weight", self.reverse_weight, 0, 1000)
        within("decoding.temperature", self.temperature, 1e-3, 100)
        within("decoding.length_reward", self.length_reward, -1000, 1000)
        if self.mbr != "off" and self.length_reward:
            raise ConfigError(
                f"`decoding.length_reward` = {self.length_reward}: chooses among candidates, and so does "
                f"`decoding.mbr` = {self.mbr!r}; set it to 0, or `mbr` to off"
            )
        chooses = self.mbr != "off" or self.length_reward != 0
        most, name = (self.candidates, "candidates") if chooses else (self.beam_size, "beam_size")
        if self.n_best > most and not (self.sample and not chooses):
            raise ConfigError(f"`decoding.n_best` = {self.n_best}: is over `decoding.{name}` = {most}")
        if self.min_length_ratio > self.max_length_ratio:
            raise ConfigError(
                f"`decoding.min_length_ratio` = {self.min_length_ratio}: is over "
                f"`decoding.max_length_ratio` = {self.max_length_ratio}"
            )
