"""What the stages of a recipe do: fetch, prepare, make synthetic text, train, average, translate, evaluate."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.config import (
    Config,
    DataConfig,
    DecodingConfig,
    PrepareConfig,
    config_to_dict,
    load_config,
    save_config,
)
from seq2seq.data.cleaning import clean
from seq2seq.data.corpus import read_corpus
from seq2seq.errors import Interrupted, RecipeError, TrainingError
from seq2seq.fetch import copy_local, fetch_by_script, find_local, write_text
from seq2seq.files import atomic_directory
from seq2seq.going_on import digests, is_discarded, refuse_changes, refuse_other_text, stamp
from seq2seq.recipe_means import average_last, name_of_mean, remove_means
from seq2seq.recipe_scores import score_tests, translate_tests
from seq2seq.recipe_text import listed, prepare_text, ways_of_cleaning
from seq2seq.run_folder import RunFolder
from seq2seq.settings import flat, to_dict
from seq2seq.stages import Stage, StageRecord
from seq2seq.synthesis import SyntheticCorpus, synthetic_corpora, teacher_config, with_synthetic

if TYPE_CHECKING:
    from seq2seq.data.tokenizer import Tokenizer


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
        self.languages = (self.config.data.source_language, self.config.data.target_language)
        self.folder = RunFolder(run, self.languages)
        self.local = find_local(local, self.languages, report) if local else None
        self.settings = flat(config_to_dict(self.config))
        self.synthetic = synthetic_corpora(config, self.folder)
        self._overwritten: dict[str, dict[str, Any] | None] = {}

    def stages(self) -> Iterator[Stage]:
        """The stages in order."""
        run, folder = self.run, self.folder
        data = self._settings("data")
        del data["data.risk_weights"]  # which a recipe refuses
        held_out = {name: self.settings[f"recipe.{name}"] for name in ("validation_size", "test_size")}
        source = list(chain(*self.local.values())) if self.local else [self.script]
        of_script = {} if self.local else {**held_out, **self._settings("tokenizer")}  # which it may read
        yield Stage(
            name="fetch",
            settings={**data, **of_script},
            inputs=lambda: source,
            outputs=lambda: folder.files("raw"),
            work=self.fetch,
        )
        yield Stage(
            name="prepare",
            settings={**data, **held_out, **self._settings("prepare")},
            inputs=lambda: folder.files("raw"),
            outputs=lambda: folder.files("data"),
            work=self.prepare,
        )
        if self._has_trained():
            self._check_text()  # what it was trained on stays, and so do the models that made it
        else:
            for corpus in self.synthetic:
                if not corpus.is_given:
                    yield self._teacher_training(corpus)
                yield self._synthesis(corpus)
        yield Stage(
            name="train",
            goes_on=True,
            settings=self._training_settings(),
            inputs=self._training_text,
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
                **self._settings("decoding"),
                **self._settings("training.validation_metric"),
                **self._settings("recipe.average"),
                **self._settings("diversification.together"),
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

    def check_precision(self) -> None:
        """Refuse before training, not after it, to translate on a GPU in what GPUs have not got.

        Raises:
            DecodingError: which names the device.
        """
        if self.config.decoding.precision == "int8":  # all else any device has, and what is imported takes a second
            from seq2seq.decoding.engine import check_precision
            from seq2seq.devices import choose_device

            check_precision(self.config.decoding, choose_device(self.device))

    def _synthesis(self, corpus: SyntheticCorpus) -> Stage:
        return Stage(
            name=corpus.name,
            settings={**corpus.settings(), **self._settings("prepare"), "languages": self.languages},
            inputs=lambda: [corpus.text, *corpus.model_files(), *self._held_out_text()],
            outputs=lambda: self.folder.files(corpus.name),
            work=partial(self.synthesise, corpus),
        )

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
        training = replace(self.config.training, seed=self.config.training.seed + int(member.name) - 1)
        stage = Stage(
            name=_name_of_training(member.name),
            goes_on=True,
            settings={**self._training_settings(), **self._settings("recipe.average")},
            inputs=lambda: [*self._training_text(), *self.folder.files("tokenizer")],
            outputs=lambda: self.folder.weights("*", member),
            work=lambda: self.train_beside(
                stage, member, replace(self._training_config(), training=training), self._tokenizer
            ),
        )
        return stage

    def _diversifying(self) -> list[SyntheticCorpus]:
        """The corpora whose models are trained first."""
        return [corpus for corpus in self.synthetic if not corpus.is_given]

    def _forward_models(self) -> list[Path]:
        """The runs of this direction that diversify the training text; the first one's tokenizer is that of all."""
        return self.folder.teachers(self.config.diversification, "forward")

    def _tokenizer_of_all(self, run: Path) -> Tokenizer | None:
        """The first forward model's, for itself None, and for backward ones if it has one vocabulary for both sides."""
        from seq2seq.data.tokenizer import Tokenizer

        if run == (first := self._forward_models()[0]):
            return None
        found = Tokenizer.load(first / "tokenizer")
        is_forward = run in (self.run, *self._forward_models())
        return found if is_forward or len(set(found.model_files)) == 1 else None

    def _teacher_training(self, corpus: SyntheticCorpus) -> Stage:
        """A model that diversifies the training text, which it is trained on as it is."""
        run = Path(corpus.model)
        recipe = replace(self.config, decoding=self._decoding())
        config = teacher_config(recipe, self.corpora(), corpus.name, self.synthetic)
        names = ("data", "prepare", "noise", "model")
        stage = Stage(
            name=_name_of_training(corpus.name),
            goes_on=True,
            settings={
                **{name: value for section in names for name, value in self._settings(section).items()},
                **flat({"tokenizer": to_dict(config.tokenizer), "training": to_dict(config.training)}),
                **self._settings("recipe.average"),
            },
            inputs=self._own_text,
            outputs=lambda: self.folder.weights("*", run),
            work=lambda: self.train_beside(stage, run, config, partial(self._tokenizer_of_all, run)),
        )
        return stage

    def check_training(self, overwrite: bool) -> None:
        """Refuse to go on where a training in the run directory would be lost, and name what changed.

        Raises:
            RecipeError, TrainingError: if settings changed, or the folder holds what no recipe made.
        """
        self.check_folders()
        self._check_mixture()
        self._tags()
        if overwrite:
            names = {"train", *(name for name in self.record.entries if name.startswith(_name_of_training("")))}
            there = (self.run / "config.toml").exists()
            entries = self.record.entries
            self._overwritten = {name: entries.get(name) for name in names if there or name in entries}
            for name in names:
                self.record.entries[name] = {"discard": stamp(self._run_of(name))}
        if not self._has_trained():
            for corpus in self.synthetic:
                corpus.check()
        entry = self.record.entries.get("train", {})
        if not (self.run / "config.toml").exists() or is_discarded(entry, self.run):
            return
        before = entry.get("settings")
        if before is None:
            raise RecipeError(
                f"{self.run}: holds a run that no recipe made; choose another --output, or --overwrite it"
            )
        if self.folder.weights("step_*"):
            refuse_changes(self.run, before, self.settings, self._training_settings())

    def restore(self) -> None:
        """Note again what was to be overwritten, if the recipe failed before any training has begun anew."""
        names = self._overwritten
        if names and all(is_discarded(self.record.entries[name], self._run_of(name)) for name in names):
            self.record.put_back(self._overwritten)

    def _run_of(self, name: str) -> Path:
        """The run of a stage that trains."""
        if name == "train":
            return self.run
        model = name.removeprefix(_name_of_training(""))
        return self.run / "ensemble" / model if model.isdecimal() else self.folder.teacher(model)

    def _check_mixture(self) -> None:
        """Refuse weights, instead of leaving them out without a word: a recipe makes one corpus of all."""
        data = self.config.data
        weights = any(corpus.weight != 1 for corpus in data.train)
        given = {
            "train.weight": weights, "temperature": data.temperature != 1, "curriculum": bool(data.curriculum),
            "risk_weights": bool(data.risk_weights),
        }  # fmt: skip
        for name in (name for name, is_given in given.items() if is_given):
            raise RecipeError(
                f"`data.{name}`: a recipe makes one corpus of its training text; `seq2seq prepare` and `seq2seq train` "
                "keep corpora apart"
            )

    def check_folders(self) -> None:
        """Refuse to put our files where a user has some of the same name.

        Raises:
            RecipeError, TrainingError: if there are such.
        """
        made = [("fetch", "raw"), ("prepare", "data"), ("translate", "translations")]
        others = [*self.folder.members(self.config), *(Path(corpus.model) for corpus in self._diversifying())]
        made += [(_name_of_training(run.name), str(run.relative_to(self.run))) for run in others]
        for stage, name in [*made, *((corpus.name, corpus.name) for corpus in self.synthetic)]:
            if (self.run / name).exists() and stage not in self.record.entries:
                raise RecipeError(f"{self.run / name}: exists already, and no recipe made it; choose another --output")
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
        """Write `data/`: cleaned training text, and validation and test text, held out where `raw/` has none."""
        prepare_text(self.config, self.folder, self._cleaning(), self.report)

    def synthesise(self, corpus: SyntheticCorpus) -> None:
        """Write a corpus that a run translates, cleaned like all training text, to a folder of its name."""
        held_out = [
            pair
            for name in self.folder.held_out("data")
            for pair in read_corpus(self.folder.corpus("data", name), self.languages)
        ]
        counts = Counter[str]()
        settings = replace(self.config.prepare, drop_swapped=False)  # a model does not swap sides
        pairs = corpus.pairs(self._blocks(corpus), self.device, self.report)
        kept = corpus.tagged(clean(pairs, settings, held_out, counts, self.languages))
        with atomic_directory(self.run / corpus.name) as folder:
            num_pairs = write_text(kept, self.config.data, folder, corpus.name)
        self._overwritten.clear()  # of what was trained on the text that was there
        self.report(f"{num_pairs:,} pairs ({listed(counts)})")

    def train(self) -> None:
        """Train, or go on with a training that was stopped."""
        from seq2seq.devices import choose_device
        from seq2seq.memory import peak_memory_of_children_mb
        from seq2seq.training.cpu_processes import num_processes
        from seq2seq.training.trainer import train

        there = self._has_trained()
        for corpus in self.synthetic:
            shutil.rmtree(self._blocks(corpus), ignore_errors=True)  # only now that its stage is noted as done
        self._note_training("train", self.run, there, self._training_settings(), digests(self._training_text()))
        tokenizer = None if there or not self._forward_models() else self._tokenizer_of_all(self.run)
        config = self._training_config()
        with _can_go_on(self.run):
            train(config, self.run, tokenizer=tokenizer, device=self.device, resume=there, overwrite=not there)
        if not there:
            self.record.entries.pop("average", None)  # of the training that was there before
        entry = self.record.entries["train"]
        entry.pop("discard", None)
        helpers = num_processes(self.config.training, choose_device(self.device)) - 1
        helpers_mb = max(entry.get("helpers_mb", 0.0), helpers * peak_memory_of_children_mb())
        self.record.write("train", helpers_mb=helpers_mb)

    def _note_training(
        self, name: str, run: Path, there: bool, settings: Mapping[str, Any], text: Mapping[str, str]
    ) -> None:
        """Note what a training is of, before it begins or goes on; what was there is discarded until it has begun."""
        entry = self.record.entries[name]
        if there:
            entry.pop("discard", None)
        else:
            entry.clear()
            entry["discard"] = stamp(run)
        self.record.write(name, settings=dict(settings), text=dict(text))

    def _tokenizer(self) -> Tokenizer:
        from seq2seq.data.tokenizer import Tokenizer

        return Tokenizer.load(self.run / "tokenizer")

    def train_beside(self, stage: Stage, run: Path, config: Config, tokenizer: Callable[[], Tokenizer | None]) -> None:
        """Train another model than the run's own, or go on with it, and average its checkpoints.

        Args:
            stage: which this is the work of.
            run: where to train it.
            config: what to train.
            tokenizer: gives the one to take; None: as the config says.
        """
        from seq2seq.training.trainer import train

        entry, text = self.record.entries[stage.name], digests(stage.inputs())
        there = bool(self.folder.weights("step_*", run)) and not is_discarded(entry, run)
        if there and "settings" in entry:
            refuse_changes(run, entry["settings"], stage.settings, stage.settings)
            refuse_other_text(run, entry["text"], text)
        self._note_training(stage.name, run, there, stage.settings, text)
        given = None if there else tokenizer()
        with _can_go_on(run):
            train(config, run, tokenizer=given, device=self.device, resume=there, overwrite=not there)
        self.record.entries[stage.name].pop("discard", None)
        if self.config.recipe.average:
            self._average(run)
        else:
            remove_means(run)

    def _training_config(self) -> Config:
        corpora = self.corpora()
        tag = corpora.train[0].tag  # before which the synthetic corpus has its own, in the text
        made = [(each, replace(self.folder.corpus(each.name, each.name), tag=tag)) for each in self.synthetic]
        config = replace(self.config, data=corpora, decoding=self._decoding())
        return with_synthetic(config, corpora.train[0], made)

    def _decoding(self) -> DecodingConfig:
        """How the run translates: with the tag of the test text, unless it has another."""
        return replace(self.config.decoding, tag=self._tags()["test"] or self.config.decoding.tag)

    def corpora(self) -> DataConfig:
        """The prepared text, to train on."""
        tags = self._tags()
        return replace(
            self.config.data,
            train=(replace(self.folder.corpus("data", "train"), tag=tags["train"]),),
            validation=replace(self.folder.corpus("data", "validation"), tag=tags["validation"]),
            test=replace(self.folder.corpus("data", "test"), tag=tags["test"]),
        )

    def raw_corpora(self) -> DataConfig | None:
        """The text as fetched; None if something has to be held out, or if a config cannot say how it is cleaned.

        That is so if its corpora are cleaned differently, or if there are further test sets to keep out.
        """
        names, cleaning = ("train", "validation", "test"), self._cleaning()
        if len(cleaning) > 1 or self.folder.held_out("raw") != ["validation", "test"]:
            return None
        train, validation, test = (replace(self.folder.corpus("raw", name), tag=self._tags()[name]) for name in names)
        own = cleaning[0] if cleaning[0] != self.config.prepare else None
        return replace(self.config.data, train=(replace(train, prepare=own),), validation=validation, test=test)

    def remove_idle_means(self) -> None:
        """Remove the means of checkpoints that the recipe made before, if it makes none any more."""
        if not self.config.recipe.average and "average" in self.record.entries:
            remove_means(self.run, self.record.entries["average"].get("made", []))
            del self.record.entries["average"]
            for run in self.run.glob("ensemble/*"):
                remove_means(run)

    def average(self) -> None:
        """Average the last checkpoints; the mean is validated like any checkpoint, and translates."""
        made = self.record.entries["average"].get("made", [])
        self.record.write("average", made=sorted({*made, self._average(self.run).name}))

    def translate(self) -> None:
        """Translate the test sets with the mean of checkpoints, or the best one where there is no mean."""
        decoding = self._decoding()
        saved = load_config(self.run / "config.toml")  # later commands decode as the recipe does now
        save_config(replace(saved, decoding=decoding, recipe=self.config.recipe), self.run / "config.toml")
        self.record.write("translate", **translate_tests(self.folder, self.config, decoding, self.device, self.report))

    def evaluate(self) -> None:
        """Score the translations; write `scores.json`."""
        score_tests(self.folder, len(self._runs_that_translate()), self.record.entries)

    def _average(self, run: Path) -> Path:
        return average_last(run, self.config.recipe.average, self.device, self.report)

    def _tags(self) -> dict[str, str]:
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
        return {"train": tag} | {name: corpus.tag if corpus else tag for name, corpus in held_out.items()}

    def _cleaning(self) -> tuple[PrepareConfig, ...]:
        return ways_of_cleaning(self.config, local=self.local is not None)

    def _settings(self, section: str) -> dict[str, Any]:
        return {name: value for name, value in self.settings.items() if f"{name}.".startswith(f"{section}.")}

    def _training_settings(self) -> dict[str, Any]:
        """All settings that the trained model depends on."""
        names = ("recipe.validation_size", "recipe.test_size")
        names_of_sections = ("data", "prepare", "noise", "tokenizer", "model", "training")
        sections = [self._settings(section) for section in names_of_sections]
        sections += [self._settings(corpus.name) for corpus in self.synthetic if corpus.is_given]
        if self.config.diversification.models:
            sections += [self._settings(f"diversification.{name}") for name in ("models", "max_minutes", "beam_size")]
        own = {"--data": self.local is not None} | {name: self.settings[name] for name in names}
        return {name: value for section in (*sections, own) for name, value in section.items()}

    def _own_text(self) -> list[Path]:
        return [self.folder.text("data", name, side) for name in ("train", "validation") for side in (0, 1)]

    def _training_text(self) -> list[Path]:
        made = [self.folder.text(corpus.name, corpus.name, side) for corpus in self.synthetic for side in (0, 1)]
        return [*self._own_text(), *made]

    def _held_out_text(self) -> list[Path]:
        return [self.folder.text("data", name, side) for name in self.folder.held_out("data") for side in (0, 1)]

    def _blocks(self, corpus: SyntheticCorpus) -> Path:
        return self.run / f".{corpus.name}"

    def _has_trained(self) -> bool:
        """Whether the run's own training has begun, and is to go on or to stay."""
        entry = self.record.entries.get("train", {})
        return bool(self.folder.weights("step_*")) and "settings" in entry and not is_discarded(entry, self.run)

    def _check_text(self) -> None:
        refuse_other_text(self.run, self.record.entries["train"].get("text"), digests(self._training_text()))


def _name_of_training(name: str) -> str:
    """Of the stage that trains another model than the run's own."""
    return f"train {name}"


@contextmanager
def _can_go_on(run: Path) -> Iterator[None]:
    """Say that an interrupted training goes on with the recipe, and how one that failed may, with other settings."""
    try:
        yield
    except Interrupted:
        raise Interrupted("training stopped, and saved; the same command without --overwrite goes on") from None
    except TrainingError as error:
        if "--resume" not in str(error):
            raise
        place = shlex.quote(str(run))
        raise TrainingError(
            f"{error} (`seq2seq train {place}/config.toml --output {place} --resume --set ...`, then the recipe again)"
        ) from None
