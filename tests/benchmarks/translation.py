"""How fast translation is, beside CTranslate2 and Hugging Face's `generate`: the same weights and text, in turn.

    python -m tests.benchmarks.translation RUN --source FILE --reference FILE [--rounds 3] [--single] [--json FILE]

RUN is any run. CTranslate2 gets it as `seq2seq export` converts it, with a worker of one thread for each core; Hugging
Face joins in where a model can be a Marian model (post-norm). All are given text and give text; with --single, one
sentence after another, on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.contestants import Contestant, Result, in_turn, machine, middle, say, serve, table

MODULE = "tests.benchmarks.translation"
BATCH_SIZE = 64
Translate = Callable[[Sequence[str]], list[str]]


def main() -> None:
    """Run the benchmark, or be one of its contestants."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=0, help="the first so many only")
    parser.add_argument("--single", action="store_true", help="one sentence at a time, on one thread")
    parser.add_argument("--beam-sizes", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--only", nargs="*", help="names of contestants")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contestant")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.contestant:
        _compete(arguments)
    else:
        _compare(arguments)


def _compare(arguments: argparse.Namespace) -> None:
    from seq2seq.evaluation import score

    references = _lines(arguments.reference, arguments.sentences)
    report: dict[str, object] = {"machine": machine()}
    how = "one at a time, one thread" if arguments.single else f"batches of {BATCH_SIZE}"
    print(f"{machine()}; {len(references)} sentences, {how}; medians of {arguments.rounds} rounds\n")
    with tempfile.TemporaryDirectory() as folder:
        names = _export(arguments.run, Path(folder))
        names = [name for name in names if not arguments.only or name in arguments.only]
        for beam_size in arguments.beam_sizes:
            contestants = [_start(name, beam_size, arguments, folder) for name in names]
            results = in_turn(contestants, arguments.rounds)
            for contestant in contestants:
                contestant.close()
            speeds = {name: middle(found, "sentences_per_second") for name, found in results.items()}
            peers = [name for name in names if name.startswith(("ctranslate2", "huggingface"))]
            rows = [
                [
                    name, f"{speeds[name]:,.0f}", *(f"{speeds[name] / speeds[peer]:.2f}" for peer in peers),
                    f"{score(found[0]['translations'], [references]).to_json()['bleu']['score']:.2f}",
                    f"{middle(found, 'peak_megabytes'):,.0f}",
                ]
                for name, found in results.items()
            ]  # fmt: skip
            title = "greedy" if beam_size == 1 else f"beam {beam_size}"
            header = [title, "sentences/s", *(f"/ {peer}" for peer in peers), "BLEU", "peak MB"]
            print(table(header, rows) + "\n", flush=True)
            report[title] = {"rows": rows, "results": results}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")


def _start(name: str, beam_size: int, arguments: argparse.Namespace, folder: str) -> Contestant:
    given = [
        arguments.run.resolve(), "--contestant", name, "--source", arguments.source.resolve(),
        "--reference", arguments.reference.resolve(), "--beam-sizes", beam_size, "--folder", folder,
        "--sentences", arguments.sentences,
    ]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "1"} if arguments.single else {}
    return Contestant(name, MODULE, [*given, *(["--single"] if arguments.single else [])], threads)


def _export(run: Path, folder: Path) -> list[str]:
    """Write the run for the peers; the names of the contestants."""
    from seq2seq.checkpoint import load_model
    from seq2seq.decoding.ctranslate2 import convert
    from seq2seq.errors import ExportError
    from seq2seq.export import huggingface

    loaded = load_model(run)
    names = ["ours", "ours int8"]
    if (run / "lexicon.safetensors").exists():
        names += ["ours shortlist", "ours int8 shortlist"]
    for precision in ("float32", "int8"):
        (folder / precision).mkdir()
        convert(loaded.model, loaded.tokenizer, folder / precision, None if precision == "float32" else precision)
        names.append(f"ctranslate2 {precision}")
    try:
        (folder / "huggingface").mkdir()
        huggingface.write(loaded, folder / "huggingface")
        names.append("huggingface")
    except ExportError as error:
        say(f"without Hugging Face: {error}")
    return names


def _compete(arguments: argparse.Namespace) -> None:
    """Translate as one of the contestants does."""
    sources = _lines(arguments.source, arguments.sentences)
    (beam_size,) = arguments.beam_sizes
    kind, *options = arguments.contestant.split()
    makers = {"ours": _ours, "ctranslate2": _ctranslate2, "huggingface": _huggingface}
    translate = makers[kind](arguments, beam_size, options)

    def work() -> Result:
        began = time.perf_counter()
        if arguments.single:
            translations = [text for source in sources for text in translate([source])]
        else:
            translations = translate(sources)
        seconds = time.perf_counter() - began
        assert len(translations) == len(sources)
        return {"sentences_per_second": len(sources) / seconds, "translations": translations}

    serve(work)


def _ours(arguments: argparse.Namespace, beam_size: int, options: Sequence[str]) -> Translate:
    from seq2seq import Translator

    translator = Translator.load(arguments.run)
    config = replace(
        translator.config, beam_size=beam_size, batch_size=BATCH_SIZE, patience=1.0, length_penalty=1.0,
        length_penalty_form="power", precision="int8" if "int8" in options else "float32",
        shortlist="shortlist" in options,
    )  # fmt: skip
    return lambda texts: [each.text for each in translator.translate(texts, config)]


def _ctranslate2(arguments: argparse.Namespace, beam_size: int, options: Sequence[str]) -> Translate:
    import ctranslate2

    from seq2seq.checkpoint import load_model

    tokenizer = load_model(arguments.run).tokenizer
    source_pieces = tokenizer.source.tokens(range(tokenizer.source_vocab_size))
    ids = {piece: number for number, piece in enumerate(tokenizer.target.tokens(range(tokenizer.target_vocab_size)))}
    workers = 1 if arguments.single else _cores()
    folder = arguments.folder / options[0]
    translator = ctranslate2.Translator(str(folder), compute_type=options[0], inter_threads=workers, intra_threads=1)

    def translate(texts: Sequence[str]) -> list[str]:
        tokens = [[source_pieces[token] for token in each] for each in tokenizer.encode_source(texts)]
        found = translator.translate_batch(
            tokens, beam_size=beam_size, max_batch_size=BATCH_SIZE, length_penalty=1.0, max_decoding_length=200
        )
        return [tokenizer.decode_target([ids[piece] for piece in each.hypotheses[0]]) for each in found]

    return translate


def _huggingface(arguments: argparse.Namespace, beam_size: int, options: Sequence[str]) -> Translate:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = arguments.folder / "huggingface"
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def translate(texts: Sequence[str]) -> list[str]:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        found = [""] * len(texts)
        for start in range(0, len(order), BATCH_SIZE):
            places = order[start : start + BATCH_SIZE]
            batch = tokenizer([texts[i] for i in places], return_tensors="pt", padding=True)
            output = model.generate(
                **batch, num_beams=beam_size, max_length=200, length_penalty=1.0, early_stopping=True, do_sample=False
            )
            for i, text in zip(places, tokenizer.batch_decode(output, skip_special_tokens=True), strict=True):
                found[i] = text
        return found

    return translate


def _lines(path: Path, limit: int) -> list[str]:
    from seq2seq.data.corpus import read_lines

    return list(read_lines(path))[: limit or None]


def _cores() -> int:
    import torch

    return torch.get_num_threads()


if __name__ == "__main__":
    sys.exit(main())
