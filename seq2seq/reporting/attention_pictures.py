"""Pictures of what a model looks at in the source while it writes a translation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple
from unicodedata import east_asian_width

import torch

from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.translator import Translation
from seq2seq.model.attention_weights import cross_attention_weights
from seq2seq.model.transformer import Transformer
from seq2seq.reporting.page import note
from seq2seq.reporting.sentences import spread

_PICTURES = 4
_LONGEST, _SHORTEST = 24, 6  # tokens of a side that make a picture worth looking at
_CELL = 22
_FAINTEST = 0.02  # weight that is drawn
_CHARACTER, _WIDE = 7.2, 12.0  # widths, about: of letters, and of ideographs, kana and Hangul

Weights = list[list[float]]  # a row for each target token, a column for each source token


class Picture(NamedTuple):
    """A sentence, it and its translation in tokens, and the weights of each decoder layer, the first one first."""

    text: str
    source: list[str]
    target: list[str]
    layers: list[Weights]


def pictures(
    model: Transformer, tokenizer: Tokenizer, translations: Sequence[Translation], tag: str = ""
) -> list[Picture]:
    """A handful of translations, at equal distances among those of middling length, with their attention weights.

    Args:
        model, tokenizer: of the run.
        translations: by that run.
        tag: that stood before each source.
    """
    limit = model.config.max_length
    found = [drawable for each in translations if (drawable := _in_tokens(tokenizer, each, tag, limit))]
    return [_picture(model, tokenizer, found[i]) for i in spread(len(found), _PICTURES)]


def attention_figures(found: Sequence[Picture], name: str) -> str:
    """The last layer of each picture, with the layers below it folded up."""
    if not found:
        return note(f"No sentence has {_SHORTEST} to {_LONGEST} tokens on both sides, for which pictures are made.")
    told = (
        f"Cross-attention of {name} while it wrote its own translation: each row is the token that was written, each "
        "column a token of the source; the stronger the colour, the more weight, which is the mean over the heads of a "
        "layer. ▁ begins a word. Weights say where a layer looked, not why a word was chosen."
    )
    figures = [note(told)]
    for picture in found:
        total = len(picture.layers)
        *lower, last = [
            f'<div><p class="note">Layer {i} of {total}</p>{heat_map(picture.source, picture.target, weights)}</div>'
            for i, weights in enumerate(picture.layers, 1)
        ]
        figures.append(f'<h3 dir="auto">{escape(picture.text)}</h3>{last}')
        if lower:
            below = f'<div class="heats">{"".join(lower)}</div>'
            figures.append(f"<details><summary>The layers below it</summary>{below}</details>")
    return "".join(figures)


def heat_map(columns: Sequence[str], rows: Sequence[str], weights: Weights) -> str:
    """A matrix of values from 0 to 1 as shades, with names on both axes; weak ones are left blank."""
    left = max(map(_width, rows)) + 12
    top = 0.8 * max(map(_width, columns)) + 16  # names stand at an angle of 55 degrees
    lean = max(0.6 * _width(name) - _CELL * i for i, name in enumerate(reversed(columns))) + 8
    width, height = _CELL * len(columns), _CELL * len(rows)
    parts = [f'<rect class="frame" x="{left:.0f}" y="{top:.0f}" width="{width}" height="{height}"/>']
    for i, name in enumerate(columns):
        x, y = left + _CELL * (i + 0.6), top - 6
        parts.append(f'<text x="{x:.0f}" y="{y:.0f}" transform="rotate(-55 {x:.0f} {y:.0f})">{escape(name)}</text>')
    for j, name in enumerate(rows):
        parts.append(f'<text x="{left - 8:.0f}" y="{top + _CELL * j + 15:.0f}" text-anchor="end">{escape(name)}</text>')
        for i, weight in enumerate(weights[j]):
            if weight >= _FAINTEST:
                parts.append(
                    f'<rect class="cell" x="{left + _CELL * i:.0f}" y="{top + _CELL * j:.0f}" width="{_CELL - 1}" '
                    f'height="{_CELL - 1}" fill-opacity="{weight:.2f}"><title>{escape(name)} ← {escape(columns[i])}: '
                    f"{weight:.2f}</title></rect>"
                )
    size = f'width="{left + width + lean:.0f}" height="{top + height + 2:.0f}"'
    return f'<div class="heat"><svg {size} role="img" aria-label="attention weights">{"".join(parts)}</svg></div>'


def _width(name: str) -> float:
    return sum(_WIDE if east_asian_width(character) in "WF" else _CHARACTER for character in name)


class _Tokens(NamedTuple):
    """A sentence and its translation as the model has them, and the names of the source tokens."""

    text: str
    source: list[int]  # with the final end token
    target: list[int]  # without
    names: list[str]


def _in_tokens(tokenizer: Tokenizer, translation: Translation, tag: str, limit: int) -> _Tokens | None:
    """The tokens of a sentence; None for what makes no good picture, or is longer than the model takes."""
    if not translation.hypotheses:
        return None
    text = translation.source.removesuffix("\r")
    text = f"{tag} {text}" if tag else text
    (source,), target = tokenizer.encode_source([text]), list(translation.hypotheses[0].tokens)
    names = [*tokenizer.source_pieces(text), "end"]
    longest = min(_LONGEST, limit)
    if len(names) != len(source) or not all(_SHORTEST <= size <= longest for size in (len(source), len(target) + 1)):
        return None
    return _Tokens(translation.source, source, target, names)


def _picture(model: Transformer, tokenizer: Tokenizer, sentence: _Tokens) -> Picture:
    device = model.positions.device
    ids = torch.tensor([sentence.source], device=device)
    target_input = torch.tensor([[tokenizer.start_id, *sentence.target]], device=device)
    layers = cross_attention_weights(model, ids, torch.ones_like(ids, dtype=torch.bool), target_input)
    return Picture(
        text=sentence.text,
        source=sentence.names,
        target=[*tokenizer.target_tokens(sentence.target), "end"],
        layers=[layer[0].float().mean(dim=0).tolist() for layer in layers],  # (H, T, S) to (T, S)
    )
