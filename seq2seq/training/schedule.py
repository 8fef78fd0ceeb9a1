"""What depends on how far training has come: the learning rate, and its last parts."""

from __future__ import annotations

import math

from seq2seq.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, seconds: float = 0.0) -> float:
    """The learning rate of the update that makes step `step`, counted from 1.

    It rises linearly to `learning_rate` over `warmup_steps`, then falls as the schedule says. The inverse square root
    is equation 3 of Vaswani et al. 2017: their rate is `learning_rate` = (d_model * warmup_steps)^-0.5. Where time is
    limited, cosine and linear follow the `seconds` of training so far if these are ahead of the steps: on whatever
    machine, training ends with the low rates that the last tenths of quality come from.

    Where a risk is minimised at the end, this is over by then. `risk_learning_rate` is neared in a tenth of that part,
    in which Adam gets to know the risk's gradients, larger than those before and of other weights; then it falls to 0.
    """
    peak, low, warmup = config.learning_rate, config.final_learning_rate, config.warmup_steps
    if minimises_risk(config, step, seconds):
        before, after = (share_done(config, steps, config.steps, seconds) for steps in (step - 1, step))
        rising, falling = 10 * (after - config.risk_from), 1 - before
        return config.risk_learning_rate * min(rising, falling) / (1 - config.risk_from)
    end = config.risk_from if config.minimum_risk else 1.0  # of the fall, as a share of the training
    done = share_done(config, max(0, step - warmup), end * config.steps - warmup, seconds / end)
    match config.schedule:
        case "inverse_sqrt":
            falling = peak * math.sqrt(max(1, warmup) / step)
        case "cosine":
            falling = low + (peak - low) * 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            falling = low + (peak - low) * (1 - done)
        case "constant":
            falling = peak
    # Where time is short, the fall begins before the rise has ended.
    return min(peak * step / warmup, falling) if step < warmup else falling


def minimises_risk(config: TrainingConfig, step: int, seconds: float = 0.0) -> bool:
    """Whether the update that makes step `step`, counted from 1, belongs to the last part, which minimises the risk."""
    return config.minimum_risk > 0 and share_done(config, step - 1, config.steps, seconds) >= config.risk_from


def is_in_last_part(config: TrainingConfig, step: int, seconds: float = 0.0) -> bool:
    """Whether the update that makes step `step`, counted from 1, belongs to the part of `data.last_weights`."""
    return config.last_from < 1 and share_done(config, step - 1, config.steps, seconds) >= config.last_from


def share_done(config: TrainingConfig, steps: int, all_steps: float, seconds: float) -> float:
    """The share that `steps` are of all, or `seconds` of the minutes that training may take, if that is more."""
    done = min(1.0, steps / max(1, all_steps))
    return max(done, min(1.0, seconds / (60 * config.max_minutes))) if config.max_minutes else done
