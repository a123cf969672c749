"""Code compiled on the user's machine: in, C sources; out, a library in the user's cache (`build`), or why there is none."""
