"""Which device computes, and in what precision."""

from __future__ import annotations

import torch

from seq2seq.config import Precision
from seq2seq.errors import ConfigError
from seq2seq.memory import peak_memory_mb, total_memory_mb

# Of torch.cpu; torch 2.9 has no public name for them.
_BFLOAT16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def choose_device(name: str) -> torch.device:
    """The device of a name such as `cpu` or `cuda:1`; `auto` takes a GPU where there is one.

    Raises:
        ConfigError: if this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r}: unknown; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r}: not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise ConfigError(f"device {name!r}: this machine has {torch.cuda.device_count()} GPUs; use --device cpu")
    if device.type == "cuda":
        # On newer GPUs torch would take cuDNN's attention, which makes a plan for each new shape of a batch, some tens
        # of milliseconds each time; batches of sentences hardly ever have the same shape.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def precision_on(device: torch.device, precision: Precision) -> Precision:
    """The precision of training on a device: what is asked for, or what `auto` is there.

    bfloat16 is slower than float32 on processors that have not got it, by far.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):  # the question has no device of its own
            has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_it = any(getattr(torch.cpu, name, bool)() for name in _BFLOAT16)
    return "bfloat16" if has_it else "float32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which a GPU computes matrix products in the given precision; see `product_dtype` for a CPU.

    Raises:
        ConfigError: if the device cannot.
    """
    if precision == "float16" and device.type != "cuda":
        raise ConfigError(f"`training.precision` = 'float16': needs a GPU, and the device is {device}; use 'float32'")
    if precision == "bfloat16" and device.type == "cuda":
        with torch.cuda.device(device):
            if not torch.cuda.is_bf16_supported():
                raise ConfigError("`training.precision` = 'bfloat16': this GPU has no bfloat16; use 'float16'")
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float16
    return torch.autocast(device.type, dtype=dtype, enabled=device.type != "cpu" and precision != "float32")


def product_dtype(device: torch.device, precision: Precision) -> torch.dtype | None:
    """In what a CPU computes the products of linear layers, if not as their weights are; see `autocast` for a GPU."""
    return torch.bfloat16 if device.type == "cpu" and precision == "bfloat16" else None


def memory_mb(device: torch.device) -> tuple[int, int]:
    """The most memory that has been held where a device computes, and all that is there, in megabytes.

    Of a CPU, it is the process's and the machine's, and 0 where the system does not tell.
    """
    if device.type != "cuda":
        return peak_memory_mb(), total_memory_mb()
    held, there = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    return round(held / 1024**2), round(there / 1024**2)
