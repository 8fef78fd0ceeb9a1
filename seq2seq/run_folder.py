"""Where a recipe's run keeps its text and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from seq2seq.config import Config, CorpusConfig, DiversificationConfig


class RunFolder(NamedTuple):
    """A run directory, in which `raw/`, `data/` and `translations/` hold text files such as `train.de`."""

    path: Path
    languages: tuple[str, str]

    def files(self, folder: str) -> list[Path]:
        """The files in one of its folders, in order, but for hidden ones, which file managers write."""
        return sorted(path for path in (self.path / folder).glob("[!.]*") if path.is_file())

    def text(self, folder: str, name: str, side: int) -> Path:
        """One side of a text: 0 is the source, 1 the target."""
        return self.path / folder / f"{name}.{self.languages[side]}"

    def corpus(self, folder: str, name: str) -> CorpusConfig:
        """Both sides of a text."""
        source, target = (str(self.text(folder, name, side).resolve()) for side in (0, 1))
        return CorpusConfig(source=source, target=target)

    def test_text(self, folder: str, side: int) -> list[Path]:
        """One side of all test sets: `test`, then further ones, whose names begin with it."""
        return sorted((self.path / folder).glob(f"test*.{self.languages[side]}"), key=lambda path: path.stem)

    def held_out(self, folder: str) -> list[str]:
        """The names of the validation set and of the test sets that are there."""
        validation = ["validation"] if self.text(folder, "validation", 0).exists() else []
        return [*validation, *(path.stem for path in self.test_text(folder, 0))]

    def members(self, config: Config) -> list[Path]:
        """The runs of an ensemble beside the first, which is the folder itself."""
        return [self.path / "ensemble" / str(number) for number in range(2, config.recipe.ensemble + 1)]

    def teacher(self, name: str) -> Path:
        """The run of a model that diversifies the training text."""
        return self.path / "diversification" / name

    def teachers(self, config: DiversificationConfig, direction: str) -> list[Path]:
        """The runs of all such models of a direction, `forward` or `backward`."""
        return [self.teacher(f"{direction}_{number}") for number in range(1, config.models + 1)]

    def partners(self, config: Config) -> list[Path]:
        """The runs that translate together with the run itself."""
        together = config.diversification.together
        return [*self.members(config), *(self.teachers(config.diversification, "forward") if together else [])]

    def reverse(self, config: Config) -> Path | None:
        """The run that chooses among translations; None where none does."""
        together = config.diversification.together
        return self.teachers(config.diversification, "backward")[0] if together else None

    def weights(self, pattern: str, run: Path | None = None) -> list[Path]:
        """The weights of checkpoints with such names, of the run or of another one."""
        folder = (run or self.path) / "checkpoints"
        found = [*folder.glob(f"{pattern}/model.safetensors"), *folder.glob(f"{pattern}/adapter.safetensors")]
        return sorted(path for path in found if not path.parent.name.startswith("."))  # but for what a kill left
