"""Our dropout: the right share, the right scale, fresh and repeatable masks."""

from __future__ import annotations

import pytest
import torch

from seq2seq.model.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_share_scale_and_gradient(p: float) -> None:
    torch.manual_seed(1)
    x = torch.full((400, 1001), 2.0, requires_grad=True)
    y = Dropout(p)(x)
    kept = y != 0
    assert (~kept).float().mean().item() == pytest.approx(p, abs=0.005)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 2 / (1 - p)), rtol=1e-4, atol=0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / 2)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(2)
    kept = (Dropout(0.5)(torch.ones(4, 100_000)) != 0).float()
    for distance in (1, 2, 3, 4):
        both = kept[:, distance:] * kept[:, :-distance]
        assert both.mean().item() == pytest.approx(0.25, abs=0.01)


def test_a_seed_repeats_the_mask_and_no_seed_does_not() -> None:
    dropout, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_nothing_is_dropped_outside_training() -> None:
    x = torch.ones(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
