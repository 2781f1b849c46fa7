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
    second: Callable[[], T] | None,
    *,
    after: float,
    won: Callable[[T], bool],
    abandoned: Callable[[T], None],
) -> list[T]:
    """The results that came in, in the order in which they did, up to the first that `won`.

    `second` is begun when `first` has been silent for `after` seconds; None means there is nobody to ask. The result
    of a call that was still running when the race was decided goes to `abandoned`, in that call's own thread. The
    calls must not raise.
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
        threading.Thread(target=contextvars.copy_context().run, args=(run, call), daemon=True).start()

    start(first)
    running, results = 1, []
    try:
        results.append(finish.get(timeout=after))
        running -= 1
    except Empty:
        if second is not None:
            start(second)
            running += 1
    while running and not any(won(result) for result in results):
        results.append(finish.get())
        running -= 1
    with lock:
        decided.set()
    while not finish.empty():  # crossed the line while the race was being decided
        abandoned(finish.get())
    return results
