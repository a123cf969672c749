"""The one exception that users are meant to read."""


class PellucidError(ValueError):
    """Something that the user can mend; its message says how. The command line prints it as one line and exits 1."""
