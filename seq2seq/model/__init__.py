"""The encoder-decoder Transformer of Vaswani et al. 2017."""
