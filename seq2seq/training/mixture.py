"""How often the pairs of each training corpus come in an epoch: by weights, by temperature, or by a curriculum."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.config import DataConfig
from seq2seq.errors import DataError


def weights_in(
    epoch: int, data: DataConfig, sizes: Sequence[int], is_in_last_part: bool = False, minimises_risk: bool = False
) -> list[float]:
    """The weight of each training corpus in an epoch: 0.5 is a half of its pairs, 2 each of them twice.

    Args:
        epoch: its number, from 0.
        data: gives the corpora, and the stages of a curriculum or the temperature, if there is any.
        sizes: the pairs of each corpus.
        is_in_last_part: whether training has come to `training.last_from`.
        minimises_risk: whether it has come to the part that minimises the risk, which may have weights of its own.
    """
    if minimises_risk and data.risk_weights:
        return list(data.risk_weights)
    if is_in_last_part and data.last_weights:
        return list(data.last_weights)
    if data.curriculum:
        return list(_stage_weights(epoch, data))
    if data.temperature != 1:
        return tempered(sizes, data.temperature)
    return [corpus.weight for corpus in data.train]


def parts_with_weights(data: DataConfig, minimises_risk: bool) -> list[tuple[str, Sequence[float]]]:
    """The parts of a training that take corpora by weights, by the settings that have these.

    Args:
        data: gives them.
        minimises_risk: whether a part of the training does.
    """
    parts: list[tuple[str, Sequence[float]]] = [("data.curriculum.weights", each.weights) for each in data.curriculum]
    if not data.curriculum and data.temperature == 1:
        parts.append(("data.train.weight", [corpus.weight for corpus in data.train]))
    if data.last_weights:
        parts.append(("data.last_weights", data.last_weights))
    if minimises_risk and data.risk_weights:
        parts.append(("data.risk_weights", data.risk_weights))
    return parts


def refuse_parts_without_pairs(data: DataConfig, minimises_risk: bool, sizes: Sequence[int]) -> None:
    """Refuse weights of a part of training by which not one of the `sizes` pairs of the corpora comes in an epoch.

    Raises:
        DataError: which names the setting.
    """
    for name, weights in parts_with_weights(data, minimises_risk):
        if not any(round(weight * size) for weight, size in zip(weights, sizes, strict=True)):
            raise DataError(
                f"`{name}` = {list(weights)}: take none of the corpora's {list(sizes)} pairs; raise one of them"
            )


def tempered(sizes: Sequence[int], temperature: float) -> list[float]:
    """Weights with which corpus i has a share of an epoch in proportion to `sizes[i] ** (1 / temperature)`.

    Arivazhagan et al. 2019 (arXiv 1907.05019), section 4.1. The epoch has as many pairs as the corpora together.
    """
    powers = [size ** (1 / temperature) if size else 0.0 for size in sizes]
    return [
        power / sum(powers) * sum(sizes) / size if size else 0.0 for power, size in zip(powers, sizes, strict=True)
    ]


def _stage_weights(epoch: int, data: DataConfig) -> tuple[float, ...]:
    """The weights of the stage in which an epoch is; the last stage has no end."""
    for stage in data.curriculum[:-1]:
        if epoch < stage.epochs:
            return stage.weights
        epoch -= stage.epochs
    return data.curriculum[-1].weights
