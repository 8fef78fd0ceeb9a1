"""The `seq2seq` command: its subcommands, loaded when they are asked for, and what becomes of errors.

Exit status: 0 done, 1 a user's mistake (one line on stderr), 2 wrong usage, 130 interrupted after saving.
"""

from __future__ import annotations

import _thread
import errno
import importlib
import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import click

from seq2seq.errors import Interrupted, Seq2SeqError
from seq2seq.telling import drop

from .streams import complain, drop_stdout

# Each is a click command of the same name in the module of that name, but for a name that is a word of Python's.
_COMMANDS = (
    "recipe", "prepare", "doctor", "tokenizer", "train", "translate", "score", "evaluate", "report", "average",
    "export", "import", "package", "settings",
)  # fmt: skip
_MODULES = {"import": "import_run"}
_AGAIN_AFTER_S = 0.01


class CommandLine(click.Group):
    """A group whose commands are imported by name, and whose errors are one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands in the order in which one meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in _COMMANDS:
            return None
        name = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = getattr(importlib.import_module(f".{name}", __package__), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a subcommand; an unknown one gets the closest known name."""
        if not args[0].startswith("-") and args[0] not in _COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_COMMANDS)}"
            raise click.UsageError(f"no such command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand; a reader that closes the pipe, as `head` does, ends it quietly."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            drop_stdout()
            _end_if_awaited(1)
            ctx.exit(0)
        return result

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and, if it stands alone, exit with its status."""
        _make_streams_ready()
        with _noting_interrupts() as interrupts:
            try:
                # The status that a command gives to `ctx.exit` is returned here.
                status = super().main(args, prog_name or "seq2seq", complete_var, standalone_mode=False, **extra)
            except Exception as error:
                if not standalone_mode:
                    raise
                # Ctrl-C while modules are loaded comes out as whatever they make of it.
                known = isinstance(error, Seq2SeqError | click.Abort)
                status = _report(error if known or not interrupts else click.Abort())
                _end_if_awaited(status)
        if not standalone_mode:
            return status
        try:
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads: the interpreter would end with a status of its own
            drop(sys.stderr)
        sys.exit(status if isinstance(status, int) else 0)


def _make_streams_ready() -> None:
    """Have all three streams, and UTF-8 in what goes out, whatever the locale; file names that are not stay as is."""
    # None if the caller has closed them: nothing comes in then, what is said is said to nobody, and results are lost,
    # which writing them tells.
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Have Ctrl-C and SIGTERM end the command in order; the numbers of those that came."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.signal(number, before[number])  # a second one ends it as it would without us
        raise KeyboardInterrupt

    def note_again(dropped: sys.UnraisableHookArgs) -> None:
        """Let one come once more that Python drops, since it came within a hook of fork or a `__del__`."""
        if not (noted and issubclass(dropped.exc_type, KeyboardInterrupt)):
            show_dropped(dropped)
            return
        signal.signal(noted[-1], note)
        # Soon: in here, and in what Python drops it from, it would be dropped again.
        threading.Timer(_AGAIN_AFTER_S, _thread.interrupt_main, noted[-1:]).start()

    usual: dict[int, object] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours: list[int] = []
    if threading.current_thread() is threading.main_thread():  # which alone may set handlers
        # One that is ignored, as in a shell's background, stays so, and so does that of a caller.
        ours = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
    before = {number: signal.signal(number, note) for number in ours}
    show_dropped, sys.unraisablehook = sys.unraisablehook, note_again
    try:
        yield noted
    finally:
        sys.unraisablehook = show_dropped
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_if_awaited(status: int) -> None:
    """End here and now if other processes wait for this one on GPUs: at an orderly end, NCCL would wait for them."""
    distributed = sys.modules.get("seq2seq.training.distributed")  # not loaded for this: torch takes a second
    if distributed is not None and distributed.is_awaited():
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def _report(error: Exception) -> int:
    """Say what went wrong, in one line; return the exit status."""
    if _debugging():
        traceback.print_exception(error)
    match error:
        case click.Abort():
            complain("interrupted")
            return 130
        case Interrupted():
            complain(f"interrupted: {error}")
            return 130
        case click.exceptions.NoArgsIsHelpError():  # a group without a command: the page itself says what is wanted
            error.show()
            return error.exit_code
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "seq2seq"
            complain(f"error: {error.format_message().rstrip('.')}; see `{path} --help`")
            return error.exit_code
        case Seq2SeqError():
            complain(f"error: {error}")
        case OSError():
            drop_stdout()
            complain(f"error: {_describe(error)}")
        case RuntimeError() if str(error).startswith("Symlink loop"):  # of Python before 3.13
            complain(f"error: {error}; mend the link")
        case UnicodeEncodeError() if "\ud800" <= error.object[error.start] <= "\udfff":  # of such bytes in a name
            before, after = error.object[: error.start], error.object[error.start :]
            told = before.rpartition("\n")[2][-40:] + after.partition("\n")[0][:40]
            complain(f"error: {told!r}: is not UTF-8; a file or a folder of such a name cannot be taken, rename it")
        case MemoryError() | RuntimeError() if isinstance(error, MemoryError) or _is_of_memory(str(error)):
            told = " ".join(str(error).split())[:200]
            complain(
                f"error: not enough memory ({told or 'no more was said'}); end other programs, or make batches "
                "smaller: --batch-size and --beam-size of translations, training.batch_tokens"
            )
        case _:
            complain(f"internal error: {type(error).__name__}: {error}; SEQ2SEQ_DEBUG=1 shows where")
    return 1


def _is_of_memory(told: str) -> bool:
    """Whether an error of torch is one of memory: on a CPU it has no kind of its own."""
    return any(words in told.lower() for words in ("out of memory", "can't allocate memory", "not enough memory"))


def _debugging() -> bool:
    return os.environ.get("SEQ2SEQ_DEBUG", "") not in ("", "0")


def _describe(error: OSError) -> str:
    """An operating system's error as `file: reason`."""
    if error.strerror is None:
        return str(error) or type(error).__name__
    name = error.filename2 or error.filename
    reason = error.strerror[:1].lower() + error.strerror[1:]
    if error.strerror in (os.strerror(errno.EEXIST), os.strerror(errno.ENOTDIR)):  # no message of our own
        reason += "; a file stands where a folder is needed, choose another place"
    return f"{os.fsdecode(name)}: {reason}" if isinstance(name, str | bytes) else f"cannot write: {reason}"


@click.group(
    "seq2seq",
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="First steps: `seq2seq recipe run quickstart`. SEQ2SEQ_DEBUG=1 shows tracebacks.",
)
@click.version_option(package_name="seq2seq", message="seq2seq %(version)s")
def main() -> None:
    """Train your own translator, from parallel text to translations."""
    if not _debugging():  # it logs what it raises, and ours is one line
        logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)
    logger = logging.getLogger("seq2seq")
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings(logging.WARNING))
        logger.propagate = False


class _Warnings(logging.Handler):
    """Says what the library warns of as the commands say things."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line on stderr."""
        complain(f"{record.levelname.lower()}: {record.getMessage()}")
