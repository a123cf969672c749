"""Foreign checkpoints: read as our models, and written from them.

In: a directory, file or hub id with a GPT-2, Cerebras-GPT, GPT-Neo or OPT model, or a GGUF file. Out: its shape, weights and
tokenizer; and the other way round, what `transformers` or llama.cpp opens. What a format cannot hold exactly is reported
before anything is written: a caller asks for the losses and decides.

Read in this order: `families` (what differs between them, as data), `hf_config`, `tokenizers`, `hub` (none of which need
torch), `hf_read`; `hf_write`, `fold` (GPT-3's blocks in GPT-Neo's fewer parameters, exactly), `target` (the interface of a
format that can be written), `gguf` with its files (llama.cpp's format), `convert`.
"""
