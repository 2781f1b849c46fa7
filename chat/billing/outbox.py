"""What must be written although the database may be away: the end of a chat, and the answer of an Idempotency-Key.

It is tried for about a second. What could not be written then is kept by this process, and written when the next chat
comes, when `/health/ready` is asked, or when gunicorn's worker ends.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import nullcontext
from datetime import timedelta

import structlog
from django.db import DataError, Error, IntegrityError, connection, transaction
from django.utils import timezone

from chat.billing import reservations
from chat.models import IdempotentRequest, TokenBudget
from chat.types import Claim, Settlement

PAUSES = (0.05, 0.25, 0.7)
"""Seconds between the tries."""
REST = 1.0
"""Seconds for which what is pending is left alone after a refusal: chats have their own wait for the database."""
NEVER_WRITABLE = (IntegrityError, DataError)
"""Refusals that no later try can mend, unlike those of a database that is away."""
KEPT = timedelta(hours=24)
"""The time for which the answer of an Idempotency-Key is kept."""

log = structlog.get_logger(__name__)


class Pending(deque["Settlement | Claim"]):
    """The values that wait to be written. Each has been reported, with all that it takes to write it by hand."""

    rests_until = 0.0
    """The time before which they are left alone."""

    def clear(self) -> None:
        super().clear()
        self.rests_until = 0.0


pending = Pending(maxlen=10_000)
"""More than can be in flight at once."""


def persist(value: Settlement | Claim) -> None:
    """Write `value`, now or later. Within a transaction, which is lost with the first error, there is one try.

    Raises nothing.
    """
    give_up_at = time.monotonic() + sum(PAUSES)  # a try may itself have waited long for a connection
    for pause in (*PAUSES, None):
        try:
            write(value)
            return
        except Exception as exc:  # whatever it is, the user gets the answer that is paid for
            failure = exc
        if connection.in_atomic_block or not isinstance(failure, Error) or isinstance(failure, NEVER_WRITABLE):
            break
        connection.close()
        if pause is None or time.monotonic() > give_up_at:
            break
        time.sleep(pause)
    if isinstance(failure, NEVER_WRITABLE):
        _give_up(value, failure)
    else:
        pending.append(value)
        _report(value, failure)


def write_pending(*, at_once: bool = False) -> None:
    """Make up for what is pending, until the database refuses something; then not again for `REST` seconds, unless
    `at_once`. Raises nothing: it is about other chats than the caller's."""
    while pending and (at_once or time.monotonic() >= pending.rests_until):
        try:
            value = pending.popleft()
        except IndexError:
            return  # another thread was quicker
        try:
            write(value)
        except NEVER_WRITABLE as exc:
            _give_up(value, exc)
        except Exception as exc:
            pending.append(value)  # behind the others: it may be the only one that cannot be written
            pending.rests_until = time.monotonic() + REST
            if not isinstance(exc, Error):
                _report(value, exc)
            elif not connection.in_atomic_block:
                connection.close()  # the caller shall have one that works, if there is one
            return
        else:
            _report_late(value)


def can_write() -> bool:
    """Return whether the database answers and takes writes; what waited for that is written now."""
    write_pending()
    try:
        if connection.vendor == "sqlite":
            TokenBudget.objects.exists()  # a write would stand in line for the only lock
        else:
            TokenBudget.objects.filter(pk=0).update(limit=0)  # nobody's; but one that only reads refuses it
    except Error as exc:
        log.error("database_unavailable", reason=str(exc), hint="Without its tables: manage.py migrate.")
        return False
    return True


def write(value: Settlement | Claim) -> None:
    """Write a settlement, with the answer of its claim or neither of the two, or what is left of a claim alone.

    Nobody pays for an answer in whose place another request has answered under the same key.
    """
    if isinstance(value, Claim):
        _keep(value)
        return
    with transaction.atomic() if value.claim else nullcontext():
        if value.claim and not _keep(value.claim):
            value = value.answered_again()
        ended = reservations.end(value)
    if ended:
        event = "budget_released" if value.state == "released" else "budget_settled"
        log.debug(event, state=value.state, reserved=value.reservation.tokens, tokens_used=value.tokens_used)


def _keep(claim: Claim) -> bool:
    """Keep the claim's answer, or free its key. Return False where an outage kept the answer back for so long that the
    request was taken for dead, and another has the key."""
    mine = IdempotentRequest.objects.filter(pk=claim.pk, expires_at=claim.expires_at)
    if claim.answer is None:
        mine.delete()
        return True
    kept = mine.update(answer=claim.answer, expires_at=timezone.now() + KEPT)
    return bool(kept) or not IdempotentRequest.objects.filter(pk=claim.pk).exists()


def _give_up(value: Settlement | Claim, failure: Exception) -> None:
    """Report what can never be written; the answer that was to be written with it may still be kept."""
    _report(value, failure)
    if isinstance(value, Settlement) and value.claim:
        persist(value.claim)


def _report(value: Settlement | Claim, failure: Exception) -> None:
    if isinstance(value, Claim):
        log.error("idempotency_not_stored", claim=value.pk, exc_info=failure)
        return
    reservation = value.reservation
    log.critical(  # everything that somebody needs who has to write it by hand
        "budget_settlement_failed",
        record_id=reservation.record_id,
        user_id=reservation.user_id,
        period=reservation.period,
        period_start=reservation.period_start.isoformat(),
        reserved=reservation.tokens,
        **reservations.columns(value) | {"finished_at": value.finished_at.isoformat()},
        exc_info=failure,
    )


def _report_late(value: Settlement | Claim) -> None:
    if isinstance(value, Claim):
        log.warning("idempotency_stored_late", claim=value.pk)
    else:
        log.warning("budget_settlement_recovered", record_id=value.reservation.record_id, state=value.state)
