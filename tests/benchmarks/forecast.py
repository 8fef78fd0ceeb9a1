"""What `seq2seq doctor` predicts of a training, and what the training then shows, for models of three sizes.

    python -m tests.benchmarks.forecast CONFIG [--set KEY=VALUE] [--json FILE]

Each size is asked about and trained for some steps, in processes of their own. Speed is in target tokens a second, from
the first tenth of the steps on; memory is the largest that the process had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from seq2seq.config import PRESETS
from tests.benchmarks.contestants import machine, table
from tests.benchmarks.growth import BASE, SMALL

COMMAND = [sys.executable, "-m", "seq2seq_cli"]
SIZES = {"tiny": PRESETS["tiny"], "small": SMALL, "base": BASE}
STEPS = {"tiny": 300, "small": 120, "base": 30}


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    records = [_compare(size, arguments.config, arguments.overrides) for size in SIZES]
    rows = []
    for each in records:
        told, shown = each["predicted"], each["shown"]
        ratios = [f"{told[name] / shown[name]:.2f}" for name in told]
        figures = [f"{value:,.0f}" for pair in zip(told.values(), shown.values(), strict=True) for value in pair]
        rows.append([each["model"], *figures[:2], ratios[0], *figures[2:], ratios[1]])
    print(f"{machine()}; {arguments.config} {' '.join(arguments.overrides)}\n")
    heads = ["model", "tokens/s predicted", "shown", "ratio", "MB predicted", "shown", "ratio"]
    print(table(heads, rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "records": records}, indent=1), encoding="utf-8")


def _compare(size: str, config: str, overrides: list[str]) -> dict:
    sizes = [f"model.{name}={value}" for name, value in SIZES[size].items()]
    common = [*overrides, *sizes, f"training.steps={STEPS[size]}", "training.max_minutes=0", "training.cpu_processes=1"]
    # One process, whose memory the system can tell; no validation, whose translations would be of an untrained model.
    common += ["training.validate_every=0", "training.patience=0", "recipe.average=0"]
    common += [f"training.log_every={STEPS[size] // 10}"]
    options = [part for each in common for part in ("--set", each)]
    with tempfile.TemporaryDirectory() as folder:
        asked = subprocess.run([*COMMAND, "doctor", config, "--json", *options], stdout=subprocess.PIPE, check=False)
        figures = json.loads(asked.stdout)["figures"]
        memory = _memory_of([*COMMAND, "train", config, "--output", f"{folder}/run", *options])
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [each for each in map(json.loads, lines) if "target_tokens_seen" in each and "learning_rate" in each]
    tokens, seconds = (steps[-1][name] - steps[0][name] for name in ("target_tokens_seen", "training_seconds"))
    return {
        "model": size,
        "predicted": {"tokens_per_second": figures["tokens_per_second"], "memory_mb": figures["memory_mb"]},
        "shown": {"tokens_per_second": tokens / seconds, "memory_mb": memory},
    }


def _memory_of(command: list[str]) -> float:
    """The largest memory of a process in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed")
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
