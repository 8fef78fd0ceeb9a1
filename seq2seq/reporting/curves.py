"""How trainings went: curves, and a table of what each run is and what it took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from seq2seq.reporting.charts import Series, line_chart
from seq2seq.reporting.page import note, table, who
from seq2seq.reporting.runs import Record, Run

_NOTE = (
    "Losses are cross entropies in nats for each target token, without label smoothing; the training loss is with "
    "dropout. BLEU and chrF are of validation text, as training found them. Minutes are of training alone, on whatever "
    "machine each run had; validating and saving do not count."
)


def curves(runs: Sequence[Run]) -> str:
    """The charts of all runs, or nothing where no run has records."""
    if not any(run.records for run in runs):
        return ""
    charts = [
        _chart(runs, "BLEU against minutes of training", "minutes", _minutes, _value("validation_bleu")),
        _chart(runs, "BLEU", "steps", _steps, _value("validation_bleu")),
        _chart(runs, "chrF", "steps", _steps, _value("validation_chrf")),
        _chart(runs, "Training loss", "steps", _steps, _training_loss),
        _chart(runs, "Validation loss", "steps", _steps, _value("validation_loss")),
        _chart(runs, "Learning rate", "steps", _steps, _value("learning_rate")),
    ]
    without = [run.name for run in runs if not run.records]
    missing = note(f"Without metrics.jsonl, and so without curves: {', '.join(without)}.") if without else ""
    return f'{note(_NOTE)}{missing}<div class="charts">{"".join(charts)}</div>{_validations(runs)}'


def facts(runs: Sequence[Run]) -> str:
    """A row for each run: size, length of training, and its best validation."""
    header = ["run", "parameters", "steps", "minutes", "target tokens", "tokens a second"]
    header += ["BLEU of the best", "chrF", "loss"]
    return table(header, [_facts_of(run) for run in runs])


def best_validation(run: Run) -> Record | None:
    """The record of the validation by which the run's best checkpoint is chosen: of equal ones, the newest."""
    name = f"validation_{run.config.training.validation_metric}"
    found = [record for record in run.records if name in record]
    sign = -1 if name == "validation_loss" else 1
    return max(found, key=lambda record: (sign * record[name], record["step"]), default=None)


def _facts_of(run: Run) -> list[str]:
    last: Record = {}
    for record in run.records:
        last |= record
    logged: Record = next((record for record in reversed(run.records) if "target_tokens_seen" in record), {})
    seconds, tokens = last.get("training_seconds"), logged.get("target_tokens_seen")
    speed = tokens / logged["training_seconds"] if tokens and logged.get("training_seconds") else 0.0
    best = best_validation(run) or {}
    scores = [f"{best[name]:.2f}" if (name := f"validation_{measure}") in best else "" for measure in ("bleu", "chrf")]
    if scores[0]:
        scores[0] += f"<small>at step {best['step']:,.0f}</small>"
    return [
        who(run.name, run.slot),
        f"{run.parameters:,}" if run.parameters else "",
        f"{last['step']:,.0f}" if last else "",
        f"{seconds / 60:,.1f}" if seconds else "",
        f"{tokens:,.0f}" if tokens else "",
        f"{speed:,.0f}" if speed else "",
        *scores,
        f"{best['validation_loss']:.3f}" if "validation_loss" in best else "",
    ]


def _chart(
    runs: Sequence[Run],
    title: str,
    x_label: str,
    x: Callable[[Record], float | None],
    y: Callable[[Record], float | None],
) -> str:
    series = []
    for run in runs:
        points = [(x(record), y(record)) for record in run.records]
        known = [(across, up) for across, up in points if across is not None and up is not None]
        series.append(Series(run.name, known, run.slot))
    return line_chart(title, x_label, series)


def _value(name: str) -> Callable[[Record], float | None]:
    return lambda record: record.get(name)


def _steps(record: Record) -> float:
    return record["step"]


def _minutes(record: Record) -> float | None:
    return record["training_seconds"] / 60 if "training_seconds" in record else None


def _training_loss(record: Record) -> float | None:
    perplexity = record.get("perplexity", 0.0)
    return math.log(perplexity) if perplexity > 0 else None


def _validations(runs: Sequence[Run]) -> str:
    """All validations as numbers, folded up."""
    rows = [
        [
            escape(run.name),
            f"{record['step']:,.0f}",
            f"{record['training_seconds'] / 60:,.1f}" if "training_seconds" in record else "",
            *(f"{record[name]:.{digits}f}" if name in record else "" for name, digits in _MEASURES.items()),
        ]
        for run in runs
        for record in run.records
        if record.keys() & _MEASURES.keys()
    ]
    if not rows:
        return ""
    numbers = table(["run", "step", "minutes", "BLEU", "chrF", "loss"], rows)
    return f"<details><summary>All validations as numbers</summary>{numbers}</details>"


_MEASURES = {"validation_bleu": 2, "validation_chrf": 2, "validation_loss": 3}
