"""Models in the formats of others.

In: a model and its tokenizer, or a foreign file. Out: a foreign file, or a shape, its tensors and a tokenizer. What a
format cannot hold exactly is said before anything is written: a caller asks for the reasons and decides.

`target` is what a format offers to whoever converts; `gguf`, with its files, is llama.cpp's format.
"""
