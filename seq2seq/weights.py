"""Weights in safetensors files: written, read, put into a model, and joined with low-rank matrices (LoRA)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from seq2seq.errors import CheckpointError
from seq2seq.model.lora import lora_tensors, merged
from seq2seq.model.transformer import Transformer


def parameters_of(model: Transformer) -> dict[str, Tensor]:
    """The parameters by name, each tied one once under its first name."""
    return dict(model.named_parameters())


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name, and metadata, as a safetensors file.

    Raises:
        CheckpointError: if it cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata)
    except SafetensorError as error:  # which it also makes of the system's errors
        raise CheckpointError(f"{path}: cannot be written ({error}); make room, or change the folder") from None
    path.chmod(0o666 & ~_umask())  # safetensors makes files that others cannot read


def read_tensors(path: Path, remedy: str = "use another checkpoint of the run") -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; `remedy` is what an error advises.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing; {remedy}") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); {remedy}") from None


def assign_weights(model: Transformer, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put weights from the file `path` into a model of the same architecture.

    Raises:
        CheckpointError: if a tensor is missing, left over, or of another shape: all are named.
    """
    expected = parameters_of(model)
    wrong = [name for name in expected.keys() | weights.keys() if name not in expected or name not in weights]
    wrong += [name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape]
    if wrong:
        raise CheckpointError(
            f"{path}: does not fit the run's config.toml (`model`): {', '.join(sorted(wrong)[:5])}"
            f"{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}; the two are not of the same run"
        )
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(weights[name])


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 over the weights of a plain model, by which low-rank matrices know theirs."""
    digest = hashlib.sha256()
    low_rank = lora_tensors(weights)
    for name in sorted(weights.keys() - low_rank.keys()):
        digest.update(name.encode("utf-8"))
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def with_adapter(base: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Base weights with the low-rank matrices of a file merged into them."""
    adapter, scale = read_adapter(path, base)
    try:
        return merged({**base, **adapter}, scale)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); use another checkpoint of the run") from None


def read_adapter(path: Path, base: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """The low-rank matrices of a file, and what their products are multiplied with; refused beside other weights."""
    tensors = read_tensors(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    try:
        about = json.loads(metadata["lora"])
        scale, expected = float(about["scale"]), about["base"]
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); use another checkpoint of the run") from None
    if weights_hash(base) != expected:
        raise CheckpointError(f"{path}: was trained from other weights than these; name the run it was trained from")
    return tensors, scale


def _umask() -> int:
    """The process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
