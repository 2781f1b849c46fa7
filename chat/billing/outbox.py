"""What must be written although the database may be away: the end of a chat, and the answer of an Idempotency-Key.

It is tried for about a second. What could not be written then is kept by this process, and written when the next chat
comes, when `/health/ready` is asked, or when gunicorn's worker ends.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import DataError, Error, IntegrityError, connection

PAUSES = (0.05, 0.25, 0.7)
"""Seconds between the tries."""
REST = 1.0
"""Seconds for which what is pending is left alone after a refusal: chats have their own wait for the database."""
NEVER_WRITABLE = (IntegrityError, DataError)
"""Refusals that no later try can mend, unlike those of a database that is away."""


class Write(NamedTuple):
    """`do` writes; `report` is for the log: the error where that failed, None where it was made up for."""

    do: Callable[[], Any]
    report: Callable[[Exception | None], None]


pending: deque[Write] = deque(maxlen=10_000)
"""More than can be in flight at once; each has been reported, with all that it takes to write it by hand."""
_rests_until = 0.0


def persist(write: Write) -> None:
    """Do `write`, now or later. Within a transaction, which is lost with the first error, there is one try.

    Raises nothing.
    """
    give_up_at = time.monotonic() + sum(PAUSES)  # a try may itself have waited long for a connection
    for pause in (*PAUSES, None):
        try:
            write.do()
            return
        except Exception as exc:  # whatever it is, the user gets the answer that is paid for
            failure = exc
        if connection.in_atomic_block or not isinstance(failure, Error) or isinstance(failure, NEVER_WRITABLE):
            break
        connection.close()
        if pause is None or time.monotonic() > give_up_at:
            break
        time.sleep(pause)
    if not isinstance(failure, NEVER_WRITABLE):
        pending.append(write)
    write.report(failure)


def write_pending(*, at_once: bool = False) -> None:
    """Make up for what is pending, until the database refuses something; then not again for `REST` seconds, unless
    `at_once`. Raises nothing: it is about other chats than the caller's."""
    global _rests_until
    while pending and (at_once or time.monotonic() >= _rests_until):
        try:
            write = pending.popleft()
        except IndexError:
            return  # another thread was quicker
        try:
            write.do()
        except NEVER_WRITABLE as exc:
            write.report(exc)
        except Exception as exc:
            pending.append(write)  # behind the others: it may be the only one that cannot be written
            _rests_until = time.monotonic() + REST
            if not isinstance(exc, Error):
                write.report(exc)
            elif not connection.in_atomic_block:
                connection.close()  # the caller shall have one that works, if there is one
            return
        else:
            write.report(None)
