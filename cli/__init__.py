"""The command line, installed as `seq2seq_cli`. No module here imports torch, numpy or datasets when it is loaded."""
