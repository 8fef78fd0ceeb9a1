"""Speed never changes results: translations are those that the first, plain search found, before any work on speed.

`translations.json` was written by it: for each model and search, the hypotheses of each source with their scores.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seq2seq.config import DecodingConfig
from seq2seq.decoding.engine import Task, TorchEngine
from tests.random_models import END, SPECIAL, random_model

FOUND = json.loads(Path(__file__).with_name("translations.json").read_text(encoding="utf-8"))
KINDS = {
    "post": {"norm": "post"},
    "pre, gated": {"norm": "pre", "activation": "swiglu", "tied_embeddings": "none"},
}
SEARCHES = {
    "greedy": DecodingConfig(beam_size=1),
    "beam": DecodingConfig(beam_size=5, n_best=2, patience=2.0, length_penalty=2.0),
}


def some_tasks() -> list[Task]:
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, 25, (30,), generator=generator).tolist()
    sources = [[*torch.randint(4, 80, (length,), generator=generator).tolist(), END] for length in lengths]
    return [Task(source, 1, 30, (1, i)) for i, source in enumerate(sources)]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_translations_are_what_they_were(kind: str, search: str) -> None:
    tokenizer = SimpleNamespace(pad_id=0, start_id=2, eos_id=END, never_output=SPECIAL)
    config = SEARCHES[search]
    found = TorchEngine(random_model(**KINDS[kind]), tokenizer).search(some_tasks(), config)
    for hypotheses, before in zip(found, FOUND[f"{kind}; {search}"], strict=True):
        best = hypotheses[: config.n_best]
        assert [list(each.tokens) for each in best] == [tokens for tokens, _ in before]
        assert [each.score for each in best] == pytest.approx([score for _, score in before], abs=1e-3)
