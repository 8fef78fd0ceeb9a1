"""ONNX as an engine: our own search over the steps of an exported model, which onnxruntime computes (onnxruntime.ai).

A model is two files; `L` layers of the decoder, `H` heads, the other axes as in `seq2seq.decoding.search`:

    encoder.onnx  source (B, S) int64, source_mask (B, S) bool -> cross (L, 2, B, H, S, D/H)
    decoder.onnx  tokens (B, K) int64, past (L, 2, B, K, H, T, D/H), cross, source_mask
                  -> logits (B, K, V), present (L, 2, B, K, H, T + 1, D/H)

`cross` and `past` are keys and values: of the encoder's states, which the beams of a sentence share, and of the tokens
before the latest ones, of which there may be none, T = 0. A mask is True where a token takes part. Floats are float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.data.batching import cut_batches, pad
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.engine import Task, rows_of_each, search_steps
from seq2seq.decoding.search import Hypothesis, log_probs_of
from seq2seq.devices import choose_device
from seq2seq.errors import DecodingError

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
# Inputs and outputs of each file.
SIGNATURES = {
    ENCODER: (("source", "source_mask"), ("cross",)),
    DECODER: (("tokens", "past", "cross", "source_mask"), ("logits", "present")),
}
_SCORED = (4096, 64)  # tokens, and sentences, of a batch that is scored


class OnnxCache:
    """A `SearchCache` of tensors as the decoder takes them, on the CPU."""

    def __init__(self, cross: Tensor, source_mask: Tensor, beam_size: int) -> None:
        """Start before the first token, with `beam_size` rows of each sentence."""
        layers, pair, num_sentences, heads, _, width = cross.shape
        self.cross = cross
        self.source_mask = source_mask
        self.past = cross.new_zeros(layers, pair, num_sentences, beam_size, heads, 0, width)

    @property
    def num_sentences(self) -> int:
        """Sentences still searched, `B`."""
        return self.past.size(2)

    @property
    def beam_size(self) -> int:
        """Rows of each sentence, `K`."""
        return self.past.size(3)

    def select(self, rows: Tensor) -> None:
        """Let row `n` go on from what was row `rows[n]` `(N,)`, a row of the same sentence."""
        self.past = self.past.flatten(2, 3).index_select(2, rows).view_as(self.past)

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drop all but the given sentences `(B_new,)`, with their rows."""
        self.past = self.past.index_select(2, sentences)
        self.cross = self.cross.index_select(2, sentences)
        self.source_mask = self.source_mask.index_select(0, sentences)


class OnnxEngine:
    """Translates with onnxruntime; knows all settings, since the search is ours, and works on the CPU."""

    in_processes = False

    def __init__(self, folder: Path, tokenizer: Tokenizer, max_length: int, device: str = "auto") -> None:
        """Load an exported model.

        Args:
            folder: that holds the two files.
            tokenizer: of the model.
            max_length: the longest sequence in tokens that the model takes.
            device: `auto`, `cpu`, `cuda` or `cuda:N`; `auto` is a GPU only where onnxruntime can use it.

        Raises:
            DecodingError: if onnxruntime is not installed or cannot use the device, or a file is missing, damaged, or
                not of such a model.
        """
        onnxruntime = import_onnxruntime()
        chosen = choose_device(device)
        if chosen.type == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            if device != "auto":
                raise DecodingError(
                    f"device {device!r}: this onnxruntime cannot use a GPU; pip install onnxruntime-gpu, or use "
                    "--device cpu"
                )
            chosen = torch.device("cpu")
        self.max_length = max_length
        self.workers = torch.get_num_threads() if chosen.type == "cpu" else 1
        self._tokenizer = tokenizer
        self._encoder = _open(onnxruntime, folder / ENCODER, chosen)
        self._decoder = _open(onnxruntime, folder / DECODER, chosen)
        size = self._decoder.get_outputs()[0].shape[-1]
        if size != tokenizer.target_vocab_size:
            raise DecodingError(
                f"{folder / DECODER}: has {size} target tokens, and the tokenizer beside it has "
                f"{tokenizer.target_vocab_size}; export the run again"
            )

    def check(self, config: DecodingConfig) -> None:
        """Refuse settings that change what is computed; all others are our own search's.

        Raises:
            DecodingError: which names the setting.
        """
        for name, value, plain in (("precision", config.precision, "float32"), ("shortlist", config.shortlist, False)):
            if value != plain:
                raise DecodingError(
                    f"`decoding.{name}` = {str(value).lower()}: the onnx engine cannot; use --engine torch"
                )

    def prepare(self, config: DecodingConfig) -> None:
        """Be ready already."""

    @torch.inference_mode()
    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, best first."""
        cache = self._start([task.tokens for task in tasks], rows_of_each(config))
        return search_steps(self._step, cache, self._tokenizer, tasks, config, torch.device("cpu"))

    @torch.inference_mode()
    def log_probs(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability in nats of every token of targets that are there; both sides with the end token."""
        longest = np.array([max(map(len, pair)) for pair in zip(sources, targets, strict=True)], dtype=np.int64)
        order = np.argsort(-longest, kind="stable")
        found: list[list[float]] = [[] for _ in targets]
        for part in cut_batches(longest[order], *_SCORED):
            batch = order[part].tolist()
            rows = self._score([sources[i] for i in batch], [targets[i] for i in batch])
            for i, row in zip(batch, rows.tolist(), strict=True):
                found[i] = row[: len(targets[i])]
        return found

    def _score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Tensor:
        """The log-probabilities `(B, T)` of the tokens of targets, step by step; padded ones have some too."""
        cache = self._start(sources, 1)
        output, _ = pad(targets, self._tokenizer.pad_id)  # (B, T)
        latest = torch.full_like(output[:, 0], self._tokenizer.start_id)
        columns = []
        for tokens in output.unbind(1):
            columns.append(self._step(latest, cache).gather(1, tokens[:, None]))
            latest = tokens
        return torch.cat(columns, dim=1)

    def _start(self, sources: Sequence[Sequence[int]], beam_size: int) -> OnnxCache:
        """The cache of some sources before the first token."""
        source, mask = pad(sources, self._tokenizer.pad_id)
        (cross,) = _run(self._encoder, {"source": source, "source_mask": mask})
        return OnnxCache(cross, mask, beam_size)

    def _step(self, tokens: Tensor, cache: OnnxCache) -> Tensor:
        """A `Step`."""
        beams = tokens.view(cache.num_sentences, cache.beam_size)
        inputs = {"tokens": beams, "past": cache.past, "cross": cache.cross, "source_mask": cache.source_mask}
        logits, cache.past = _run(self._decoder, inputs)
        return log_probs_of(logits.flatten(0, 1))


def import_onnxruntime() -> ModuleType:
    """The package of that name.

    Raises:
        DecodingError: if it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise DecodingError("engine onnx: onnxruntime is not installed; pip install 'seq2seq[onnx]'") from None
    module: ModuleType = onnxruntime
    return module


def _open(onnxruntime: ModuleType, path: Path, device: torch.device) -> Any:
    """A session of one of the two files."""
    if not path.is_file():
        raise DecodingError(f"{path}: is missing; export the run again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised too
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cpu":
        options.intra_op_num_threads = 1  # for each of the workers
    else:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # its many errors have no class in common
        reason = " ".join(str(error).split())
        raise DecodingError(f"{path}: onnxruntime cannot load it: {reason}; export the run again") from None
    names = tuple(tuple(each.name for each in part) for part in (session.get_inputs(), session.get_outputs()))
    if names != SIGNATURES[path.name]:
        raise DecodingError(f"{path}: was not written by `seq2seq export --format onnx`; export the run again")
    if device.type == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":  # it falls back in silence
        raise DecodingError("device cuda: onnxruntime-gpu cannot load CUDA or cuDNN; install them, or use --device cpu")
    return session


def _run(session: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """A session's outputs; tensors and arrays share memory, nothing is copied."""
    outputs = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return [torch.from_numpy(output) for output in outputs]
