"""What can go wrong, as one tree.

    Seq2SeqError
    ├── ConfigError        a setting is unknown, of the wrong type, or does not fit another
    ├── DataError          a corpus or text file is missing, malformed or misaligned
    ├── TokenizerError     a tokenizer cannot be trained, loaded, or is not the one the run was trained with
    ├── CheckpointError    a run or checkpoint is missing, incomplete or of another model
    ├── TrainingError      training cannot start or go on
    ├── DecodingError      a sentence or a request cannot be decoded
    ├── ExportError        a model cannot be exported or imported, or what came out is not the same model
    ├── RecipeError        a recipe is unknown or one of its stages cannot run
    └── Interrupted        the user stopped the work; what was done is saved

Every message is one line which names the thing, the value and the remedy. The command line prints it alone, without
a traceback.
"""


class Seq2SeqError(ValueError):
    """The root of all errors that a user can cause and mend."""


class ConfigError(Seq2SeqError):
    """A setting is unknown, of the wrong type, or does not fit another."""


class DataError(Seq2SeqError):
    """A corpus or text file is missing, malformed or misaligned."""


class TokenizerError(Seq2SeqError):
    """A tokenizer cannot be trained, loaded, or is not the one that the run was trained with."""


class CheckpointError(Seq2SeqError):
    """A run or checkpoint is missing, incomplete or of another model."""


class TrainingError(Seq2SeqError):
    """Training cannot start or go on."""


class DecodingError(Seq2SeqError):
    """A sentence or a request cannot be decoded."""


class ExportError(Seq2SeqError):
    """A model cannot be exported or imported, or what came out is not the same model."""


class RecipeError(Seq2SeqError):
    """A recipe is unknown or one of its stages cannot run."""


class Interrupted(Seq2SeqError):
    """The user stopped the work; what was done is saved."""
