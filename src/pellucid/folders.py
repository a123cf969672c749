"""Folders that are written whole or not at all: filled under a random name, flushed to the disk, renamed, removed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pellucid.files import UNFINISHED, flush_descriptor, sync_folder, temporary_name


@contextmanager
def new_folder(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A context manager with an empty folder to fill, which takes the name `path` at the end; after an error it is removed.

    Its contents are written inside a folder that is this user's alone.

    Args:
        path: nothing, or an empty folder. The folders above are made.
        durable: flush all of it, and the folder that it is in, to the disk.

    Raises:
        OSError: it cannot be written, or there is something in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path.parent) as private:
        part = private / path.name
        part.mkdir()
        yield part
        if durable:
            sync_tree(part)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()  # Windows replaces no folder; one that is not empty raises
        move_new(part, path)
        if durable:
            sync_folder(path.parent)


@contextmanager
def temporary_folder(inside: Path) -> Iterator[Path]:
    """A context manager with a new folder of a random name, this user's alone, that is removed at the end."""
    folder = inside / temporary_name()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_new(source: Path, path: Path) -> None:
    """Renames a file or folder. Raises FileExistsError where there is anything of the new name."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    os.rename(source, path)


def move_contents(source: Path, target: Path, *, last: str) -> None:
    """Moves all that a folder contains into another on the same disk, replacing what has the same names there.

    Args:
        last: the file that is moved last, once everything else is on the disk: where it exists, the rest is complete. It is
            on the disk, too, when this returns.
    """
    sync_tree(source)
    for path in sorted(source.iterdir(), key=lambda path: path.name == last):
        place = target / path.name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        if path.name == last:
            sync_folder(target)
        os.replace(path, place)
    sync_folder(target)


def remove_folder(path: Path) -> None:
    """Renames a folder, then removes it: after a power failure at any time no partly removed folder has its name."""
    hidden = path.with_name(temporary_name())
    os.rename(path, hidden)
    sync_folder(path.parent)
    shutil.rmtree(hidden)


def remove_unfinished(folder: Path) -> None:
    """Removes the unfinished files and folders of killed processes from a folder that no other process is writing to."""
    for path in folder.glob(f"*{UNFINISHED}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_tree(folder: Path) -> None:
    """Flushes a folder's files, its folders and itself to the disk."""
    for directory, _, names in os.walk(folder, topdown=False):
        for name in names:
            descriptor = os.open(os.path.join(directory, name), os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                flush_descriptor(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(directory))
