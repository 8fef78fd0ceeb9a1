"""The last stages of a recipe: its test sets are translated, and the translations scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Any

from seq2seq.config import Config, DecodingConfig
from seq2seq.data.corpus import read_lines, write_lines
from seq2seq.data.tags import tagged_language
from seq2seq.evaluation import read_parallel, score
from seq2seq.files import atomic_directory, write_json
from seq2seq.run_folder import RunFolder
from seq2seq.telling import now_and_then

_SECONDS_BETWEEN_REPORTS = 5.0


def translate_tests(
    folder: RunFolder, config: Config, decoding: DecodingConfig, device: str, report: Callable[[str], None]
) -> dict[str, Any]:
    """Write `translations/` with the mean of checkpoints, or the best one where there is no mean, and all partners.

    Returns:
        The name of the `checkpoint`, and `sentences_per_second`.
    """
    from seq2seq.checkpoint import read_info, resolve
    from seq2seq.decoding.translator import Translator

    _, checkpoint = resolve(folder.path)
    members = [resolve(partner)[1] for partner in folder.partners(config)]
    translator = Translator.load(checkpoint, device, ensemble=members, rerank_by=folder.reverse(config))
    texts = {path.name: list(read_lines(path)) for path in folder.test_text("data", 0)}
    total = sum(map(len, texts.values()))
    report(f"translating {total:,} sentences with {checkpoint.name}")
    started = time.monotonic()
    everything = list(chain(*texts.values()))
    progress = now_and_then(report, lambda done: f"{done:,} of {total:,} sentences", _SECONDS_BETWEEN_REPORTS)
    translations = iter(translator.translate(everything, decoding, progress))
    seconds = time.monotonic() - started
    with atomic_directory(folder.path / "translations") as partial:
        for path in folder.test_text("data", 1):
            number = len(texts[f"{path.stem}.{folder.languages[0]}"])
            write_lines(partial / path.name, (translation.text for translation in islice(translations, number)))
    told = {"checkpoint": checkpoint.name, "checkpoint_step": read_info(checkpoint).step}
    return {**told, "sentences_per_second": round(total / seconds, 2)}


def score_tests(folder: RunFolder, models: int, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Score what is in `translations/`; write `scores.json`.

    Args:
        folder: of the run.
        models: how many translated together.
        stages: what is noted of each stage.
    """
    from seq2seq.checkpoint import latest, read_info
    from seq2seq.memory import peak_memory_mb

    scores, sentences = {}, {}
    for path in folder.test_text("data", 1):
        hypotheses, references = read_parallel(folder.path / "translations" / path.name, path)
        # Of a model with several target languages, a test set is in that of its tag.
        language = tagged_language(list(read_lines(folder.text("data", path.stem, 0)))) or folder.languages[1]
        scores[path.stem] = score(hypotheses, [references], target_language=language).to_json()
        sentences[path.stem] = len(references)
    checkpoint = latest(folder.path)
    assert checkpoint is not None
    info, train, translate = read_info(checkpoint), stages["train"], stages["translate"]
    memory = [peak_memory_mb(), *(stage.get("peak_memory_mb", 0) for stage in stages.values())]
    memory += [train.get("peak_memory_mb", 0) + train.get("helpers_mb", 0)]
    figures: dict[str, Any] = {
        "sentences": sentences["test"],
        "checkpoint": translate["checkpoint"],
        "checkpoint_step": translate.get("checkpoint_step"),  # of a run of an earlier version, it is not known
        "models": models,
        "sentences_per_second": translate["sentences_per_second"],
        "steps": info.step,
        "training_seconds": round(info.training_seconds, 1),  # of the first model
        "tokens_per_second": round(info.target_tokens_seen / max(info.training_seconds, 1e-3), 1),
        "peak_memory_mb": max(memory),
        "stage_seconds": {name: stage["seconds"] for name, stage in stages.items() if "seconds" in stage},
    }
    main = scores.pop("test")
    others = {name: {"sentences": sentences[name], **found} for name, found in scores.items()}
    write_json(folder.path / "scores.json", {**main, "further_test_sets": others, **figures})
