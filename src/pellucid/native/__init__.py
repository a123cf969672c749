"""C code compiled on the user's machine.

In: C sources. Out: a shared library from the user's cache (`shared_library`), or the reason why there is none (`errors`).

Read `cache_directory` (whose files are trusted), `shared_library` (checking and loading them), then `build` and `compiler`
(compiling, imported only then).
"""
