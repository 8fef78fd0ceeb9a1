"""Duplicates among any number of texts, in bounded memory: texts are 64-bit keys in files, looked at by portions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]

_PORTION = 4_000_000  # keys that are sorted at a time: 64 MB, and as much again


def first_occurrences(files: Sequence[Path], portion: int = _PORTION) -> Flags:
    """Whether each key is the first of its value, over all files in their order; one flag a key.

    Keys with the same highest bits are a portion. Each portion is gathered from all files, one after another; so only
    the flags, one byte a key, grow with the number of keys.

    Args:
        files: `.npy` files of keys `(n,)`.
        portion: about how many keys are in memory at a time.
    """
    starts = np.cumsum([0, *(len(np.load(path, mmap_mode="r")) for path in files)])
    first = np.zeros(int(starts[-1]), dtype=bool)
    bits = max(0, int(starts[-1]) // max(portion, 1)).bit_length()
    shift = np.uint64(64 - bits)
    for part in range(2**bits):
        keys, places = [], []
        for start, path in zip(starts[:-1], files, strict=True):
            array: Keys = np.load(path)
            found = np.flatnonzero(array >> shift == part) if bits else np.arange(len(array))
            keys.append(array[found])
            places.append(found + start)
        if keys:
            # `unique` gives the first of equal keys, and the portions are in the order of the files.
            first[np.concatenate(places)[np.unique(np.concatenate(keys), return_index=True)[1]]] = True
    return first
