"""Training text that a model makes for a recipe: a teacher's translations, and back-translations of monolingual text.

For data diversification, models that the recipe trains first translate both sides of the training text itself.

A run translates a text block by block, into a folder of its own, so that what was killed goes on with the blocks that
are missing. Blocks belong to the text, the model and the settings that they were made with; with others, they are made
anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from seq2seq.config import NO_STAGES, Config, CorpusConfig, DataConfig, DecodingConfig, load_config
from seq2seq.data.corpus import SentencePair, read_lines, tagged, write_lines
from seq2seq.data.tokenizer import with_tags
from seq2seq.errors import DataError, RecipeError
from seq2seq.files import remove_leftovers, sha256_of, write_json
from seq2seq.languages import differ
from seq2seq.run_folder import RunFolder
from seq2seq.settings import to_dict

BLOCK = 2_000  # sentences: what a kill loses at most


@dataclass(frozen=True, kw_only=True)
class SyntheticCorpus:
    """A training corpus one side of which is translated by a run."""

    name: str  # of its stage, and of its folder in the run directory
    setting: str  # the one that asks for it
    model: str  # the run, or a checkpoint
    languages: tuple[str, str]  # that the run is to translate between
    text: Path  # what it translates, one sentence a line
    is_source: bool  # whether that text is the source side, and the translation the target
    beam_size: int
    sample: bool = False
    tag: str = ""  # before each source
    weight: float = 1.0
    decoding: DecodingConfig | None = None  # of a run that the recipe trains; None: the run is there, and its config

    @property
    def is_given(self) -> bool:
        """Whether the run is there beforehand."""
        return self.decoding is None

    def check(self) -> None:
        """Refuse what would go wrong, before anything is done.

        Raises:
            CheckpointError: if there is no such run.
            RecipeError: if it translates between other languages.
            DataError: if the text is not there, unless the recipe is to make it.
        """
        if not self.is_given:
            return
        run, _ = self._resolved()
        data = load_config(run / "config.toml").data
        there = data.languages
        if all(there) and differ(there, self.languages):
            raise RecipeError(
                f"`{self.setting}` = {self.model}: translates {'-'.join(there)}; name a run that translates "
                f"{'-'.join(self.languages)}"
            )
        if not self.is_source and not self.text.is_file():
            raise DataError(f"`{self.name}.monolingual` = {self.text}: no such file; check the path")

    def model_files(self) -> list[Path]:
        """The files of the model and of its tokenizer."""
        run, checkpoint = self._resolved()
        weights = [checkpoint / "model.safetensors", checkpoint / "adapter.safetensors"]
        weights += [run / "base" / "model.safetensors"] if weights[1].exists() else []
        return [*(path for path in weights if path.exists()), *sorted((run / "tokenizer").glob("*"))]

    def settings(self) -> dict[str, Any]:
        """All else that the corpus depends on."""
        return {"decoding": to_dict(self._decoding()), "tag": self.tag, "is_source": self.is_source}

    def pairs(self, work: Path, device: str, report: Callable[[str], None]) -> Iterator[SentencePair]:
        """Source and target sentences, without tags: translated block by block into the folder `work`.

        Args:
            work: blocks that are there already are taken from it; not to be lost before the pairs are safe.
            device: as in `train`.
            report: is told how far it is.
        """
        self._make_ready(work)
        total = sum(1 for _ in read_lines(self.text))
        translate = self._translating(device)
        lines, done = read_lines(self.text), 0
        for number in count():
            if not (texts := list(islice(lines, BLOCK))):
                return
            block = work / f"{number:06}.txt"
            if not block.exists():
                write_lines(block, translate(texts, number))
                report(f"{done + len(texts):,} of {total:,} sentences")
            done += len(texts)
            for text, translation in zip(texts, read_lines(block), strict=True):
                yield SentencePair(text, translation) if self.is_source else SentencePair(translation, text)

    def tagged(self, pairs: Iterable[SentencePair]) -> Iterator[SentencePair]:
        """Pairs with the tag before each source."""
        return (tagged(pair, self.tag) for pair in pairs)

    def _translating(self, device: str) -> Callable[[list[str], int], list[str]]:
        """What translates the texts of a block; the model is loaded when the first block is."""
        translator: Any = None
        decoding = self._decoding()

        def translate(texts: list[str], number: int) -> list[str]:
            nonlocal translator, decoding
            from seq2seq.decoding.translator import Translator
            from seq2seq.devices import choose_device

            translator = translator or Translator.load(self.model, device)
            if decoding.precision == "int8" and choose_device(device).type != "cpu":  # a teacher's own setting
                decoding = replace(decoding, precision="float32")
            # Samples depend on the seed and the place in the block, which must not be the same in each block.
            found = translator.translate(texts, replace(decoding, seed=decoding.seed + number))
            return [translation.text for translation in found]

        return translate

    def _decoding(self) -> DecodingConfig:
        """As the run decodes, but for what is set here."""
        given = self.decoding or load_config(self._resolved()[0] / "config.toml").decoding
        if self.sample:  # to choose the most typical of many would undo it
            given = _without_choice(given)
        return replace(given, beam_size=self.beam_size, n_best=1, sample=self.sample, too_long="split")

    def _make_ready(self, work: Path) -> None:
        """A folder with the blocks that belong to what is asked for, or none."""
        files = [sha256_of(path) for path in (self.text, *self.model_files())]
        made_from, note = {"files": files, "decoding": to_dict(self._decoding())}, work / "made_from.json"
        if not note.exists() or json.loads(note.read_text(encoding="utf-8")) != made_from:
            shutil.rmtree(work, ignore_errors=True)
        remove_leftovers(work)
        write_json(note, made_from)

    def _resolved(self) -> tuple[Path, Path]:
        from seq2seq.checkpoint import resolve

        return resolve(self.model)


def _without_choice(decoding: DecodingConfig) -> DecodingConfig:
    """The same, with no choice among candidates."""
    none = DecodingConfig()
    return replace(
        decoding, n_best=1, mbr="off", candidates=none.candidates, reverse_weight=none.reverse_weight,
        length_reward=none.length_reward,
    )  # fmt: skip


def synthetic_corpora(config: Config, folder: RunFolder) -> list[SyntheticCorpus]:
    """The corpora that a recipe is to make in its run directory."""
    source_text, target_text = (folder.text("data", "train", side) for side in (0, 1))
    found, languages = [], config.data.languages
    if config.distillation.teacher:
        found.append(
            SyntheticCorpus(
                name="distillation", setting="distillation.teacher", model=config.distillation.teacher,
                languages=languages, text=source_text, is_source=True, beam_size=config.distillation.beam_size,
                weight=config.distillation.weight,
            )
        )  # fmt: skip
    if config.back_translation.reverse_model:
        back = config.back_translation
        found.append(
            SyntheticCorpus(
                name="back_translation", setting="back_translation.reverse_model", model=back.reverse_model,
                languages=languages[::-1], text=Path(back.monolingual), is_source=False, beam_size=back.beam_size,
                sample=back.sample, tag=back.tag, weight=back.weight,
            )
        )  # fmt: skip
    tag = config.data.train[0].tag if config.data.train else ""
    decoding = _without_choice(config.decoding)  # 32 candidates for all of the text are not meant
    for number in range(1, config.diversification.models + 1):
        for direction, text in (("forward", source_text), ("backward", target_text)):
            is_source, name = direction == "forward", f"{direction}_{number}"
            found.append(
                SyntheticCorpus(
                    name=name, setting="diversification.models", model=str(folder.teacher(name)),
                    languages=languages if is_source else languages[::-1], text=text, is_source=is_source,
                    decoding=replace(decoding, tag=tag if is_source else ""),
                    beam_size=config.diversification.beam_size,
                )
            )  # fmt: skip
    return found


def teacher_config(config: Config, data: DataConfig, name: str, made: Iterable[SyntheticCorpus] = ()) -> Config:
    """The config of a model that diversifies the training text.

    Args:
        config: of the recipe, with `decoding` as its run translates.
        data: the text to train on.
        name: of the corpus that the model is to make, such as `backward_2`.
        made: all corpora that are made.
    """
    direction, _, number = name.partition("_")
    training, minutes = config.training, config.diversification.max_minutes
    # Seeds that no model of an ensemble has, since these may translate together.
    training = replace(
        training, seed=training.seed + 100 * int(number), max_minutes=minutes or training.max_minutes, last_from=1.0
    )
    # What is learnt here is the tokenizer of the model that learns from all corpora, which must know their tags.
    tags = [corpus.tag for corpus in made if corpus.tag]
    tokenizer = config.tokenizer if config.tokenizer.path else with_tags(config.tokenizer, tags)
    config = replace(config, data=data, training=training, tokenizer=tokenizer, **NO_STAGES)
    if direction == "forward":
        return config
    # One that chooses among translations is asked for probabilities, which a risk does not care for.
    return _reversed(replace(config, training=replace(training, minimum_risk=0.0)))


def _reversed(config: Config) -> Config:
    """The same in the other direction.

    A tag says into which language to translate, so it has none. If it is given no tokenizer, it learns its own: one
    that is there may have a model for each side.
    """

    def turned(corpus: CorpusConfig) -> CorpusConfig:
        return replace(corpus, source=corpus.target, target=corpus.source, tag="")

    data = replace(
        config.data,
        source_language=config.data.target_language,
        target_language=config.data.source_language,
        train=tuple(map(turned, config.data.train)),
        validation=config.data.validation and turned(config.data.validation),
        test=config.data.test and turned(config.data.test),
    )
    return replace(
        config,
        data=data,
        tokenizer=replace(config.tokenizer, path=""),
        decoding=replace(config.decoding, tag=""),
    )


def with_synthetic(
    config: Config, original: CorpusConfig, made: Iterable[tuple[SyntheticCorpus, CorpusConfig]]
) -> Config:
    """A recipe's config as training takes it: what was made stands in `data.train`, and its tags are symbols.

    A tokenizer that is there already stays as it is: a tag is spelt in several pieces, if it has no symbol.
    """
    weight = config.distillation.original_weight if config.distillation.teacher else 1.0
    corpora, tags = [replace(original, weight=weight)], []
    for synthetic, corpus in made:
        corpora.append(replace(corpus, weight=synthetic.weight))
        tags += [synthetic.tag] if synthetic.tag else []
    tokenizer = config.tokenizer
    if not (tokenizer.path or config.training.initialise_from):
        tokenizer = with_tags(tokenizer, tags)
    train = tuple(corpus for corpus in corpora if corpus.weight)
    # How well a model translates is seen from what people wrote, on both sides; to end with that makes it like that.
    own = (1.0, *(0.0 for _ in train[1:])) if weight and len(train) > 1 else ()
    last = own if config.training.last_from < 1 else ()
    return replace(
        config,
        data=replace(config.data, train=train, last_weights=last, risk_weights=own),
        tokenizer=tokenizer,
        **NO_STAGES,
    )
