"""What the stages of a recipe do: fetch, prepare, make synthetic text, train, average, translate, evaluate."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from seq2seq.config import Config, load_config, save_config
from seq2seq.data.cleaning import HeldOut, clean
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.errors import RecipeError
from seq2seq.fetch import copy_local, fetch_by_script, files_of, find_local, write_text
from seq2seq.files import atomic_directory
from seq2seq.going_on import digests
from seq2seq.recipe_means import name_of_mean
from seq2seq.recipe_scores import score_tests, translate_tests
from seq2seq.recipe_settings import RecipeSettings
from seq2seq.recipe_text import listed, prepare_text, some_of
from seq2seq.recipe_training import Trainings, name_of_training
from seq2seq.run_folder import RunFolder
from seq2seq.stages import Stage, StageRecord
from seq2seq.synthesis import SyntheticCorpus

_STAGES = ("fetch", "prepare", "train", "average", "translate", "evaluate")  # beside those of further models


class Pipeline:
    """The stages of one recipe in one run directory."""

    def __init__(
        self,
        config: Config,
        script: Path,
        run: Path,
        local: Path | None,
        device: str,
        report: Callable[[str], None],
        record: StageRecord,
    ) -> None:
        self.config, self.script, self.run, self.device = config, script, run, device
        self.report, self.record = report, record
        self.languages = self.config.data.languages
        self.folder = RunFolder(run, self.languages)
        self.local = find_local(local, self.languages, report) if local else None
        self.settings = RecipeSettings(config, self.folder, is_local=self.local is not None)
        self.synthetic = self.settings.synthetic
        self.trainings = Trainings(self.settings, record, device, report)

    def stages(self) -> Iterator[Stage]:
        """The stages in order."""
        run, folder, settings = self.run, self.folder, self.settings
        data = settings.section("data")
        del data["data.last_weights"], data["data.risk_weights"]  # which a recipe refuses
        held_out = {name: settings.values[f"recipe.{name}"] for name in ("validation_size", "test_size")}
        source = list(chain(*self.local.values())) if self.local else [self.script, *files_of(self.config.data)]
        of_script = {} if self.local else {**held_out, **settings.section("tokenizer")}  # which it may read
        yield Stage(
            name="fetch",
            settings={**data, **of_script},
            inputs=lambda: source,
            outputs=lambda: folder.files("raw"),
            work=self.fetch,
        )
        yield Stage(
            name="prepare",
            settings={**data, **held_out, **settings.section("prepare")},
            inputs=lambda: folder.files("raw"),
            outputs=lambda: folder.files("data"),
            work=self.prepare,
        )
        if self.trainings.has_begun():
            self.trainings.refuse_other_text()  # what it was trained on stays, and so do the models that made it
            self._refuse_known_text()
        else:
            for corpus in self.synthetic:
                if not corpus.is_given:
                    yield self._teacher_training(corpus)
                yield self._synthesis(corpus)
        yield Stage(
            name="train",
            goes_on=True,
            settings=settings.of_training(),
            inputs=settings.training_text,
            outputs=lambda: [*folder.files("tokenizer"), *folder.weights("step_*")],
            work=self.train,
        )
        if self.config.recipe.average:
            yield Stage(
                name="average",
                settings={"average": self.config.recipe.average},
                inputs=lambda: folder.weights("step_*"),
                outputs=lambda: folder.weights(name_of_mean(run, self.config.recipe.average)),
                work=self.average,
            )
        yield from map(self._further_training, folder.members(self.config))
        yield Stage(
            name="translate",
            settings={
                **settings.section("decoding"),
                **settings.section("training.validation_metric"),
                **settings.section("recipe.average"),
                **settings.section("diversification.together"),
            },
            inputs=lambda: [
                *chain(*(folder.weights("*", each) for each in self._runs_that_translate())),
                *folder.files("tokenizer"),
                *folder.test_text("data", 0),
            ],
            outputs=lambda: folder.files("translations"),
            work=self.translate,
        )
        yield Stage(
            name="evaluate",
            settings={"target_language": self.languages[1], **self._told()},
            inputs=lambda: [*folder.test_text("translations", 1), *folder.test_text("data", 1)],
            outputs=lambda: [path for path in [run / "scores.json"] if path.exists()],
            work=self.evaluate,
        )

    def check_device(self) -> None:
        """Refuse before all work a device that is not there, and to translate on a GPU in what GPUs have not got.

        Raises:
            ConfigError, DecodingError: which name the device.
        """
        if self.config.decoding.precision == "int8" or self.device not in ("auto", "cpu"):  # else it always fits
            from seq2seq.decoding.engine import check_precision
            from seq2seq.devices import choose_device  # what is imported takes a second

            check_precision(self.config.decoding, choose_device(self.device))

    def _synthesis(self, corpus: SyntheticCorpus) -> Stage:
        settings = self.settings
        return Stage(
            name=corpus.name,
            settings={**corpus.settings(), **settings.section("prepare"), "languages": self.languages},
            inputs=lambda: [corpus.text, *corpus.model_files(), *settings.held_out_text()],
            outputs=lambda: self.folder.files(corpus.name),
            work=partial(self.synthesise, corpus),
        )

    def _refuse_known_text(self) -> None:
        """Refuse validation and test text that has come since training text was made by a model, and is in that.

        Raises:
            RecipeError: which names the folder of that text.
        """
        now = digests(self.settings.held_out_text())
        known = [each for each in self.synthetic if self.record.entries.get(each.name, {}).get("kept_out") != now]
        if not known or not self.config.prepare.remove_overlap:
            return
        held_out = HeldOut(self._held_out_pairs())
        for corpus in known:
            if any(map(held_out.is_near, read_corpus(self.folder.corpus(corpus.name, corpus.name), self.languages))):
                raise RecipeError(
                    f"{self.run / corpus.name}: the run was trained on this text, and validation or test text that has "
                    "come since is in it; take that out again, choose another --output, or --overwrite to train anew"
                )
            self.record.write(corpus.name, kept_out=now)

    def _held_out_pairs(self) -> list[SentencePair]:
        """The pairs of validation and test text."""
        corpora = (self.folder.corpus("data", name) for name in self.folder.held_out("data"))
        return [pair for corpus in corpora for pair in read_corpus(corpus, self.languages)]

    def _told(self) -> dict[str, Any]:
        """What the scores are told with."""
        told = self.record.entries.get("translate", {})
        steps = [path.parent.name for path in self.folder.weights("step_*")][-1:]
        return {"steps": steps, **{name: told.get(name) for name in ("checkpoint", "sentences_per_second")}}

    def _runs_that_translate(self) -> list[Path]:
        """The run itself, those that translate with it, and the one that chooses among translations."""
        reverse = self.folder.reverse(self.config)
        return [self.run, *self.folder.partners(self.config), *([reverse] if reverse else [])]

    def _further_training(self, member: Path) -> Stage:
        """Another model of the ensemble, trained like the first, but for its seed."""
        settings, trainings = self.settings, self.trainings
        stage = Stage(
            name=name_of_training(member.name),
            goes_on=True,
            settings={**settings.of_training(), **settings.section("recipe.average")},
            inputs=lambda: [*settings.training_text(), *self.folder.files("tokenizer")],
            outputs=lambda: self.folder.weights("*", member),
            work=lambda: trainings.train_beside(
                stage, member, settings.config_of_member(member), trainings.own_tokenizer
            ),
        )
        return stage

    def _diversifying(self) -> list[SyntheticCorpus]:
        """The corpora whose models are trained first."""
        return [corpus for corpus in self.synthetic if not corpus.is_given]

    def _teacher_training(self, corpus: SyntheticCorpus) -> Stage:
        """A model that diversifies the training text, which it is trained on as it is."""
        run, config = Path(corpus.model), self.settings.config_of_teacher(corpus)
        tokenizer = partial(self.trainings.tokenizer_for, run)
        stage = Stage(
            name=name_of_training(corpus.name),
            goes_on=True,
            settings=self.settings.of_teacher(config),
            inputs=self.settings.own_text,
            outputs=lambda: self.folder.weights("*", run),
            work=lambda: self.trainings.train_beside(stage, run, config, tokenizer),
        )
        return stage

    def check_training(self, overwrite: bool) -> None:
        """Refuse to go on where a training in the run directory would be lost, and name what changed.

        Raises:
            RecipeError, TrainingError: if settings changed, or the folder holds what no recipe made.
        """
        self.check_folders()
        self.settings.check()
        if overwrite:
            self.trainings.discard()
        if not self.trainings.has_begun():
            for corpus in self.synthetic:
                corpus.check()
        self.trainings.refuse_changes()
        members = [name_of_training(run.name) for run in self.folder.members(self.config)]
        self.trainings.refuse_lost_checkpoints(["train", *members])

    def check_folders(self) -> None:
        """Refuse to put our files where a user has some of the same name.

        Raises:
            RecipeError, TrainingError: if there are such.
        """
        texts = [("fetch", "raw"), ("prepare", "data"), ("translate", "translations")]
        texts += [(corpus.name, corpus.name) for corpus in self.synthetic]
        others = [*self.folder.members(self.config), *(Path(corpus.model) for corpus in self._diversifying())]
        models = [(name_of_training(run.name), str(run.relative_to(self.run))) for run in others]
        for stage, name in (*texts, *models):
            if (self.run / name).exists() and stage not in self.record.entries:
                raise RecipeError(f"{self.run / name}: exists already, and no recipe made it; choose another --output")
        for stage, name in texts:
            entry = self.record.entries.get(stage, {})
            # Of one that has begun anew, and was not ended, those that are noted may be older than its files.
            made = entry.get("outputs") if "fingerprint" in entry else None
            for path in self.folder.files(name):
                if made and path.relative_to(self.run).as_posix() not in made:
                    raise RecipeError(f"{path}: no stage made it, and `{stage}` replaces all of its folder; move it")
        if "train" not in self.record.entries:
            from seq2seq.training.setup import refuse_to_replace

            refuse_to_replace(self.run)

    def fetch(self) -> None:
        """Write the corpus to `raw/`: from local files, or as the recipe's script does it."""
        with atomic_directory(self.run / "raw") as folder:
            if self.local:
                copy_local(self.local, self.config.data, folder, self.report)
            else:
                fetch_by_script(self.script, self.config, folder)

    def prepare(self) -> None:
        """Write `data/`: cleaned training text, and validation and test text, held out where `raw/` has none.

        Raises:
            RecipeError: if the run was trained on other text, which stays then: new test text may be of what it knows.
        """
        cleaning = self.settings.cleaning()
        prepare_text(self.config, self.folder, cleaning, self.report, check=self.trainings.refuse_to_replace_text)

    def synthesise(self, corpus: SyntheticCorpus) -> None:
        """Write a corpus that a run translates, cleaned like all training text, to a folder of its name."""
        held_out, kept_out = self._held_out_pairs(), digests(self.settings.held_out_text())
        counts = Counter[str]()
        settings = replace(self.config.prepare, drop_swapped=False)  # a model does not swap sides
        pairs = corpus.pairs(self._blocks(corpus), self.device, self.report)
        kept = some_of(clean(pairs, settings, held_out, counts, self.languages), counts, corpus.name)
        with atomic_directory(self.run / corpus.name) as folder:
            num_pairs = write_text(corpus.tagged(kept), self.config.data, folder, corpus.name)
        self.record.write(corpus.name, kept_out=kept_out)
        self.trainings.forget_discarded()
        self.report(f"{num_pairs:,} pairs ({listed(counts)})")

    def train(self) -> None:
        """Train, or go on with a training that was stopped."""
        for corpus in self.synthetic:
            shutil.rmtree(self._blocks(corpus), ignore_errors=True)  # only now that its stage is noted as done
        self.trainings.train()

    def average(self) -> None:
        """Average the last checkpoints; the mean is validated like any checkpoint, and translates."""
        made = self.record.entries["average"].get("made", [])
        self.record.write("average", made=sorted({*made, self.trainings.average(self.run).name}))

    def translate(self) -> None:
        """Translate the test sets with the mean of checkpoints, or the best one where there is no mean."""
        for partner in self._runs_that_translate()[1:]:  # of which teachers stay what training text was made with
            number = load_config(partner / "config.toml").recipe.average
            if number != self.config.recipe.average:
                self.report(f"{partner}: translates with `recipe.average` = {number}, as when it was trained")
        decoding = self.settings.decoding()
        saved = load_config(self.run / "config.toml")  # later commands decode as the recipe does now
        save_config(replace(saved, decoding=decoding, recipe=self.config.recipe), self.run / "config.toml")
        self.record.write("translate", **translate_tests(self.folder, self.config, decoding, self.device, self.report))

    def evaluate(self) -> None:
        """Score the translations; write `scores.json`."""
        trained = [path.name for path in self.folder.members(self.config)]
        trained += [corpus.name for corpus in self._diversifying()]
        names = {*_STAGES, *(corpus.name for corpus in self.synthetic), *map(name_of_training, trained)}
        stages = {name: entry for name, entry in self.record.entries.items() if name in names}  # not of an idle one
        score_tests(self.folder, 1 + len(self.folder.partners(self.config)), stages)

    def _blocks(self, corpus: SyntheticCorpus) -> Path:
        return self.run / f".{corpus.name}"
