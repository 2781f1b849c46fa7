"""Where a key stands in a TOML text, which tomllib does not tell."""

from __future__ import annotations

import tomllib
from os.path import commonprefix
from typing import Any


def line_of(text: str, *path: str) -> int:
    """Return the number of the first line that names as much as any of `path`, such as ("models", "gpt-4",
    "routes")."""
    found, most = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        keys = _keys(line.strip())
        if keys and line.lstrip().startswith("["):
            here = table = keys
        else:
            here = (*table, *keys) if keys else ()
        named = len(commonprefix([here, path]))
        if named > most:
            found, most = number, named
    return found


def _keys(line: str) -> tuple[str, ...]:
    """Return the keys in one line: ("models", "a.b") of `[models."a.b"]`, ("routes",) of `routes = [`, () of any
    other."""
    try:
        inner: Any = tomllib.loads(line if line.startswith("[") else line.partition("=")[0] + "= 0")
    except tomllib.TOMLDecodeError:
        return ()
    keys: tuple[str, ...] = ()
    while isinstance(inner, dict) and inner:
        key, inner = next(iter(inner.items()))
        keys += (key,)
    return keys
