"""`Unavailable`: why a compiled library cannot be used."""


class Unavailable(Exception):
    """A library cannot be built or loaded; the message is the reason, in one line."""
