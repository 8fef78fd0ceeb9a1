"""Settings of the Transformer, and its well-known sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from seq2seq.config.bounds import at_least, within
from seq2seq.errors import ConfigError

Norm = Literal["pre", "post"]
Activation = Literal["relu", "gelu", "silu", "reglu", "geglu", "swiglu"]
Initialisation = Literal["glorot", "depth_scaled"]
TiedEmbeddings = Literal["none", "inputs", "decoder", "all"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The Transformer (Vaswani et al. 2017)."""

    preset: Annotated[Literal["custom", "tiny", "base", "big"], "sizes to start from; other settings go on top"] = (
        "custom"
    )
    encoder_layers: Annotated[
        int, "layers of the encoder; with 12 of these and 1 of the decoder, search is quicker (Kasai et al. 2021)"
    ] = 6
    decoder_layers: Annotated[int, "layers of the decoder"] = 6
    d_model: Annotated[int, "width of the model"] = 512
    d_ff: Annotated[int, "inner width of the feed-forward layers"] = 2048
    num_heads: Annotated[int, "attention heads; must divide d_model"] = 8
    dropout: Annotated[float, "dropout on embeddings and on the output of every sub-layer"] = 0.1
    attention_dropout: Annotated[float, "dropout on attention weights"] = 0.0
    activation_dropout: Annotated[float, "dropout inside the feed-forward layers"] = 0.0
    norm: Annotated[Norm, "layer norm before each sub-layer (Xiong et al. 2020), or after it as in the paper"] = "pre"
    initialisation: Annotated[
        Initialisation,
        "of the layers' matrices: Glorot's, or, for deep models, that of layer l divided by the square root of l "
        "(DS-Init, Zhang et al. 2019); matters when training begins only",
    ] = "glorot"
    activation: Annotated[Activation, "of the feed-forward layers; *glu are gated (Shazeer 2020)"] = "relu"
    tied_embeddings: Annotated[
        TiedEmbeddings,
        "matrices shared: none, decoder (its input and output), inputs (of source and target), or all three; the last "
        "two need a joint tokenizer",
    ] = "all"
    scale_embeddings: Annotated[bool, "multiply embeddings by the square root of d_model, as in the paper"] = True
    output_bias: Annotated[bool, "add a bias to the logits, as Marian does"] = False
    max_length: Annotated[int, "longest sequence in tokens that the model takes"] = 1024
    source_vocab_size: Annotated[int, "pieces of the source vocabulary; 0: taken from the tokenizer"] = 0
    target_vocab_size: Annotated[int, "pieces of the target vocabulary; 0: taken from the tokenizer"] = 0

    def __post_init__(self) -> None:
        """Check the bounds and what must fit together."""
        for name in ("encoder_layers", "decoder_layers", "d_model", "d_ff", "num_heads", "max_length"):
            at_least(f"model.{name}", getattr(self, name), 1)
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            within(f"model.{name}", getattr(self, name), 0, 0.99)
        if self.preset != "custom":
            raise ConfigError(
                f"`model.preset` = {self.preset!r}: is for config files; here, ModelConfig(**PRESETS[{self.preset!r}])"
            )
        if self.d_model % self.num_heads:
            raise ConfigError(f"`model.num_heads` = {self.num_heads}: must divide `model.d_model` = {self.d_model}")
        if self.d_model % 2:
            raise ConfigError(f"`model.d_model` = {self.d_model}: must be even, half sines and half cosines")
        if self.needs_joint_vocabulary and self.source_vocab_size != self.target_vocab_size:
            raise ConfigError(needs_joint(self))

    @property
    def needs_joint_vocabulary(self) -> bool:
        """Whether one matrix serves the source and the target."""
        return self.tied_embeddings in ("inputs", "all")


# Vaswani et al. 2017, table 3, and for small corpora the sizes of the Transformer-Tiny of Wu et al. 2021 (arXiv
# 2105.14462), but with norms before the sub-layers (the README says what decided that).
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "custom": {},
    "tiny": {
        "encoder_layers": 4, "decoder_layers": 4, "d_model": 128, "d_ff": 256, "num_heads": 4, "dropout": 0.3,
        "norm": "pre",
    },
    "base": {"dropout": 0.1, "norm": "post"},
    "big": {"d_model": 1024, "d_ff": 4096, "num_heads": 16, "dropout": 0.3, "norm": "post"},
}  # fmt: skip


def needs_joint(model: ModelConfig) -> str:
    """What to say of embeddings that a joint vocabulary only can share."""
    return f"`model.tied_embeddings` = {model.tied_embeddings!r}: needs `tokenizer.joint` = true; or use 'decoder'"
