"""`PellucidError`, the exception for errors that the user can fix."""


class PellucidError(ValueError):
    """An error that the user can fix; its message says how. The command line prints it as one line and exits 1."""


class UnsupportedTokenizerError(PellucidError):
    """A tokenizer that would be encoded otherwise than its maker meant. Its model takes token ids."""


NO_TORCH = "needs PyTorch, which is not installed: pip install torch"
