"""The trainings of a recipe: its run's own and those beside it, which go on where they were or are begun anew."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.config import Config
from seq2seq.errors import Interrupted, RecipeError, TrainingError
from seq2seq.going_on import digests, is_discarded, refuse_changes, refuse_other_text, stamp
from seq2seq.recipe_means import average_last, remove_means
from seq2seq.recipe_settings import RecipeSettings
from seq2seq.stages import Stage, StageRecord

if TYPE_CHECKING:
    from seq2seq.data.tokenizer import Tokenizer


class Trainings:
    """What a recipe trains in its run directory, and notes about it in `stages.json`."""

    def __init__(
        self, settings: RecipeSettings, record: StageRecord, device: str, report: Callable[[str], None]
    ) -> None:
        self.settings, self.record, self.device, self.report = settings, record, device, report
        self.folder, self.run = settings.folder, settings.folder.path
        self._overwritten: dict[str, dict[str, Any] | None] = {}

    def has_begun(self) -> bool:
        """Whether the run's own training has begun, and is to go on or to stay."""
        entry = self.record.entries.get("train", {})
        return bool(self.folder.weights("step_*")) and "settings" in entry and not is_discarded(entry, self.run)

    def refuse_other_text(self) -> None:
        """Refuse to go on with the run's own training, if its text has become another.

        Raises:
            RecipeError: which names the run.
        """
        text = digests(self.settings.training_text())
        refuse_other_text(self.run, self.record.entries["train"].get("text"), text)

    def refuse_to_replace_text(self, folder: Path) -> None:
        """Refuse new text in the place of that of the run's own training, unless that is to be discarded.

        Args:
            folder: where the new text is.

        Raises:
            RecipeError: which names the run.
        """
        if self.has_begun():
            now = digests([folder / path.name for path in self.settings.own_text()])
            noted = self.record.entries["train"].get("text") or {}
            refuse_other_text(self.run, {name: noted.get(name, "") for name in now}, now)

    def refuse_changes(self) -> None:
        """Refuse to lose the run's own training because its settings changed, and a run that no recipe made.

        Raises:
            RecipeError: which names what changed.
        """
        entry = self.record.entries.get("train", {})
        if not (self.run / "config.toml").exists() or is_discarded(entry, self.run):
            return
        before = entry.get("settings")
        if before is None:
            raise RecipeError(
                f"{self.run}: holds a run that no recipe made; choose another --output, or --overwrite it"
            )
        if self.folder.weights("step_*"):
            refuse_changes(self.run, before, self.settings.values, self.settings.of_training())

    def refuse_lost_checkpoints(self, names: Iterable[str]) -> None:
        """Refuse to train anew in the place of means whose checkpoints were deleted.

        Args:
            names: of the stages that train.

        Raises:
            RecipeError: which names a mean.
        """
        for name in names:
            entry, run = self.record.entries.get(name, {}), self._run_of(name)
            means, steps = (self.folder.weights(name, run) for name in ("average_*", "step_*"))
            if means and not steps and "settings" in entry and not is_discarded(entry, run):
                raise RecipeError(
                    f"{means[0].parent}: the checkpoints beside it, step_*, are gone, with which its recipe goes on; "
                    "put them back, choose another --output, or --overwrite to train anew"
                )

    def discard(self) -> None:
        """Note that all trainings are to begin anew; what is there stays until they do."""
        entries = self.record.entries
        names = {"train", *(name for name in entries if name.startswith(name_of_training("")))}
        there = (self.run / "config.toml").exists()
        self._overwritten = {name: entries.get(name) for name in names if there or name in entries}
        for name in names:
            entries[name] = {"discard": stamp(self._run_of(name))}

    def restore(self) -> None:
        """Note again what was to be discarded, if the recipe failed before any training has begun anew."""
        names = self._overwritten
        if names and all(is_discarded(self.record.entries[name], self._run_of(name)) for name in names):
            self.record.put_back(self._overwritten)

    def forget_discarded(self) -> None:
        """Restore nothing any more: the text has become another."""
        self._overwritten.clear()

    def train(self) -> None:
        """Train the run's own model, or go on with a training that was stopped."""
        from seq2seq.devices import choose_device
        from seq2seq.memory import peak_memory_of_children_mb
        from seq2seq.training.cpu_processes import num_processes
        from seq2seq.training.trainer import train

        settings, text = self.settings, digests(self.settings.training_text())
        there = self.has_begun() or self._is_set_up("train", self.run, settings.of_training(), text)
        self._note("train", self.run, there, settings.of_training(), text)
        tokenizer = None if there or not self._forward_models() else self.tokenizer_for(self.run)
        with _can_go_on(self.run):
            train(
                settings.config_to_train(), self.run, tokenizer=tokenizer, device=self.device, resume=there,
                overwrite=not there,
            )  # fmt: skip
        if not there:
            self.record.entries.pop("average", None)  # of the training that was there before
        entry = self.record.entries["train"]
        entry.pop("discard", None)
        helpers = num_processes(settings.config.training, choose_device(self.device)) - 1
        helpers_mb = max(entry.get("helpers_mb", 0.0), helpers * peak_memory_of_children_mb())
        self.record.write("train", helpers_mb=helpers_mb)

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
        self.refuse_lost_checkpoints([stage.name])
        if there and "settings" in entry:
            refuse_changes(run, entry["settings"], stage.settings, stage.settings)
            refuse_other_text(run, entry["text"], text)
        there = there or self._is_set_up(stage.name, run, stage.settings, text)
        self._note(stage.name, run, there, stage.settings, text)
        given = None if there else tokenizer()
        with _can_go_on(run):
            train(config, run, tokenizer=given, device=self.device, resume=there, overwrite=not there)
        self.record.entries[stage.name].pop("discard", None)
        if self.settings.config.recipe.average:
            self.average(run)
        else:
            remove_means(run)

    def average(self, run: Path) -> Path:
        """Average a run's last checkpoints, and validate the mean; return its folder."""
        return average_last(run, self.settings.config.recipe.average, self.device, self.report)

    def remove_idle_means(self) -> None:
        """Remove the means of checkpoints that the recipe made before, if it makes none any more."""
        entries = self.record.entries
        if not self.settings.config.recipe.average and "average" in entries:
            remove_means(self.run, entries["average"].get("made", []))
            del entries["average"]
            for run in self.run.glob("ensemble/*"):
                remove_means(run)

    def own_tokenizer(self) -> Tokenizer:
        """The one that the run's own model was trained with."""
        from seq2seq.data.tokenizer import Tokenizer

        return Tokenizer.load(self.run / "tokenizer")

    def tokenizer_for(self, run: Path) -> Tokenizer | None:
        """The tokenizer of the first model that diversifies the text: all models of its direction take it.

        Those of the other direction do, too, if it has one vocabulary for both sides. None: the run makes its own.
        """
        from seq2seq.data.tokenizer import Tokenizer

        forward = self._forward_models()
        if run == forward[0]:
            return None
        found = Tokenizer.load(forward[0] / "tokenizer")
        return found if run in (self.run, *forward) or len(set(found.model_files)) == 1 else None

    def _forward_models(self) -> list[Path]:
        """The runs of this direction that diversify the training text."""
        return self.folder.teachers(self.settings.config.diversification, "forward")

    def _is_set_up(self, name: str, run: Path, settings: Mapping[str, Any], text: Mapping[str, str]) -> bool:
        """Whether a run was set up for this very training, and stopped before its first checkpoint, with its tokens."""
        from seq2seq.training.setup import TOKENS

        entry = self.record.entries.get(name, {})
        same = entry.get("settings") == json.loads(json.dumps(dict(settings))) and entry.get("text") == text
        return same and (run / TOKENS).exists() and not is_discarded(entry, run) and not self.folder.weights("*", run)

    def _note(self, name: str, run: Path, there: bool, settings: Mapping[str, Any], text: Mapping[str, str]) -> None:
        """Note what a training is of, before it begins or goes on; what was there is discarded until it has begun."""
        entry = self.record.entries[name]
        if there:
            entry.pop("discard", None)
        else:
            entry.clear()
            entry["discard"] = stamp(run)
        self.record.write(name, settings=dict(settings), text=dict(text))

    def _run_of(self, name: str) -> Path:
        """The run of a stage that trains."""
        if name == "train":
            return self.run
        model = name.removeprefix(name_of_training(""))
        return self.run / "ensemble" / model if model.isdecimal() else self.folder.teacher(model)


def name_of_training(name: str) -> str:
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
