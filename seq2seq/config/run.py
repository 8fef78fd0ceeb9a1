"""All settings of a run as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from seq2seq.config.data import DataConfig, NoiseConfig, PrepareConfig, TokenizerConfig
from seq2seq.config.decoding import DecodingConfig
from seq2seq.config.model import ModelConfig, needs_joint
from seq2seq.config.recipe import BackTranslationConfig, DistillationConfig, DiversificationConfig, RecipeConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole translation run."""

    data: DataConfig = field(default_factory=DataConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    back_translation: BackTranslationConfig = field(default_factory=BackTranslationConfig)
    diversification: DiversificationConfig = field(default_factory=DiversificationConfig)

    @property
    def segments_anew(self) -> bool:
        """Whether each epoch makes token ids of the training text anew, since text or segmentation is random."""
        return bool(self.training.subword_sampling) or self.noise != NoiseConfig()

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags that are put before source text, each once; they must be pieces of the vocabulary."""
        corpora = [*self.data.train, *(each for each in (self.data.validation, self.data.test) if each)]
        return tuple(dict.fromkeys(tag for tag in (*(each.tag for each in corpora), self.decoding.tag) if tag))

    @property
    def prepare_each(self) -> tuple[PrepareConfig, ...]:
        """How each training corpus is cleaned."""
        return tuple(corpus.prepare or self.prepare for corpus in self.data.train)

    def __post_init__(self) -> None:
        """Check what must fit together across sections."""
        if self.model.needs_joint_vocabulary and not self.tokenizer.joint:
            raise ConfigError(needs_joint(self.model))
        if self.training.r_drop and not self._has_dropout:
            raise ConfigError(
                f"`training.r_drop` = {self.training.r_drop}: compares what different dropout makes, and there is "
                "none; set `model.dropout`"
            )
        if self.data.max_length > self.model.max_length:
            raise ConfigError(
                f"`data.max_length` = {self.data.max_length}: is over `model.max_length` = {self.model.max_length}"
            )
        if self.data.last_weights and self.training.last_from == 1:
            weights = list(self.data.last_weights)
            raise ConfigError(f"`data.last_weights` = {weights}: never hold; set `training.last_from`, such as to 0.8")
        for number, own in enumerate(self.prepare_each):
            for name in ("deduplicate", "deduplicate_by", "deduplicate_sides"):
                if getattr(own, name) != getattr(self.prepare, name):
                    place = f"data.train[{number}].prepare.{name}"
                    raise ConfigError(f"`{place}`: must be the same for all corpora; set `prepare.{name}`")
        if self.diversification.models and self.training.initialise_from:
            raise ConfigError(
                f"`diversification.models` = {self.diversification.models}: its backward models cannot begin as "
                "`training.initialise_from` says; leave one of the two out"
            )
        if self.diversification.models and self.distillation.teacher and not self.distillation.original_weight:
            raise ConfigError(
                f"`diversification.models` = {self.diversification.models}: adds to the original text, of which "
                "`distillation.original_weight` = 0 leaves nothing; set it to 1"
            )
        if self.diversification.together and self.decoding.mbr != "off":
            raise ConfigError(
                f"`decoding.mbr` = {self.decoding.mbr!r}: chooses among candidates, and so does the backward model of "
                "`diversification.together`; leave one of the two out"
            )
        if self.recipe.average > self.training.keep_checkpoints:
            raise ConfigError(
                f"`recipe.average` = {self.recipe.average}: is over "
                f"`training.keep_checkpoints` = {self.training.keep_checkpoints}"
            )

    @property
    def _has_dropout(self) -> bool:
        """Whether two computations of a pair differ in training."""
        model, training = self.model, self.training
        of_words = training.source_word_dropout or training.target_word_dropout
        of_adapters = training.lora_rank and training.lora_dropout
        return bool(
            model.dropout or model.attention_dropout or model.activation_dropout or of_words or of_adapters
        )
