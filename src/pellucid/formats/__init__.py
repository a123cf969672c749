"""Models in the formats of others.

In: a model and its tokenizer, or a foreign file. Out: a foreign file, or a shape, its tensors and a tokenizer. What a
format cannot hold exactly is said before anything is written: a caller asks for the reasons and decides.

`gguf` is llama.cpp's format; `gguf_container` is its bytes, `gguf_blocks` its number formats.
"""
