"""Files that hold what users wrote or did: created for their owner alone, whatever the umask. What there is already
keeps the mode that an operator gave it."""

from __future__ import annotations

import io
import logging
import os
import sqlite3
import sys
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from typing import Any, cast

OWNER_ALONE = 0o600


class PrivateDatabase(sqlite3.Connection):
    """SQLite's connection, as the `factory` of Django's OPTIONS. The journals take the mode of the database's file."""

    def __init__(self, database: Any, *args: Any, **kwargs: Any) -> None:
        path = str(database)
        if not path.startswith((":", "file:")):  # in memory
            with suppress(OSError):  # it is there, or SQLite itself says what is wrong
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ALONE))
        super().__init__(database, *args, **kwargs)


class PrivateLogHandler(WatchedFileHandler):
    """The standard library's, which opens a new file where logrotate has moved the old one away. A line that cannot be
    written, since the disk is full or the file somebody else's, costs no request."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # the new file cannot be opened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say why on standard error. The standard library's own words quote the record before its keys are masked."""
        with suppress(OSError, ValueError):
            reason = sys.exc_info()[1]
            sys.stderr.write(f"LOG_FILE: a line is missing in {self.baseFilename}: {reason!r}\n")

    def _open(self) -> io.TextIOWrapper:
        how: dict[str, Any] = {"mode": self.mode, "encoding": self.encoding, "errors": self.errors}
        return cast(io.TextIOWrapper, open(self.baseFilename, opener=opener, **how))


def opener(path: str, flags: int) -> int:
    """Open as `open` would, but create for the owner alone."""
    return os.open(path, flags, OWNER_ALONE)
