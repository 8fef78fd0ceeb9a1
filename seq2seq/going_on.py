"""Whether a training may go on: with the settings and the text that it began with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq.config import Config, CorpusConfig, config_to_dict
from seq2seq.errors import RecipeError
from seq2seq.files import sha256_of
from seq2seq.settings import flat, to_dict

# Settings that a training can take up when it goes on; all others would have made another model.
_MAY_CHANGE = {
    f"training.{name}"
    for name in (
        "steps", "max_minutes", "cpu_processes", "log_every", "validate_every", "validation_metric",
        "validation_beam_size", "validation_sentences", "checkpoint_every", "keep_checkpoints", "patience", "precision",
    )
} | {"recipe.average"}  # fmt: skip


def stamp(run: Path) -> int:
    """What tells a run from one that is trained in its place: when its config was written."""
    config = run / "config.toml"
    return config.stat().st_mtime_ns if config.exists() else 0


def is_discarded(entry: Mapping[str, Any], run: Path) -> bool:
    """Whether the training that a run holds is one to be discarded, also after a kill, and not that in its place.

    Until the one in its place is about to begin, no `settings` are noted; the run may be a copy, of another time.
    """
    noted = entry.get("discard")
    return noted is not None and (noted == stamp(run) or (noted != 0 and "settings" not in entry))  # 0: there was none


def digests(paths: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each file by its name; empty for one that is missing."""
    return {path.name: sha256_of(path) if path.exists() else "" for path in paths}


def refuse_changes(
    run: Path, before: Mapping[str, Any], settings: Mapping[str, Any], needed: Mapping[str, Any]
) -> None:
    """Refuse to go on with a training whose settings were others.

    Args:
        run: of the training.
        before: the settings that it depends on, as they were noted.
        settings: all as they are.
        needed: those of them that it depends on.

    Raises:
        RecipeError: which names them.
    """
    now = json.loads(json.dumps(dict(needed)))
    # Settings that have come since had their defaults.
    of_corpus, defaults = to_dict(CorpusConfig(path="some")) | {"path": ""}, flat(config_to_dict(Config()))
    defaults |= {f"data.{name}.{key}": value for name in ("validation", "test") for key, value in of_corpus.items()}
    before = {name: defaults[name] for name in now if name in defaults} | dict(before)
    before["data.train"] = [of_corpus | each for each in before.get("data.train") or []]
    before, now = _without_usual_columns(before), _without_usual_columns(now)
    names = sorted((before.keys() | now.keys()) - _MAY_CHANGE)
    if changed := [name for name in names if before.get(name) != now.get(name)]:
        now = {**settings, **now}
        told = ", ".join(f"{name} = {now.get(name)!r} (was {before.get(name)!r})" for name in changed[:5])
        raise RecipeError(
            f"{run}: was trained with other settings: {told}{', ...' if len(changed) > 5 else ''}; choose another "
            "--output, or --overwrite to train anew"
        )


def _without_usual_columns(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without columns that have the names of the languages: these are taken unless others are asked for."""
    usual = {f"{side}_column": settings.get(f"data.{side}_language") for side in ("source", "target")}

    def plain(name: str, value: Any) -> Any:
        return "" if name in usual and value == usual[name] else value

    found = {name: plain(name.rpartition(".")[2], value) for name, value in settings.items()}
    corpora = settings.get("data.train") or []
    return found | {"data.train": [{name: plain(name, each[name]) for name in each} for each in corpora]}


def refuse_other_text(run: Path, before: Mapping[str, str] | None, now: Mapping[str, str]) -> None:
    """Refuse to go on with a training on other text; both are as `digests` has it.

    Raises:
        RecipeError: which names the run.
    """
    if before != now:
        raise RecipeError(
            f"{run}: was trained on other text than there is now; choose another --output, or --overwrite to train anew"
        )
