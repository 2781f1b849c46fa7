"""What of other loggers' lines the log leaves out."""

from __future__ import annotations

import logging


class OnceAMinute(logging.Filter):
    """Lets of each kind of line one a minute pass: psycopg's pool writes several for each try to connect."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = str(record.msg)
        if abs(record.created - self.passed.get(kind, float("-inf"))) < 60:
            return False
        self.passed[kind] = record.created
        return True


def not_said_before(record: logging.LogRecord) -> bool:
    """Leaves out Django's "Not Found: /x" and the like where the error's own line has told the same and more, or will:
    with the traceback, where there is one."""
    return not getattr(getattr(record, "request", None), "reported", False)
