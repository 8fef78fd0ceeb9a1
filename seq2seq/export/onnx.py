"""A run as a folder for ONNX runtimes: the two files of `seq2seq.decoding.onnx`, the tokenizer, and a short script.

What is exported is the model's own code, traced by torch, so the files cannot drift from it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import DecodingConfig
from seq2seq.data.marian_tokenizer import MarianTokenizer
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.onnx import DECODER, ENCODER, SIGNATURES
from seq2seq.errors import ExportError
from seq2seq.files import atomic_write
from seq2seq.model.cache import KeysValues, KeyValueCache
from seq2seq.model.layers import DecoderLayer
from seq2seq.model.transformer import Transformer

# torch's own default, which onnxruntime 1.18 (2024) and newer compute. From 23 on attention is one operator, and
# onnxruntime 1.32 refuses our masks there, which it would have to broadcast.
_OPSET = 20
# The axes that differ from call to call, by place.
_AXES = {
    "source": {0: "sentences", 1: "source_length"},
    "source_mask": {0: "sentences", 1: "source_length"},
    "cross": {2: "sentences", 4: "source_length"},
    "tokens": {0: "sentences", 1: "beams"},
    "past": {2: "sentences", 3: "beams", 5: "length"},
}

_SCRIPT = '''"""Translate lines: pip install onnxruntime sentencepiece numpy; python translate.py < input > output"""
{imports}import sys
from pathlib import Path

import numpy as np
import onnxruntime
import sentencepiece

folder = Path(__file__).resolve().parent
source = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "{source}"))
target = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "{target}"))
encoder = onnxruntime.InferenceSession(folder / "encoder.onnx", providers=["CPUExecutionProvider"])
decoder = onnxruntime.InferenceSession(folder / "decoder.onnx", providers=["CPUExecutionProvider"])
START, END, NEVER, LONGEST = {start}, {end}, {never}, {longest}
{subwords}

def translate(line):
    """Greedy search: always the likeliest token, until it is the end."""
    ids = encode({tag!r} + line)[: LONGEST - 1]  # a longer text is cut off
    if not ids or not line.strip():
        return ""
    memory = {{"source_mask": np.ones((1, len(ids) + 1), dtype=bool)}}
    memory["cross"] = encoder.run(None, {{"source": np.array([[*ids, END]], np.int64), **memory}})[0]
    layers, _, _, heads, _, width = memory["cross"].shape
    past = np.zeros((layers, 2, 1, 1, heads, 0, width), np.float32)  # keys and values of the tokens so far
    found = []
    most = int({ratio} * (len(ids) + 1) + 1e-6) + {offset}
    for _ in range(min(most, LONGEST) - 1):
        latest = np.array([[found[-1] if found else START]], np.int64)
        logits, past = decoder.run(None, {{"tokens": latest, "past": past, **memory}})
        logits[..., NEVER] = -np.inf
        found.append(int(logits.argmax()))
        if found[-1] == END:
            break
    return decode([token for token in found if token != END]).replace("\\n", " ")


sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace", newline="\\n")
sys.stdout.reconfigure(encoding="utf-8", newline="\\n")
for line in sys.stdin:
    print(translate(line.removesuffix("\\n").removesuffix("\\r")), flush=True)
'''
_OUR_SUBWORDS = "encode, decode = source.encode, target.decode\n"
_MARIAN_SUBWORDS = '''source_ids = json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8"))
target_ids = json.loads((folder / "tokenizer" / "{target_vocabulary}").read_text("utf-8"))
target_pieces = {{token: piece for piece, token in target_ids.items()}}


def encode(line):
    """Ids, with one for a language code in front, such as >>fra<<."""
    code = re.match(r">>\\S*?<<|", line)[0]
    pieces = source.encode(line[len(code) :], out_type=str)
    return [source_ids.get(piece, source_ids["<unk>"]) for piece in ([code, *pieces] if code else pieces)]


def decode(ids):
    """The text of ids; SentencePiece leaves its sign for a space in pieces of the other side."""
    return target.decode([target_pieces[token] for token in ids]).replace("▁", " ").strip()

'''


class EncoderGraph(nn.Module):
    """What the encoder's file computes."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, source_mask: Tensor) -> Tensor:
        """`cross (L, 2, B, H, S, D/H)` of token ids `(B, S)` and their mask `(B, S)`."""
        # As `Transformer.encode`, which leaves out the mask where nothing is padded: a graph has no such choice.
        model = self.model
        x = model._embed(model.source_embedding, source)
        for layer in model.encoder:
            x = layer(x, source_mask[:, None, None, :])
        states = model.encoder_norm(x)
        attentions = (cast(DecoderLayer, layer).cross_attention for layer in model.decoder)
        return torch.stack([torch.stack(attention.keys_values(states)) for attention in attentions])


class DecoderGraph(nn.Module):
    """What the decoder's file computes: one step."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, past: Tensor, cross: Tensor, source_mask: Tensor) -> tuple[Tensor, Tensor]:
        """`logits (B, K, V)` and `present` of `tokens (B, K)`, `past`, `cross` and the source's mask `(B, S)`."""
        beams = tokens.shape
        # Without this promise the graph works out whether there is such a position.
        torch._check(past.size(5) < self.model.config.max_length)  # type: ignore[no-untyped-call]
        cache = _Growing(cross, source_mask, beams[1], past.flatten(2, 3))
        logits = self.model.decode_step(tokens.flatten(), cache)
        return logits.view(*beams, -1), cache.present().view(*past.shape[:5], -1, past.size(6))


class _Growing(KeyValueCache):
    """A cache that starts with some tokens, and shows what becomes of it in one step."""

    def __init__(self, cross: Tensor, source_mask: Tensor, beam_size: int, past: Tensor) -> None:
        super().__init__([(keys, values) for keys, values in cross], source_mask[:, None, None, :], beam_size)
        self._grown: list[KeysValues] = []
        for layer, (keys, values) in enumerate(past):
            super().append(layer, keys, values)
        self.length = past.size(4)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> KeysValues:
        self._grown.append(super().append(layer, keys, values))
        return self._grown[-1]

    def present(self) -> Tensor:
        """All keys and values `(L, 2, N, H, T, D/H)`."""
        return torch.stack([torch.stack(keys_values) for keys_values in self._grown])


def write(loaded: LoadedRun, folder: Path) -> None:
    """Write a run for ONNX runtimes into a folder.

    Args:
        loaded: the run.
        folder: to write to; must exist.

    Raises:
        ExportError: if a package that torch's exporter needs is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise ExportError("format onnx: needs onnxscript: pip install 'seq2seq[onnx]'") from None
    model, tokenizer = loaded.model.eval(), loaded.tokenizer
    with torch.no_grad(), _quiet():
        _write_graphs(model, folder)
    tokenizer.save(folder / "tokenizer")
    with atomic_write(folder / "translate.py") as file:
        file.write(_script(model.config.max_length, tokenizer, loaded.config.decoding))


def _script(longest: int, tokenizer: Tokenizer, decoding: DecodingConfig) -> str:
    """The script for sequences of up to `longest` tokens, with a tag before each line, if the run has one."""
    tag = f"{decoding.tag} " if decoding.tag else ""
    ratio = min(decoding.max_length_ratio, float(longest))  # it may be infinite
    imports, subwords = "", _OUR_SUBWORDS
    if isinstance(tokenizer, MarianTokenizer):
        vocabulary = "vocab.json" if tokenizer.joint else "target_vocab.json"
        imports, subwords = "import json\nimport re\n", _MARIAN_SUBWORDS.format(target_vocabulary=vocabulary)
    source, target = tokenizer.model_files
    return _SCRIPT.format(
        imports=imports, subwords=subwords, source=source, target=target, tag=tag, start=tokenizer.start_id,
        end=tokenizer.eos_id, never=list(tokenizer.never_output), longest=longest,
        ratio=ratio, offset=decoding.max_length_offset,
    )  # fmt: skip


def _write_graphs(model: Transformer, folder: Path) -> None:
    """Trace both files with examples, of which only the axes that always have one size are kept."""
    config, device = model.config, model.positions.device
    source = torch.zeros(2, 3, dtype=torch.int64, device=device)
    source_mask = torch.ones(2, 3, dtype=torch.bool, device=device)
    cross = EncoderGraph(model)(source, source_mask)
    tokens = torch.zeros(2, 4, dtype=torch.int64, device=device)
    past = cross.new_zeros(config.decoder_layers, 2, 2, 4, config.num_heads, 5, config.d_model // config.num_heads)
    _write_graph(EncoderGraph(model), {"source": source, "source_mask": source_mask}, folder / ENCODER)
    inputs = {"tokens": tokens, "past": past, "cross": cross, "source_mask": source_mask}
    _write_graph(DecoderGraph(model), inputs, folder / DECODER)


def _write_graph(graph: nn.Module, inputs: Mapping[str, Tensor], path: Path) -> None:
    names, outputs = SIGNATURES[path.name]
    program = torch.onnx.export(
        graph.eval(),
        tuple(inputs[name] for name in names),
        input_names=list(names),
        output_names=list(outputs),
        dynamic_shapes={name: _AXES[name] for name in names},
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)  # over 2 GB, which one file cannot hold, it is put beside it all the same


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings, which say nothing of use, from the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
