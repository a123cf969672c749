"""C code compiled on the user's machine.

In: C sources. Out: a shared library in the user's cache (`build`), or the reason why there is none (`errors`).
"""
