"""Label-smoothed cross entropy of a batch, without ever holding all its logits.

The logits of a batch, `(B, T, V)`, are by far the largest tensor in training a small model: at 4096 tokens and 32,000
pieces, 512 MB, and the same again for their gradient. Here they are made a few rows at a time, together with their
gradient, which is closed-form: softmax minus the smoothed target. So is that of R-Drop, see `_draw_together`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.data.batching import Batch
from seq2seq.model.linear import num_padded, padded_rows
from seq2seq.model.lora import weight_of
from seq2seq.model.transformer import Transformer

_CHUNK_LOGITS = 2**21  # logits in a chunk: 8 MB of float32, little enough to stay near the processor's cache
# Rows in a chunk, at least: each chunk adds to the gradient of the whole matrix, which must not be most of its work.
_CHUNK_ROWS = 512
_CHUNK_ROWS_ON_GPU = 4096  # which has no such cache, but waits between small pieces of work


class Losses(NamedTuple):
    """Sums over target tokens, in nats; without R-Drop or a risk the first two are the same."""

    minimised: Tensor  # differentiable; with a risk its gradient alone has a meaning
    smoothed: Tensor  # the label-smoothed cross entropy
    plain: Tensor  # the cross entropy


class TranslationLoss(nn.Module):
    """A model with its training loss: what is wrapped for data-parallel training.

    With R-Drop (Liang et al. 2021, arXiv 2106.14448), in training, each pair is computed twice, with different dropout,
    and what is minimised is half of what the paper and its code for fairseq sum up for each target token,

        1/2 (CE_1 + CE_2) + alpha/2 * 1/2 (KL(P_1 || P_2) + KL(P_2 || P_1)).

    So a token counts once, `alpha` is the paper's, and gradients, learning rates and reported losses, which are means
    of both copies and leave the divergence out, are of the same size as without.

    Attributes:
        instead: what computes the losses in training in place of all that, once it is set (see `risk`).
    """

    instead: Callable[[Batch], Losses] | None = None

    def __init__(self, model: Transformer, label_smoothing: float, r_drop: float = 0.0) -> None:
        """Of a model; `r_drop` is alpha, 0 for none."""
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.r_drop = r_drop

    def forward(self, batch: Batch) -> Losses:
        """The losses, each summed over the batch's target tokens.

        Divide by `batch.num_target_tokens`, or by the tokens of a whole step.
        """
        if self.training and self.instead is not None:
            return self.instead(batch)
        copies = 2 if self.training and self.r_drop else 1
        # Those of a position are neighbours, (M, copies, D): the loss takes them as rows 2i and 2i + 1.
        # Their number is known, so a GPU need not be asked for it.
        taken = torch.nonzero_static(batch.target_mask.flatten(), size=batch.num_target_tokens).squeeze(1)  # (M,)
        states = self._states(batch, copies).flatten(0, 1).index_select(0, taken).flatten(0, 1)  # (M * copies, D)
        targets = batch.target_output.flatten().index_select(0, taken).repeat_interleave(copies)  # (M * copies,)
        draw = self.r_drop / 2 if copies == 2 else 0.0
        sums = output_loss(self.model, states, targets, self.label_smoothing, draw)
        return Losses(*(each / copies for each in sums)) if copies > 1 else sums

    def _states(self, batch: Batch, copies: int) -> Tensor:
        """The decoder's states `(B, T, copies, D)`, of each copy with other dropout."""
        source, source_mask, target_input = (
            each.repeat_interleave(copies, 0) for each in (batch.source, batch.source_mask, batch.target_input)
        )
        states = self.model.decoder_states(target_input, self.model.encode(source, source_mask))
        return states.unflatten(0, (-1, copies)).transpose(1, 2)


def output_loss(
    model: Transformer,
    states: Tensor,
    targets: Tensor,
    smoothing: float,
    draw: float = 0.0,
    row_weights: Tensor | None = None,
) -> Losses:
    """`linear_cross_entropy` by a model's output projection, in the precision of its products.

    Args:
        model: whose output it is.
        states: `(M, D)`, of its decoder.
        targets, smoothing, draw, row_weights: as there.
    """
    output, device = model.output, states.device.type
    dtype = output.product_dtype if model.training else None
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        return linear_cross_entropy(
            states.float(), weight_of(output), output.bias, targets, smoothing, dtype, draw, row_weights
        )


def linear_cross_entropy(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    dtype: torch.dtype | None = None,
    draw: float = 0.0,
    row_weights: Tensor | None = None,
) -> Losses:
    """Cross entropy of `states @ weight.T + bias` and the targets, summed, in chunks of rows.

    Equal, with its gradients, to `F.cross_entropy(F.linear(states, weight, bias), targets, reduction="sum",
    label_smoothing=...)`.

    Args:
        states: `(M, D)`.
        weight: `(V, D)`, of the output projection.
        bias: `(V,)`, of the output projection, if it has one.
        targets: `(M,)` token ids.
        smoothing: probability that is spread over all V tokens (Szegedy et al. 2016).
        dtype: in which matrices are multiplied, if not that of the states; all else, sums too, is in theirs.
        draw: rows 2i and 2i + 1 of the states are of the same position, and `draw` times the symmetric divergence of
            their distributions, KL(P || Q) + KL(Q || P), is minimised too.
        row_weights: `(M,)`, how often each row counts, less than never included; not together with `draw`.

    Returns:
        What is minimised, differentiable, and the smoothed and the plain cross entropy, which are not, in nats.
    """
    # Of a frozen matrix, or where nothing is learnt, no gradient is computed: that is up to two thirds of the work.
    gradients = tuple(
        torch.is_grad_enabled() and tensor is not None and tensor.requires_grad for tensor in (states, weight, bias)
    )
    return Losses(
        *_LinearCrossEntropy.apply(
            states, weight, bias, targets, smoothing, gradients, dtype or states.dtype, draw, row_weights
        )
    )


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients together with the loss, while a chunk's logits are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        gradients: tuple[bool, bool, bool],
        dtype: torch.dtype,
        draw: float,
        row_weights: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        least = _CHUNK_ROWS if states.device.type == "cpu" else _CHUNK_ROWS_ON_GPU
        rows = min(max(least, _CHUNK_LOGITS // weight.size(0)), len(states))
        rows += rows % 2 if draw else 0  # both rows of a position are in the same chunk
        on_target, on_all = 1 - smoothing, smoothing / weight.size(0)  # the smoothed target's two parts
        factor, offset = weight.to(dtype), bias if bias is None else bias.to(dtype)
        weight_sum, bias_sum = weight.sum(0), bias.sum() if bias is not None else 0.0
        smoothed, plain, divergence = (states.new_zeros(()) for _ in range(3))
        grad_states = torch.empty_like(states) if gradients[0] else None
        grad_weight = torch.zeros_like(weight) if gradients[1] else None
        num_rows = len(states) if row_weights is None else float(row_weights.sum())
        grad_bias = torch.full_like(bias, -on_all * num_rows) if bias is not None and gradients[2] else None
        scratch = _Scratch(states, factor, rows)
        for start in range(0, len(states), rows):
            chunk, target = states[start : start + rows], targets[start : start + rows]
            times = None if row_weights is None else row_weights[start : start + rows, None]
            logits = scratch.logits(chunk, factor, offset)  # (rows, V)
            target_logits = logits.gather(1, target[:, None]).squeeze(1)
            apart = logits[0::2] - logits[1::2] if draw else None
            largest = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(largest).exp_()  # in place: no second matrix of this size
            total = exponentials.sum(1, keepdim=True)
            normaliser = (total.log() + largest).squeeze(1)  # log-sum-exp of the logits
            plain += _total(normaliser - target_logits, times)
            smoothed += _total(
                normaliser - on_target * target_logits - on_all * (chunk @ weight_sum + bias_sum), times
            )
            if apart is not None:
                divergence += _draw_together(exponentials.div_(total), apart, draw)
                total.fill_(1)
            unnormalised = scratch.lowered(exponentials)  # the softmax, but for division by `total`; maybe padded
            # d loss / d logits = softmax - on_target * one-hot - on_all; each term meets the other factor by itself
            if grad_states is not None:
                part = grad_states[start : start + rows]
                part.copy_((unnormalised @ factor)[: len(chunk)])
                part.div_(total).sub_(weight[target], alpha=on_target).sub_(weight_sum, alpha=on_all)
            counted = torch.ones_like(target_logits)
            if times is not None:  # the weights' gradients are of the rows as often as they count
                counted, chunk = times.squeeze(1), chunk * times
                if grad_states is not None:
                    part.mul_(times)
            if grad_weight is not None:
                scratch.add_product(grad_weight, unnormalised, chunk / total)
                grad_weight.index_add_(0, target, chunk, alpha=-on_target)
            if grad_bias is not None:
                grad_bias.addmv_(exponentials.t(), counted / total.squeeze(1))
                grad_bias.index_add_(0, target, counted, alpha=-on_target)
        if grad_weight is not None:
            counted_states = states.sum(0) if row_weights is None else row_weights @ states
            grad_weight.sub_(counted_states, alpha=on_all)
        ctx.gradients = (grad_states, grad_weight, grad_bias)  # no inputs or outputs, so they may be kept like this
        minimised = smoothed + draw * divergence
        ctx.mark_non_differentiable(smoothed, plain)
        return minimised, smoothed, plain

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the loss can be backpropagated once: its gradients are scaled in place")
        gradients, ctx.gradients = ctx.gradients, None
        for gradient in gradients:
            if gradient is not None:
                gradient.mul_(grad_outputs[0])
        return (*gradients, *[None] * 6)


def _total(values: Tensor, times: Tensor | None) -> Tensor:
    """The sum of values `(M,)`, each of them as often as `times (M, 1)` says."""
    return values.sum() if times is None else values @ times.squeeze(1)


def _draw_together(probabilities: Tensor, apart: Tensor, draw: float) -> Tensor:
    """The symmetric divergence of the distributions in rows 2i and 2i + 1, summed; `draw` times its gradient is added.

    With P = softmax(a), Q = softmax(b) and x = a - b, which differs from log P - log Q by a constant in each row, it is
    J = sum((P - Q) x), and

        dJ/da = P (x - sum(P x)) + P - Q,    dJ/db = Q (sum(Q x) - x) + Q - P.

    Args:
        probabilities: P and Q, `(rows, V)`, which are the gradient of the log-sum-exp; to it, `draw` times dJ is added.
        apart: x, `(rows / 2, V)`, which is used up.
        draw: weight of the divergence.
    """
    first, second = probabilities[0::2], probabilities[1::2]
    means = [(each * apart).sum(1, keepdim=True) for each in (first, second)]
    for_first = (apart - means[0]).mul_(draw).add_(1 + draw).mul_(first).sub_(second, alpha=draw)
    for_second = apart.sub_(means[1]).mul_(-draw).add_(1 + draw).mul_(second).sub_(first, alpha=draw)
    first.copy_(for_first)
    second.copy_(for_second)
    return (means[0] - means[1]).sum()


class _Scratch:
    """Memory for the large matrices of a chunk, used again for each: fresh memory costs more than what fills it.

    In a lower precision, matrices have rows of zeros up to a multiple of some, see `padded_rows`.
    """

    def __init__(self, states: Tensor, factor: Tensor, rows: int) -> None:
        """Make room for `rows` rows of logits `(rows, V)` in the dtypes of `states (M, D)` and `factor (V, D)`."""
        self._is_low = factor.dtype != states.dtype
        self._logits = states.new_empty(rows, len(factor))
        self._low = factor.new_empty(num_padded(rows), len(factor)) if self._is_low else self._logits
        self._product = torch.empty_like(factor) if self._is_low else None

    def logits(self, chunk: Tensor, factor: Tensor, offset: Tensor | None) -> Tensor:
        """`chunk @ factor.T + offset`, computed in their dtype, in that of the states."""
        rows = padded_rows(chunk, factor.dtype) if self._is_low else chunk
        low, logits = self._low[: len(rows)], self._logits[: len(chunk)]
        if offset is None:
            torch.mm(rows, factor.t(), out=low)
        else:
            torch.addmm(offset, rows, factor.t(), out=low)
        return logits.copy_(low[: len(chunk)]) if self._is_low else logits

    def lowered(self, logits: Tensor) -> Tensor:
        """What `logits` gave, maybe changed since, in the dtype of the factor, and then rows of no account."""
        if not self._is_low:
            return logits
        self._low[: len(logits)].copy_(logits)
        return self._low[: num_padded(len(logits))]

    def add_product(self, total: Tensor, left: Tensor, right: Tensor) -> None:
        """Add `left.T @ right`, computed in the dtype of the factor, to `total (V, D)`."""
        if self._product is None:
            total.addmm_(left.t(), right)
        else:
            total.add_(torch.mm(left.t(), padded_rows(right, left.dtype), out=self._product))
