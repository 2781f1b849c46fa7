"""How many chats this process serves at once, so that the rest of the site stays quick while a provider hangs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chat.conf import conf
from chat.exceptions import Overloaded, TooManyConcurrentRequests

_lock = threading.RLock()  # the garbage collector may end a lost stream anywhere, within this lock too
_in_flight: Counter[Any] = Counter()


@contextmanager
def admitted(user_id: Any) -> Iterator[None]:
    """Count a chat, or another request of a user with a body, as in flight while it runs.

    Raises `Overloaded` above CHAT_MAX_IN_FLIGHT chats and `TooManyConcurrentRequests` above
    CHAT_MAX_IN_FLIGHT_PER_USER of one user; both are per process.
    """
    with _lock:
        if _in_flight.total() >= conf.CHAT_MAX_IN_FLIGHT:
            raise Overloaded("This process has CHAT_MAX_IN_FLIGHT chats in flight.")
        if _in_flight[user_id] >= conf.CHAT_MAX_IN_FLIGHT_PER_USER:
            raise TooManyConcurrentRequests(conf.CHAT_MAX_IN_FLIGHT_PER_USER)
        _in_flight[user_id] += 1
    try:
        yield
    finally:
        with _lock:
            _in_flight[user_id] -= 1
            if not _in_flight[user_id]:
                del _in_flight[user_id]
