"""Every setting of a translation run, declared once: one `Config` value is the whole run.

From these classes come the TOML files, `--set`, `seq2seq settings` and the `config.toml` in every run directory.
Relative paths in a file are meant from the folder of that file, so a run with its data inside can be moved.
"""

from seq2seq.config.data import (
    CorpusConfig,
    CurriculumConfig,
    DataConfig,
    NoiseConfig,
    PrepareConfig,
    TokenizerConfig,
)
from seq2seq.config.decoding import DecodingConfig, WeightPrecision
from seq2seq.config.files import (
    config_from_dict,
    config_to_dict,
    load_config,
    relative_paths,
    resolve_paths,
    run_of,
    save_config,
)
from seq2seq.config.model import PRESETS, Activation, ModelConfig, TiedEmbeddings
from seq2seq.config.recipe import (
    NO_STAGES,
    BackTranslationConfig,
    DistillationConfig,
    DiversificationConfig,
    RecipeConfig,
)
from seq2seq.config.run import Config
from seq2seq.config.training import Metric, Part, Precision, TrainingConfig

__all__ = [
    "NO_STAGES",
    "PRESETS",
    "Activation",
    "BackTranslationConfig",
    "Config",
    "CorpusConfig",
    "CurriculumConfig",
    "DataConfig",
    "DecodingConfig",
    "DistillationConfig",
    "DiversificationConfig",
    "Metric",
    "ModelConfig",
    "NoiseConfig",
    "Part",
    "Precision",
    "PrepareConfig",
    "RecipeConfig",
    "TiedEmbeddings",
    "TokenizerConfig",
    "TrainingConfig",
    "WeightPrecision",
    "config_from_dict",
    "config_to_dict",
    "load_config",
    "relative_paths",
    "resolve_paths",
    "run_of",
    "save_config",
]
