"""Files and the text in them: the one place of this package that touches the disk."""

from __future__ import annotations

import bisect
import glob
import os
import shutil
from pathlib import Path

import attrs

MAX_FILE = 4 * 1024 * 1024
"""Bytes. A configuration, key or secret file beyond this is a mistake: a device, or a log."""


class Unreadable(Exception):
    """A file could not be read; the message is the reason, for people, without the path."""


@attrs.frozen
class Span:
    """A half-open range of character offsets in a text."""

    start: int
    end: int


def _line_starts(text: str) -> tuple[int, ...]:
    return (0, *(i + 1 for i, c in enumerate(text) if c == "\n"))


@attrs.frozen(eq=False)
class Source:
    """One text with its name. Line ends are `\\n` only, as the TOML parser sees them."""

    path: Path
    """As the user would write it: for messages, and the anchor of relative paths in the text."""
    text: str = attrs.field(repr=False)
    starts: tuple[int, ...] = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _line_starts(self.text), takes_self=True)
    )

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1, columns in characters."""
        line = bisect.bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def line_span(self, line: int) -> Span:
        """The characters of a line (counted from 1) without its line end."""
        start = self.starts[line - 1]
        end = self.text.find("\n", start)
        return Span(start, len(self.text) if end < 0 else end)

    def offset(self, line: int, column: int) -> int:
        """The offset of a position, never beyond the end of the text."""
        return min(self.starts[min(line, len(self.starts)) - 1] + column - 1, len(self.text))

    def resolve(self, name: str) -> Path:
        """An absolute path for a name that is relative to this file."""
        return Path(os.path.normpath((self.path.parent / name).absolute()))


def make_source(path: Path, text: str) -> Source:
    """A source from a text at hand; drops a byte order mark and normalises line ends."""
    return Source(path, text.removeprefix("\ufeff").replace("\r\n", "\n"))


def read_source(path: Path) -> Source:
    """Read a UTF-8 text file. Raises `Unreadable`."""
    return make_source(path, _decode(_read(path)))


def read_secret(path: Path) -> str:
    """The content of a secret file without one trailing line end. Raises `Unreadable`."""
    text = _decode(_read(path))
    return text.removesuffix("\n").removesuffix("\r")


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise Unreadable("not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise Unreadable((error.strerror or "cannot be read").lower()) from None
    except ValueError:  # a NUL in the name
        raise Unreadable("not a file name") from None
    if len(data) > MAX_FILE:
        raise Unreadable(f"larger than {MAX_FILE // 1024 // 1024} MiB")
    return data


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"not UTF-8 text (line {line})") from None


def is_pattern(name: str) -> bool:
    """Does this file name contain wildcards?"""
    return glob.has_magic(name)


def expand(source: Source, pattern: str) -> list[Path]:
    """Files that match a glob relative to `source`, sorted, spelt relative to where `source` is."""
    root = source.path.parent
    if Path(pattern).is_absolute():
        return [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    return [root / name for name in sorted(glob.glob(pattern, root_dir=root, recursive=True))]


def identity(path: Path) -> str:
    """What two spellings of one file have in common."""
    return os.path.realpath(path)


def exists(path: Path) -> bool:
    """Is there anything of this name? What cannot be a name is none."""
    return os.path.exists(path)


def fault_of_file(path: Path) -> str | None:
    """Why this file cannot be read, or None."""
    try:
        _read(path)
    except Unreadable as error:
        return str(error)
    return None


def is_directory(path: Path) -> bool:
    """Is there a directory of this name?"""
    return path.is_dir()


def find_program(name: str, search: str) -> bool:
    """Would starting `name` find an executable file, looking in the `:`-separated folders of `search`?"""
    return shutil.which(name, path=search) is not None


def open_to_others(path: Path) -> bool:
    """May the file's group or everybody read or write it?"""
    return bool(path.stat().st_mode & 0o077)
