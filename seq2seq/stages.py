"""Stages of a long job: each is skipped when its settings, inputs and outputs are what they were when it was done.

What was done is kept in `stages.json`, so a job that was killed goes on where it was when the same command runs again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.errors import RecipeError
from seq2seq.files import sha256_of, write_json
from seq2seq.memory import peak_memory_mb


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a job."""

    name: str
    settings: Mapping[str, Any]  # plain values that its outputs depend on
    inputs: Callable[[], Sequence[Path]]  # files that its outputs depend on, made by earlier stages
    outputs: Callable[[], Sequence[Path]]  # files that it has made; none: it is not done
    work: Callable[[], None]
    goes_on: bool = False  # whether its work adds to what was done when it was begun before, as training does


class StageRecord:
    """What `stages.json` says of the stages that were done in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read the record, if there is one.

        Raises:
            RecipeError: if it is damaged.
        """
        self.folder, self.path = folder, folder / "stages.json"
        try:
            self.entries: dict[str, dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.entries = {}
        except ValueError:
            raise RecipeError(f"{self.path}: damaged; choose another --output, or delete the folder {folder}") from None

    def is_done(self, stage: Stage) -> bool:
        """Whether a stage was done with these settings and inputs, and its outputs are as it left them."""
        entry = self.entries.get(stage.name, {})
        outputs = stage.outputs()
        return bool(
            outputs
            and entry.get("fingerprint") == self.fingerprint(stage)
            and entry.get("outputs") == self._hashes(outputs)
        )

    def run(self, stage: Stage) -> None:
        """Do a stage and write down that it is done."""
        started = time.monotonic()
        self.begin(stage.name)
        fingerprint = self.fingerprint(stage)
        try:
            stage.work()
        finally:
            self._note_cost(stage, time.monotonic() - started)
        self.write(stage.name, fingerprint=fingerprint, outputs=self._hashes(stage.outputs()))

    def _note_cost(self, stage: Stage, seconds: float) -> None:
        """Note what a stage has taken, with what it took before if it goes on."""
        entry = self.entries[stage.name]
        before = entry if stage.goes_on else {}
        entry["seconds"] = round(before.get("seconds", 0.0) + seconds, 3)
        entry["peak_memory_mb"] = max(before.get("peak_memory_mb", 0.0), peak_memory_mb())
        if not stage.goes_on:
            return  # written when it is done
        with suppress(OSError):  # of a full disk, which the work has told of
            self.write(stage.name)

    def begin(self, name: str) -> None:
        """Note that a stage has begun, and is not done; other notes about it stay."""
        self.entries.setdefault(name, {}).pop("fingerprint", None)
        write_json(self.path, self.entries)

    def write(self, name: str, **values: Any) -> None:
        """Note values about a stage, beside those that are there."""
        self.entries[name] = self.entries.get(name, {}) | values
        write_json(self.path, self.entries)

    def put_back(self, entries: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Note again what was noted of stages before; of None, nothing was."""
        for name, entry in entries.items():
            if entry is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = dict(entry)
        with suppress(OSError):  # of a full disk, which may be why
            write_json(self.path, self.entries)

    def fingerprint(self, stage: Stage) -> str:
        """A hash of all that a stage's outputs depend on."""
        everything = {"settings": dict(stage.settings), "inputs": self._hashes(stage.inputs())}
        return hashlib.sha256(json.dumps(everything, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def _hashes(self, paths: Sequence[Path]) -> dict[str, str]:
        """The SHA-256 of files; by path within the folder, and by name elsewhere, so that both can be moved."""
        found: dict[str, str] = {}
        for path in paths:
            name = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.name
            while name in found:  # one of another folder
                name += "'"
            found[name] = sha256_of(path) if path.exists() else ""
        return found
