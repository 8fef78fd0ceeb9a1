"""What the stages of a recipe depend on: its settings, the text that it trains on, and the tags before that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seq2seq.config import Config, CorpusConfig, DataConfig, DecodingConfig, PrepareConfig, config_to_dict
from seq2seq.errors import RecipeError
from seq2seq.recipe_text import ways_of_cleaning
from seq2seq.run_folder import RunFolder
from seq2seq.settings import flat, to_dict
from seq2seq.synthesis import SyntheticCorpus, synthetic_corpora, teacher_config, with_synthetic


class RecipeSettings:
    """The settings of a recipe, and what follows from them for each of its trainings."""

    def __init__(self, config: Config, folder: RunFolder, is_local: bool) -> None:
        self.config, self.folder, self.is_local = config, folder, is_local
        self.values = flat(config_to_dict(config))
        self.synthetic = synthetic_corpora(config, folder)

    def section(self, name: str) -> dict[str, Any]:
        """The settings of a section such as `data`, or a setting alone, by their dotted names."""
        return {key: value for key, value in self.values.items() if f"{key}.".startswith(f"{name}.")}

    def of_training(self) -> dict[str, Any]:
        """All settings that the trained model depends on."""
        names = ("recipe.validation_size", "recipe.test_size")
        names_of_sections = ("data", "prepare", "noise", "tokenizer", "model", "training")
        sections = [self.section(section) for section in names_of_sections]
        sections += [self.section(corpus.name) for corpus in self.synthetic if corpus.is_given]
        if self.config.diversification.models:
            sections += [self.section(f"diversification.{name}") for name in ("models", "max_minutes", "beam_size")]
        own = {"--data": self.is_local} | {name: self.values[name] for name in names}
        return {name: value for section in (*sections, own) for name, value in section.items()}

    def of_teacher(self, config: Config) -> dict[str, Any]:
        """All settings that a model which diversifies the training text depends on; `config` is its own."""
        names = ("data", "prepare", "noise", "model")
        return {
            **{name: value for section in names for name, value in self.section(section).items()},
            **flat({"tokenizer": to_dict(config.tokenizer), "training": to_dict(config.training)}),
            **self.section("recipe.average"),
        }

    def config_to_train(self) -> Config:
        """What the run's own model is trained with: prepared text, and synthetic text after it."""
        corpora = self.corpora()
        tag = corpora.train[0].tag  # before which the synthetic corpus has its own, in the text
        made = [(each, replace(self.folder.corpus(each.name, each.name), tag=tag)) for each in self.synthetic]
        config = replace(self.config, data=corpora, decoding=self.decoding())
        return with_synthetic(config, corpora.train[0], made)

    def config_of_member(self, member: Path) -> Config:
        """What another model of the ensemble is trained with: it has another seed."""
        config = self.config_to_train()
        return replace(config, training=replace(config.training, seed=config.training.seed + int(member.name) - 1))

    def config_of_teacher(self, corpus: SyntheticCorpus) -> Config:
        """What a model that diversifies the training text is trained with: that text, as it is."""
        recipe = replace(self.config, decoding=self.decoding())
        return teacher_config(recipe, self.corpora(), corpus.name, self.synthetic)

    def decoding(self) -> DecodingConfig:
        """How the run translates: with the tag of the test text, unless it has another."""
        return replace(self.config.decoding, tag=self.tags["test"] or self.config.decoding.tag)

    def corpora(self) -> DataConfig:
        """The prepared text, to train on."""
        train, validation, test = self._tagged("data")
        return replace(self.config.data, train=(train,), validation=validation, test=test)

    def raw_corpora(self) -> DataConfig | None:
        """The text as fetched; None if something has to be held out, or if a config cannot say how it is cleaned.

        That is so if its corpora are cleaned differently, or if there are further test sets to keep out.
        """
        cleaning = self.cleaning()
        if len(cleaning) > 1 or self.folder.held_out("raw") != ["validation", "test"]:
            return None
        train, validation, test = self._tagged("raw")
        own = cleaning[0] if cleaning[0] != self.config.prepare else None
        return replace(self.config.data, train=(replace(train, prepare=own),), validation=validation, test=test)

    def _tagged(self, folder: str) -> Iterator[CorpusConfig]:
        """Training, validation and test text in a folder, with their tags."""
        return (replace(self.folder.corpus(folder, name), tag=tag) for name, tag in self.tags.items())

    def cleaning(self) -> tuple[PrepareConfig, ...]:
        """How each corpus is cleaned, as `ways_of_cleaning` says."""
        return ways_of_cleaning(self.config, local=self.is_local)

    @cached_property
    def tags(self) -> dict[str, str]:
        """The tags before source text: that of training text, and where the others have none of their own, theirs too.

        Raises:
            RecipeError: if training corpora have different ones, since a recipe puts them together.
        """
        data = self.config.data
        found = sorted({corpus.tag for corpus in data.train})
        if len(found) > 1:
            raise RecipeError(
                f"`data.train`: tags {', '.join(map(repr, found))}: a recipe puts its corpora together, so their `tag` "
                "must be the same; prepare them by `seq2seq prepare`, and train by `seq2seq train`"
            )
        tag = found[0] if found else ""
        held_out = {"validation": data.validation, "test": data.test}
        return {"train": tag} | {name: (corpus.tag if corpus else "") or tag for name, corpus in held_out.items()}

    def check(self) -> None:
        """Refuse what a recipe cannot do with its corpora, of which it makes one, instead of leaving it out silently.

        Raises:
            RecipeError: for weights of corpora, for tags that differ, and for what may end before its last part.
        """
        data = self.config.data
        weights = any(corpus.weight != 1 for corpus in data.train)
        given = {
            "train.weight": weights, "temperature": data.temperature != 1, "curriculum": bool(data.curriculum),
            "last_weights": bool(data.last_weights), "risk_weights": bool(data.risk_weights),
        }  # fmt: skip
        for name in (name for name, is_given in given.items() if is_given):
            raise RecipeError(
                f"`data.{name}`: a recipe makes one corpus of its training text; `seq2seq prepare` and `seq2seq train` "
                "keep corpora apart"
            )
        _ = self.tags  # which refuses those that differ
        training = self.config.training
        if training.patience and training.last_from < 1:
            raise RecipeError(
                f"`training.patience` = {training.patience}: might end training before the part that begins at "
                f"`training.last_from` = {training.last_from}; leave one of the two out"
            )

    def own_text(self) -> list[Path]:
        """The files of prepared text to train on and to validate with."""
        return [self.folder.text("data", name, side) for name in ("train", "validation") for side in (0, 1)]

    def training_text(self) -> list[Path]:
        """These files, and those of synthetic text."""
        made = [self.folder.text(corpus.name, corpus.name, side) for corpus in self.synthetic for side in (0, 1)]
        return [*self.own_text(), *made]

    def held_out_text(self) -> list[Path]:
        """The files of validation and test text."""
        return [self.folder.text("data", name, side) for name in self.folder.held_out("data") for side in (0, 1)]
