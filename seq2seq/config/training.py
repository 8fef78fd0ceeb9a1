"""Settings of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from seq2seq.config.bounds import at_least, within
from seq2seq.errors import ConfigError

Schedule = Literal["inverse_sqrt", "cosine", "linear", "constant"]
Precision = Literal["float32", "bfloat16", "float16", "auto"]
Optimizer = Literal["adamw", "muon"]
Part = Literal["embeddings", "encoder", "decoder"]
Metric = Literal["bleu", "chrf", "loss"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimiser, its schedule, and what is written when. A step is one update of the optimiser."""

    steps: Annotated[int, "steps to train"] = 100_000
    max_minutes: Annotated[
        float, "stop after so many minutes of training, 0 for no limit; cosine and linear schedules end by then"
    ] = 0.0
    batch_tokens: Annotated[int, "tokens in a micro-batch: sentences times the longest side, padding included"] = 4096
    accumulate: Annotated[int, "micro-batches whose gradients make one step, on each process"] = 1
    cpu_processes: Annotated[
        int,
        "on a CPU, processes of one thread that share each micro-batch: for small models faster than one process of as "
        "many threads, but each holds a model and its optimiser; 1: one process of all threads; 0: one for each core, "
        "up to four",
    ] = 1
    optimizer: Annotated[
        Optimizer,
        "muon: steps of the layers' matrices are made orthogonal (Jordan et al. 2024, sizes as in Liu et al. 2025), "
        "adamw has the rest. It learnt Multi30k in 1,500 steps as well as AdamW in 2,000; on a CPU, each of a small "
        "model took a fifth longer",
    ] = "adamw"
    learning_rate: Annotated[float, "highest learning rate, reached after the warm-up"] = 5e-4
    schedule: Annotated[Schedule, "how the learning rate falls after the warm-up"] = "inverse_sqrt"
    warmup_steps: Annotated[int, "steps in which the learning rate rises from 0"] = 4000
    final_learning_rate: Annotated[float, "learning rate at the end, for cosine and linear"] = 0.0
    adam_betas: Annotated[tuple[float, ...], "the two decay rates of AdamW's moments"] = (0.9, 0.98)
    adam_epsilon: Annotated[float, "epsilon of AdamW"] = 1e-9
    muon_momentum: Annotated[float, "decay rate of Muon's moving average"] = 0.95
    weight_decay: Annotated[float, "decoupled weight decay of the matrices"] = 0.0
    clip_norm: Annotated[float, "largest norm of the gradient, 0 for no clipping"] = 1.0
    label_smoothing: Annotated[float, "probability spread over the vocabulary (Szegedy et al. 2016)"] = 0.1
    r_drop: Annotated[
        float,
        "alpha of R-Drop (Liang et al. 2021; theirs was 5), 0 for none: each pair is computed twice, with different "
        "dropout, and alpha times the divergence of the two distributions is minimised too; a step takes twice as long",
    ] = 0.0
    last_from: Annotated[
        float,
        "share of the training, of its steps or its time, from which on corpora come by `data.last_weights`, in a new "
        "epoch; 1 for never. In a recipe whose models make text, only people's text comes then",
    ] = 1.0
    minimum_risk: Annotated[
        float,
        "minimum risk training (Shen et al. 2016) at the end of training: the weight of the expected cost, 0 to 1, of "
        "the model's own translations beside the cross entropy, without R-Drop; 0 for none (Multi30k: 100). A token "
        "then takes about as many times as long as there are candidates",
    ] = 0.0
    risk_from: Annotated[
        float,
        "share of the training, of its steps or its time, after which the risk is minimised, in a new epoch. "
        "Made longer, so that it is below that share again, a training goes on with cross entropy first",
    ] = 0.9
    risk_learning_rate: Annotated[
        float,
        "highest learning rate while the risk is minimised, neared in the first tenth of that part; then it falls to 0",
    ] = 5e-4
    risk_batch_tokens: Annotated[
        int,
        "batch_tokens from then on, 0 for as many as before: steps take long; more of smaller ones may lead further",
    ] = 0
    risk_candidates: Annotated[int, "translations of each source that minimum_risk compares, found by beam search"] = 8
    risk_measure: Annotated[
        Literal["bleu", "chrf"],
        "of how good these translations are; bleu is of words, so for languages without spaces between them, chrf",
    ] = "bleu"
    layer_drop: Annotated[
        float, "probability that a layer is left out of a batch's computation (LayerDrop, Fan et al. 2020)"
    ] = 0.0
    source_word_dropout: Annotated[
        float, "probability that a source token's embedding is zeroed, its position not (Sennrich et al. 2016, WMT)"
    ] = 0.0
    target_word_dropout: Annotated[float, "the same of the tokens that the decoder has seen"] = 0.0
    subword_sampling: Annotated[
        float, "unigram: smoothing of sampled segmentations (Kudo 2018); bpe: merge dropout (Provilkov et al. 2020)"
    ] = 0.0
    initialise_from: Annotated[
        str, "run or checkpoint to fine-tune: training starts from its weights, with its model and its tokenizer"
    ] = ""
    freeze: Annotated[tuple[Part, ...], "parts that keep their weights; embeddings: with the output projection"] = ()
    lora_rank: Annotated[
        int, "train only low-rank matrices beside the frozen weights (LoRA, Hu et al. 2021); 0: all weights"
    ] = 0
    lora_embedding_rank: Annotated[
        int, "the same beside embeddings and output, which a domain with other words needs; 0: these stay as they are"
    ] = 0
    lora_alpha: Annotated[float, "low-rank matrices count lora_alpha / lora_rank"] = 16.0
    lora_dropout: Annotated[float, "dropout before low-rank matrices"] = 0.0
    precision: Annotated[
        Precision,
        "of matrix products; bfloat16, float16: faster where there is support; auto: bfloat16 where the processor or "
        "GPU has it, else float32",
    ] = "float32"
    ema_decay: Annotated[
        float,
        "decay of an exponential moving average of the weights (Polyak 1992), less in the first 9 / (1 - ema_decay) "
        "steps; 0 for none",
    ] = 0.0
    seed: Annotated[int, "seed of the initial weights, the data order, dropout and subword sampling"] = 1
    log_every: Annotated[int, "steps between lines on the console and in metrics.jsonl"] = 50
    validate_every: Annotated[int, "steps between validations, 0 for none"] = 1000
    validation_metric: Annotated[Metric, "what chooses the best checkpoint and stops early"] = "bleu"
    validation_beam_size: Annotated[int, "beam size of the translations that validation scores"] = 1
    validation_sentences: Annotated[int, "validation pairs to translate, 0 for all; the loss takes all"] = 0
    checkpoint_every: Annotated[int, "steps between checkpoints, 0: at each validation"] = 0
    keep_checkpoints: Annotated[int, "latest checkpoints to keep, beside the best"] = 5
    patience: Annotated[int, "validations without improvement after which training stops, 0 for no early stopping"] = 0

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in (
            "steps", "batch_tokens", "accumulate", "log_every", "validation_beam_size", "keep_checkpoints",
        ):  # fmt: skip
            at_least(f"training.{name}", getattr(self, name), 1)
        for name in (
            "max_minutes", "warmup_steps", "clip_norm", "validate_every", "validation_sentences", "checkpoint_every",
            "patience", "lora_rank", "lora_embedding_rank", "risk_batch_tokens", "cpu_processes",
        ):  # fmt: skip
            at_least(f"training.{name}", getattr(self, name), 0)
        for name in (
            "label_smoothing", "subword_sampling", "ema_decay", "lora_dropout", "layer_drop", "source_word_dropout",
            "target_word_dropout", "muon_momentum",
        ):  # fmt: skip
            within(f"training.{name}", getattr(self, name), 0, 0.99999)
        within("training.last_from", self.last_from, 0, 1)
        within("training.risk_from", self.risk_from, 0, 0.99999)
        within("training.seed", self.seed, 0, 2**62)  # more, and what is added to it does not fit into 64 bits
        for name in (  # which stand in products, where infinity makes what is no number
            "learning_rate", "final_learning_rate", "risk_learning_rate", "lora_alpha", "weight_decay", "r_drop",
            "minimum_risk",
        ):  # fmt: skip
            within(f"training.{name}", getattr(self, name), 0, 1e6)
        within("training.adam_epsilon", self.adam_epsilon, 1e-20, 1)  # with 0, what has no gradient becomes 0 / 0
        at_least("training.risk_candidates", self.risk_candidates, 2)
        if len(self.adam_betas) != 2 or not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ConfigError(f"`training.adam_betas` = {list(self.adam_betas)}: expected two numbers from 0 to 1")
        if self.final_learning_rate > self.learning_rate:
            raise ConfigError(
                f"`training.final_learning_rate` = {self.final_learning_rate}: is over `training.learning_rate` = "
                f"{self.learning_rate}, from which it falls"
            )
        if self.lora_rank and not self.initialise_from:
            raise ConfigError(f"`training.lora_rank` = {self.lora_rank}: needs a run in `training.initialise_from`")
        if self.lora_embedding_rank and not self.lora_rank:
            rank = self.lora_embedding_rank
            raise ConfigError(f"`training.lora_embedding_rank` = {rank}: set `training.lora_rank` too")
        if set(self.freeze) == set(get_args(Part)):
            raise ConfigError(f"`training.freeze` = {list(self.freeze)}: leaves nothing to train; take a part out")
        if self.freeze and not self.initialise_from:
            raise ConfigError(
                f"`training.freeze` = {list(self.freeze)}: needs a run in `training.initialise_from`; what is random "
                "must be trained"
            )
        if self.patience and not self.validate_every:
            raise ConfigError(
                f"`training.patience` = {self.patience}: stops by validations; set `training.validate_every` too"
            )
        if self.minimum_risk and self.patience:
            raise ConfigError(
                f"`training.patience` = {self.patience}: might end training before `training.minimum_risk` has begun; "
                "leave one of the two out"
            )
        if self.minimum_risk and self.validation_metric == "loss":
            raise ConfigError(
                "`training.validation_metric` = 'loss': is cross entropy, which rises while `training.minimum_risk` "
                "makes translations better; choose bleu or chrf"
            )
        if self.lora_rank and self.freeze:
            raise ConfigError("`training.freeze`: LoRA freezes all but its own matrices; leave `freeze` out")

    @property
    def batch_tokens_of_risk(self) -> int:
        """`batch_tokens` while the risk is minimised."""
        return self.risk_batch_tokens or self.batch_tokens
