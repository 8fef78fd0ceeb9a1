"""How the time of translation grows: with the length of sentences, the size of batches, the vocabulary, and the model.

    python -m tests.benchmarks.growth [--precision int8] [--beam-size 5] [--json FILE]

Models have random weights, and every translation is made as long as its source, so that only sizes differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from tests.benchmarks.contestants import machine, table

SMALL = {"encoder_layers": 3, "decoder_layers": 3, "d_model": 256, "d_ff": 1024, "num_heads": 4}
BASE = {"encoder_layers": 6, "decoder_layers": 6, "d_model": 512, "d_ff": 2048, "num_heads": 8}
PLAIN = {"length": 16, "batch size": 64, "vocabulary": 8000, "model": "small"}
GROWTH = {
    "length": [8, 16, 32, 64, 128],
    "batch size": [1, 8, 64, 128],
    "vocabulary": [8000, 32_000],
    "model": ["small", "base"],
}
SPECIAL = SimpleNamespace(pad_id=0, start_id=2, eos_id=3, never_output=(0, 1, 2))


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    records = []
    for name, values in GROWTH.items():
        for value in values:
            seconds = _measure({**PLAIN, name: value}, arguments)
            records.append({"what": name, "size": value, **seconds})
    rows = [
        [f"{each['what']} {each['size']}", f"{each['sentences_per_second']:,.0f}", f"{each['tokens_per_second']:,.0f}"]
        for each in records
    ]
    plain = ", ".join(f"{name} {value}" for name, value in PLAIN.items())
    print(f"{machine()}; {arguments.precision}, beam {arguments.beam_size}, one process; else {plain}\n")
    print(table(["translation of", "sentences/s", "target tokens/s"], rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "records": records}, indent=1), encoding="utf-8")


def _measure(sizes: dict, arguments: argparse.Namespace) -> dict[str, float]:
    import torch

    from seq2seq.config import DecodingConfig, ModelConfig
    from seq2seq.decoding.engine import Task, TorchEngine
    from seq2seq.model.transformer import Transformer

    vocabulary = {"source_vocab_size": sizes["vocabulary"], "target_vocab_size": sizes["vocabulary"]}
    torch.manual_seed(1)
    model = Transformer(ModelConfig(**(SMALL if sizes["model"] == "small" else BASE), **vocabulary))
    engine = TorchEngine(model, SPECIAL)
    config = DecodingConfig(beam_size=arguments.beam_size, precision=arguments.precision)
    length, size = sizes["length"], sizes["batch size"]
    sources = torch.randint(4, sizes["vocabulary"], (size, length)).tolist()
    tasks = [Task([*source[:-1], SPECIAL.eos_id], length, length, ()) for source in sources]
    seconds = []
    for _ in range(1 + arguments.rounds):
        began = time.perf_counter()
        engine.search(tasks, config)
        seconds.append(time.perf_counter() - began)
    middle = median(seconds[1:])
    return {"sentences_per_second": size / middle, "tokens_per_second": size * length / middle}


if __name__ == "__main__":
    sys.exit(main())
