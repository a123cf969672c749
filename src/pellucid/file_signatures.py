"""Recognizing, by its first bytes, a file in place of another: a Git LFS pointer, a web page, a pickle."""

HEAD = 512  # bytes that are enough to tell
_BINARY = {
    b"PK\x03\x04": "a ZIP archive, as torch.save writes: a pickle under another name, which can run code when it is read",
    b"\x80": "a pickle under another name, which can run code when it is read",
    b"\x1f\x8b": "compressed with gzip: gunzip it",
    b"GGUF": "a GGUF file under another name: give it a name that ends in .gguf",
    b"\x89HDF": "an HDF5 file of Keras under another name: convert it with the library that wrote it",
}  # fmt: skip
_AGAIN = "copy or download it again"


def identify(head: bytes) -> str:
    """What a file is, and what to do, if it certainly holds neither tensors nor JSON; "" if that is not certain.

    Args:
        head: its first bytes, `HEAD` at most.
    """
    if not head:
        return f"an empty file: {_AGAIN}"
    for first, what in _BINARY.items():
        if head.startswith(first):
            return what
    if not head.strip(b"\0"):
        return f"nothing but zeros, as an interrupted copy leaves it: {_AGAIN}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"version https://git-lfs"):
        return f"a Git LFS pointer, which stands for the file: run `git lfs pull` in its folder, or {_AGAIN}"
    if text[:1] == b"<" and any(word in text[:200].lower() for word in (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")):
        return f"a web page, probably a server's error message in place of the file: {_AGAIN}"
    return ""


def identify_text(head: bytes) -> str:
    """`identify`, and for any other text in place of a binary file its first line; "" where it is no text."""
    if what := identify(head):
        return what
    try:
        line = head[: head.rfind(b"\n") + 1 or len(head)].decode("utf-8").strip().splitlines()[0].strip()
    except (UnicodeDecodeError, IndexError):
        return ""
    return f"text that begins {line[:80]!r}, probably a server's message: {_AGAIN}" if line.isprintable() and line else ""
