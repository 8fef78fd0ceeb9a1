"""Settings of recipes: what happens around training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from seq2seq.config.bounds import at_least, within
from seq2seq.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Sequence-level knowledge distillation (Kim and Rush 2016): a recipe trains on a teacher's translations."""

    teacher: Annotated[
        str, "run or checkpoint that translates the source side of the training text; empty: no distillation"
    ] = ""
    beam_size: Annotated[int, "beam size of the teacher; all else is as its `decoding` says"] = 5
    weight: Annotated[float, "how often a distilled pair is seen in an epoch, as `data.train.weight`"] = 1.0
    original_weight: Annotated[
        float,
        "the same of the original pairs; 0: the student sees none of them, as in the paper. With both weights, it "
        "learns from the teacher and from smoothed labels (`training.label_smoothing`) in any proportion",
    ] = 0.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        at_least("distillation.beam_size", self.beam_size, 1)
        for name in ("weight", "original_weight"):
            within(f"distillation.{name}", getattr(self, name), 0, 1000)
        if not (self.weight or self.original_weight):
            raise ConfigError("`distillation.weight` = 0: leaves nothing to train on; raise it, or `original_weight`")


@dataclass(frozen=True, kw_only=True)
class BackTranslationConfig:
    """Back-translation (Sennrich et al. 2016): a recipe trains on monolingual text with translations as its sources."""

    monolingual: Annotated[str, "text file in the target language, one sentence a line (.gz too); empty: none"] = ""
    reverse_model: Annotated[str, "run or checkpoint that translates from the target to the source language"] = ""
    tag: Annotated[
        str, "what stands before each such source (Caswell et al. 2019), as a `tokenizer.user_symbols`; empty: nothing"
    ] = "<bt>"
    beam_size: Annotated[int, "beam size of the reverse model; all else is as its `decoding` says"] = 5
    sample: Annotated[bool, "draw translations instead of searching for the best (Edunov et al. 2018)"] = False
    weight: Annotated[float, "how often such a pair is seen in an epoch, as `data.train.weight`"] = 1.0

    def __post_init__(self) -> None:
        """Check the bounds and what must fit together."""
        at_least("back_translation.beam_size", self.beam_size, 1)
        within("back_translation.weight", self.weight, 0, 1000)
        if bool(self.monolingual) != bool(self.reverse_model):
            missing = "monolingual" if self.reverse_model else "reverse_model"
            raise ConfigError(f"`back_translation.{missing}` = '': goes with the other one; set both, or neither")
        if self.tag != "".join(self.tag.split()):
            raise ConfigError(f"`back_translation.tag` = {self.tag!r}: holds space; take one word, such as <bt>")


@dataclass(frozen=True, kw_only=True)
class DiversificationConfig:
    """Data diversification (Nguyen et al. 2020): a recipe trains on its own text, and on what models make of each side.

    Models of both directions are trained on the text first. The forward ones translate its source side, the backward
    ones its target side; no other text is needed.
    """

    models: Annotated[int, "models to train for each direction, with other seeds; 0: no diversification"] = 0
    max_minutes: Annotated[
        float, "what `training.max_minutes` is for each of them; 0: as for the model that learns from them"
    ] = 0.0
    beam_size: Annotated[int, "beam size that they translate with; all else is as `decoding` says"] = 5
    together: Annotated[
        bool,
        "translate test text with them, too: the forward ones join the ensemble, and the first backward one chooses "
        "among `decoding.candidates` by `decoding.reverse_weight`",
    ] = False

    def __post_init__(self) -> None:
        """Check the bounds and what must fit together."""
        if self.together and not self.models:
            raise ConfigError("`diversification.together` = true: there are no models; set `diversification.models`")
        at_least("diversification.models", self.models, 0)
        at_least("diversification.max_minutes", self.max_minutes, 0)
        at_least("diversification.beam_size", self.beam_size, 1)


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """What a recipe does around training."""

    description: Annotated[str, "one line for `seq2seq recipe list`"] = ""
    average: Annotated[
        int, "latest checkpoints whose mean translates (Vaswani et al. 2017, 6.1), 0: the best checkpoint does"
    ] = 0
    ensemble: Annotated[
        int,
        "models that translate the test text together (Sutskever et al. 2014), trained one after another with other "
        "seeds; 1: one model",
    ] = 1
    samples: Annotated[int, "held-out sentences to show with translation and reference at the end"] = 8
    validation_size: Annotated[int, "pairs held out for validation, where the corpus has no split of its own"] = 500
    test_size: Annotated[int, "pairs held out for the test, where the corpus has no split of its own"] = 1000

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("average", "samples"):
            at_least(f"recipe.{name}", getattr(self, name), 0)
        for name in ("ensemble", "validation_size", "test_size"):
            at_least(f"recipe.{name}", getattr(self, name), 1)


# Sections that only a recipe knows, as they are where there is none; by their names in `Config`.
NO_STAGES: Mapping[str, Any] = {
    "distillation": DistillationConfig(), "back_translation": BackTranslationConfig(),
    "diversification": DiversificationConfig(),
}  # fmt: skip
