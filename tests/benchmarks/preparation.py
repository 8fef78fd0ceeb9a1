"""How fast a corpus of any size is prepared, in how much memory, and how soon training then begins.

    python -m tests.benchmarks.preparation FOLDER [--pairs 10000000] [--kill-after SECONDS]

Writes made-up text with noise of all kinds into FOLDER (unless it is there), that many pairs and a tenth of it, runs
`seq2seq prepare` on both, maybe kills it in the middle and runs it again, and prints a table. The memory is that of all
its processes together, what they share counted once, the highest of five readings a second. How long each stage takes,
the command itself says. A second table has the time from `seq2seq train` to the end of the first step of a tiny model,
that to make a pool of batches, and the memory that the feed takes after some pools, without that of the program.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from seq2seq.files import atomic_write
from tests.benchmarks.contestants import machine, say, table

_BLOCK = 100_000  # pairs that are made at a time
_READINGS_S = 0.2


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--kill-after", type=float, default=0.0, help="seconds until it is killed, and begun again")
    parser.add_argument("--feed", action="store_true", help="measure the feed of the prepared FOLDER in this process")
    arguments = parser.parse_args()
    if arguments.feed:
        print(json.dumps(feed(arguments.folder)))
        return
    rows, begins = [], []
    for pairs in (arguments.pairs // 10, arguments.pairs):
        prepared = arguments.folder / f"prepared-{pairs}"
        rows += prepare(arguments.folder, pairs, prepared, arguments.kill_after)
        first_step = start_up(prepared, arguments.folder / "run")
        command = [sys.executable, "-m", "tests.benchmarks.preparation", str(prepared), "--feed"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        begins.append(
            [f"{found['pairs']:,}", f"{first_step:.1f}", f"{found['open_s']:.2f}", f"{found['pool_s']:.2f}",
             f"{found['megabytes']:,.0f}"]
        )  # fmt: skip
    print(f"{machine()}\n")
    print(table(["", "seconds", "pairs/s", "peak MB, all processes"], rows) + "\n")
    heads = ["prepared pairs", "to the first step, s", "opening, s", "a pool, s", "memory of the feed, MB"]
    print(table(heads, begins))


def prepare(folder: Path, pairs: int, output: Path, kill_after: float) -> list[list[str]]:
    """Prepare text of so many pairs; rows of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"{pairs}.de").exists():
        began = time.perf_counter()
        write_corpus(folder, pairs)
        say(f"{pairs:,} pairs made in {time.perf_counter() - began:.0f} s")
    config = folder / "prepare.toml"
    config.write_text(
        f'[data]\nsource_language = "en"\ntarget_language = "de"\n'
        f'train = [{{ source = "{pairs}.en", target = "{pairs}.de" }}]\n'
        'validation = { source = "held.en", target = "held.de" }\n'
        '[tokenizer]\nmax_sentences = 100000\n[model]\npreset = "tiny"\n'
        '[prepare]\nmax_words = 200\nmax_repetition = 5\ndrop_copies = true\nmin_letters = 0.3\n'
        'source_scripts = ["LATIN"]\ntarget_scripts = ["LATIN"]\nmatch_numbers = true\n',
        encoding="utf-8",
    )
    shutil.rmtree(output, ignore_errors=True)  # of an earlier run, or it would be done already
    command = [sys.executable, "-m", "seq2seq_cli", "prepare", str(config), "--output", str(output)]
    rows = []
    if kill_after:
        seconds, peak = watch(command, kill_after)
        done = len(list((output / ".parts").glob("*.json"))) - 1
        rows.append([f"{pairs:,}: killed, with {done} parts done", f"{seconds:.0f}", "", f"{peak:,.0f}"])
    seconds, peak = watch(command)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    what = f"{pairs:,}: {'the rest' if kill_after else 'prepare'}, {report['kept']:,} kept"
    rate = "" if kill_after else f"{report['read'] / seconds:,.0f}"  # the rest is a part of the pairs
    return [*rows, [what, f"{seconds:.0f}", rate, f"{peak:,.0f}"]]


def start_up(prepared: Path, run: Path) -> float:
    """Seconds from the command to train a tiny model to the end of its first step."""
    settings = ["training.steps=1", "training.log_every=1", "training.validate_every=0"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "seq2seq_cli", "train", str(prepared / "config.toml"), "--output", str(run)]
    began = time.perf_counter()
    with subprocess.Popen([*command, "--overwrite", *overrides], stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("step 1/1"):
                seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(said)
    return seconds


def feed(prepared: Path) -> dict[str, float]:
    """Open the feed of a prepared folder, and make four pools of its first epoch; seconds and megabytes."""
    from seq2seq.config import load_config
    from seq2seq.data.token_writer import open_stores
    from seq2seq.data.tokenizer import Tokenizer
    from seq2seq.memory import peak_memory_mb
    from seq2seq.training.distributed import Processes
    from seq2seq.training.feed import Feed, Position

    config = load_config(prepared / "config.toml")
    tokenizer = Tokenizer.load(config.tokenizer.path)
    import pyarrow  # noqa: F401  # whose memory is the program's

    before, began = peak_memory_mb(), time.perf_counter()
    stores = open_stores(config, tokenizer, prepared / "none")
    made = Feed(config, tokenizer, Processes(), stores)
    opened = time.perf_counter()
    for number in range(4):
        made.step(Position(number, 0, number))  # of a small corpus, which is one pool, that of another epoch
    seconds = time.perf_counter() - opened
    return {
        "pairs": len(made), "open_s": opened - began, "pool_s": seconds / 4, "megabytes": peak_memory_mb() - before
    }  # fmt: skip


def write_corpus(folder: Path, pairs: int, seed: int = 1) -> None:
    """Text files of made-up words by Zipf's law; one pair in ten is noise of some kind."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("eeeennniiirrssttaadhulcgmobwfkzvpöäü"))
    words = ["".join(generator.choice(letters, size)) for size in generator.integers(2, 12, 60_000)]
    for name, number in (("held", 2000), (str(pairs), pairs)):
        with atomic_write(folder / f"{name}.en") as source, atomic_write(folder / f"{name}.de") as target:
            for start in range(0, number, _BLOCK):
                sides = [_lines(words, min(_BLOCK, number - start), generator) for _ in range(2)]
                _spoil(sides[0], sides[1], generator)
                source.write("".join(f"{line}\n" for line in sides[0]))
                target.write("".join(f"{line}\n" for line in sides[1]))


def _lines(words: Sequence[str], number: int, generator: np.random.Generator) -> list[str]:
    lengths = generator.integers(3, 25, number)
    drawn = (generator.zipf(1.2, int(lengths.sum())) - 1) % len(words)
    chosen = [words[place] for place in drawn.tolist()]
    ends = list(accumulate(lengths.tolist(), initial=0))
    return [" ".join(chosen[start:end]) for start, end in pairwise(ends)]


def _spoil(source: list[str], target: list[str], generator: np.random.Generator) -> None:
    """Put noise into one pair of ten."""
    for place in np.flatnonzero(generator.random(len(source)) < 0.1).tolist():
        match place % 6:
            case 0:
                source[place], target[place] = source[0], target[0]
            case 1:
                target[place] = source[place]
            case 2:
                target[place] = ""
            case 3:
                target[place] = target[place].encode().decode("cp1252", "ignore")
            case 4:
                target[place] += " 2026" * (place % 5)
            case 5:
                source[place] *= 9


def watch(command: Sequence[str], kill_after: float = 0.0) -> tuple[float, float]:
    """Run a command, maybe for some seconds only; seconds, and the peak memory of all its processes in megabytes."""
    began, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command, start_new_session=True) as process:
        while process.poll() is None:
            peak = max(peak, _memory_mb(process.pid))
            time.sleep(_READINGS_S)
            if kill_after and time.perf_counter() - began > kill_after:
                os.killpg(process.pid, signal.SIGKILL)
        if not kill_after and process.returncode:
            raise SystemExit(f"ended with status {process.returncode}")
    return time.perf_counter() - began, peak


def _memory_mb(process: int) -> float:
    """The proportional set sizes of a process and its children."""
    children = Path(f"/proc/{process}/task/{process}/children")
    total = 0
    try:
        for each in [str(process), *children.read_text(encoding="utf-8").split()]:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="utf-8").split("\n")
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except OSError:  # it has just ended
        return 0.0
    return total / 1024


if __name__ == "__main__":
    main()
