"""How fast training is, beside Hugging Face's Marian in a plain loop: the same sizes, the same batches, in turn.

    python -m tests.benchmarks.training RUN [--rounds 3] [--steps 12] [--base] [--json FILE]

RUN is any run that `seq2seq train` or a recipe made with a joint tokenizer: its corpus, its tokenizer and the sizes of
its model are taken; the models that are trained here are new and are thrown away.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.contestants import (
    Contestant,
    Result,
    in_turn,
    jemalloc,
    machine,
    middle,
    peak_gflops,
    say,
    serve,
    table,
)

MODULE = "tests.benchmarks.training"
BASE = {"encoder_layers": 6, "decoder_layers": 6, "d_model": 512, "d_ff": 2048, "num_heads": 8}


def main() -> None:
    """Run the benchmark, or be one of its contestants."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="steps of a round")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--base", action="store_true", help="the paper's base model and 32,000 pieces instead")
    parser.add_argument("--only", nargs="*", help="names of contestants")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contestant")
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    if arguments.contestant:
        _compete(arguments)
    else:
        _compare(arguments)


def _compare(arguments: argparse.Namespace) -> None:
    environments: dict[str, dict[str, str]] = {"ours": {}, "ours, bfloat16": {}, "huggingface": {}}
    if library := jemalloc():
        environments |= {"huggingface, jemalloc": {"LD_PRELOAD": library}}
    else:
        say("no jemalloc on this machine; its row is left out (Debian: libjemalloc2)")
    chosen = {name: value for name, value in environments.items() if not arguments.only or name in arguments.only}
    contestants = [
        Contestant(
            name, MODULE,
            [arguments.run.resolve(), "--contestant", name.split(",")[0], "--steps", arguments.steps, "--batch-tokens",
             arguments.batch_tokens, "--precision", "bfloat16" if "bfloat16" in name else "float32",
             *(["--base"] if arguments.base else [])],
            environment,
        )
        for name, environment in chosen.items()
    ]  # fmt: skip
    results = in_turn(contestants, arguments.rounds)
    for contestant in contestants:
        contestant.close()
    peak = peak_gflops()
    speeds = {name: middle(found, "tokens_per_second") for name, found in results.items()}
    rows = [
        [
            name, f"{speeds[name]:,.0f}", f"{speeds['ours'] / speeds[name]:.2f}",
            f"{middle(found, 'flops_per_token') * speeds[name] / 1e9 / peak:.0%}", f"{middle(found, 'padding'):.1%}",
            f"{middle(found, 'peak_megabytes'):,.0f}",
        ]
        for name, found in results.items()
    ]  # fmt: skip
    rounds = f"medians of {arguments.rounds} rounds of {arguments.steps} steps"
    print(f"{machine()}; {peak:.0f} GFLOP/s in float32; {rounds}\n")
    print(table(["training", "target tokens/s", "ours / this", "utilisation", "padding", "peak MB"], rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "peak_gflops": peak, "results": results}, indent=1))


def _compete(arguments: argparse.Namespace) -> None:
    """Train as one of the contestants does, on the same batches in the same order."""
    import torch

    from seq2seq.checkpoint import load_model
    from seq2seq.data.token_writer import open_stores
    from seq2seq.training.distributed import Processes
    from seq2seq.training.feed import Feed, Position

    loaded = load_model(arguments.run)
    training = replace(
        loaded.config.training, batch_tokens=arguments.batch_tokens, accumulate=1, precision=arguments.precision
    )
    config = replace(loaded.config, training=training)
    model = config.model
    if arguments.base:
        model = replace(model, **BASE, source_vocab_size=32_000, target_vocab_size=32_000)
    # Without gates, which Hugging Face's model has not.
    model = replace(model, dropout=0.1, attention_dropout=0.0, activation_dropout=0.0, activation="relu")
    config = replace(config, model=model)
    folder = tempfile.TemporaryDirectory()
    stores = open_stores(config, loaded.tokenizer, Path(folder.name))
    feed, position = Feed(config, loaded.tokenizer, Processes(), stores), Position()
    torch.manual_seed(1)
    train = {"ours": _ours, "huggingface": _huggingface}[arguments.contestant](config, loaded.tokenizer.pad_id)

    def work() -> Result:
        nonlocal position
        works = []
        for _ in range(arguments.steps):
            works.append(feed.step(position))
            position = works[-1].position
        began = time.perf_counter()
        for each in works:
            train(each)
        seconds = time.perf_counter() - began
        batches = [batch for each in works for batch in each.batches]
        tokens = sum(each.num_target_tokens for each in works)
        places = sum(batch.source.numel() + batch.target_output.numel() for batch in batches)
        real = sum(int(batch.source_mask.sum()) + batch.num_target_tokens for batch in batches)
        sources = sum(int(batch.source_mask.sum()) for batch in batches)
        return {
            "tokens_per_second": tokens / seconds, "padding": 1 - real / places,
            "flops_per_token": _flops(model, sources / tokens),
        }  # fmt: skip

    serve(work)


def _flops(model, source_ratio: float) -> float:
    """Floating-point operations for a target token: 6 for each weight that it meets, attention's products left out."""
    square = model.d_model**2
    feed_forward = 2 * model.d_model * model.d_ff
    encoder = model.encoder_layers * (4 * square + feed_forward)
    decoder = model.decoder_layers * (6 * square + feed_forward) + model.target_vocab_size * model.d_model
    return 6 * (decoder + source_ratio * (encoder + model.decoder_layers * 2 * square))


def _ours(config, pad_id: int):
    import torch

    from seq2seq.model.transformer import Transformer
    from seq2seq.training.distributed import Processes
    from seq2seq.training.steps import Steps

    cpu = torch.device("cpu")
    steps = Steps(Transformer(config.model).train(), config.training, cpu, Processes())

    def train(work) -> None:
        steps.gradients(work)
        steps.learner.update(1e-4, 1.0)

    return train


def _huggingface(config, pad_id: int):
    import torch
    from torch.nn import functional as F
    from transformers import MarianConfig, MarianMTModel

    sizes = config.model
    model = MarianMTModel(
        MarianConfig(
            vocab_size=sizes.target_vocab_size, d_model=sizes.d_model, encoder_layers=sizes.encoder_layers,
            decoder_layers=sizes.decoder_layers, encoder_attention_heads=sizes.num_heads,
            decoder_attention_heads=sizes.num_heads, encoder_ffn_dim=sizes.d_ff, decoder_ffn_dim=sizes.d_ff,
            max_position_embeddings=sizes.max_length, activation_function="relu", dropout=0.1, attention_dropout=0.0,
            activation_dropout=0.0, scale_embedding=True, share_encoder_decoder_embeddings=True, pad_token_id=pad_id,
            eos_token_id=3, decoder_start_token_id=2,
        )
    ).train()  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)

    def train(work) -> None:
        for batch in work.batches:
            logits = model(
                input_ids=batch.source, attention_mask=batch.source_mask.long(), decoder_input_ids=batch.target_input,
                use_cache=False,
            ).logits  # fmt: skip
            labels = batch.target_output.masked_fill(~batch.target_mask, -100)
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return train


if __name__ == "__main__":
    sys.exit(main())
