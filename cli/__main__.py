"""`python -m seq2seq_cli` is the `seq2seq` command."""

from .main import main

main(prog_name="seq2seq")
