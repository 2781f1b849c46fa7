"""A race of two calls: the second starts when the first has been silent for a while, and the first success wins."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def race(
    first: Callable[[], T],
    second: Callable[[], Callable[[], T] | None],
    *,
    after: float,
    decides: Callable[[T], bool],
    abandoned: Callable[[T], None],
) -> list[T]:
    """Return the results that came in before the race was decided, in their order.

    When `first` has been silent for `after` seconds, `second` is asked, in the caller's own thread, for another call
    to begin beside it; None means there is nobody to ask. The race ends with a result that `decides` it, or when all
    are in. The result of a call that is still running then goes to `abandoned`, in that call's own thread. The calls
    must not raise.
    """
    finish: SimpleQueue[T] = SimpleQueue()
    lock, decided = threading.Lock(), threading.Event()

    def run(call: Callable[[], T]) -> None:
        result = call()
        with lock:
            late = decided.is_set()
            if not late:
                finish.put(result)
        if late:
            abandoned(result)

    def start(call: Callable[[], T]) -> None:
        # A thread starts with an empty context, so the log would lose the request's id.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run, call), name="provider call", daemon=True).start()

    results: list[T] = []
    start(first)
    running = 1
    try:
        try:
            results.append(finish.get(timeout=after))
        except Empty:
            if (call := second()) is not None:
                start(call)
                running += 1
        while len(results) < running and not any(map(decides, results)):
            results.append(finish.get())
    finally:
        with lock:
            decided.set()
    while not finish.empty():  # crossed the line while the race was being decided
        results.append(finish.get())
    return results
