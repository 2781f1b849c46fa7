"""The claims of requests on their Idempotency-Keys: the same request, sent twice, is answered and charged once.

The rules are those of the IETF draft (draft-ietf-httpapi-idempotency-key-header): a replay gets the stored answer, a
request still running is 409, another request under the same key is 422. Only good answers are kept, since the others
are meant to be tried again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from chat.billing.outbox import persist, write_pending
from chat.conf import conf
from chat.exceptions import IdempotencyKeyReused, RequestInProgress
from chat.models import Conversation, IdempotentRequest
from chat.types import Claim

RUNNING = "The Idempotency-Key's first request is still running."


@contextmanager
def once(user: Any, key: str, data: Any, seconds: float, conversation: Conversation | None = None) -> Iterator[Claim]:
    """Give the claim of this request, with the answer to give again where there is one. A new answer is kept for 24
    hours, or until the conversation that it names is deleted.

    If the block raises before that, the key is free again. RESERVATION_MARGIN after `seconds` a request that is not
    over is taken for dead. Raises `RequestInProgress` or `IdempotencyKeyReused`.
    """
    write_pending()  # perhaps this key's
    fingerprint = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    stored = _claim(user, key, fingerprint, seconds, conversation)
    claim = Claim(stored.pk, stored.expires_at, stored.answer)
    try:
        yield claim
    except BaseException:  # whatever ended it, a client that left included: a retry with the key must find it free
        if claim.answer is None:
            persist(claim)
        raise


def _claim(
    user: Any, key: str, fingerprint: str, seconds: float, conversation: Conversation | None = None
) -> IdempotentRequest:
    """Return the request as stored, by us now or by an earlier one. A request whose worker died is taken over in its
    time."""
    now = timezone.now()
    fresh = {
        "fingerprint": fingerprint,
        "answer": None,
        "conversation": conversation,
        "expires_at": now + timedelta(seconds=seconds + conf.RESERVATION_MARGIN),
    }
    rows = IdempotentRequest.objects.filter(user=user)
    rows.filter(expires_at__lte=now).exclude(key=key).delete()
    try:
        with transaction.atomic():
            return IdempotentRequest.objects.create(user=user, key=key, **fresh)
    except IntegrityError:
        stored = rows.filter(key=key).first()
    if stored is None:
        raise RequestInProgress(RUNNING)  # it ended this very moment, without an answer
    if stored.expires_at <= now:
        if not rows.filter(pk=stored.pk, expires_at=stored.expires_at).update(**fresh):
            raise RequestInProgress(RUNNING)
        stored.refresh_from_db()
        return stored
    if stored.fingerprint != fingerprint:
        raise IdempotencyKeyReused("The Idempotency-Key was used before, with another body.")
    if stored.answer is None:
        raise RequestInProgress(RUNNING)
    return stored
