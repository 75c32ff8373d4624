"""Small files that only their owner may read: passwords, keys, addresses with passwords."""

from collections.abc import Callable
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Write a file whole, readable by its owner alone from its first moment."""
    partial = file.with_name(f"{file.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text, encoding="utf-8")
    partial.rename(file)


def kept_text(file: Path, make: Callable[[], str]) -> str:
    """Return what the file says; it is made on first use and kept."""
    if not file.exists():
        write_private(file, make())
    return file.read_text(encoding="utf-8")
