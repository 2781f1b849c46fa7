"""For a real server: `gunicorn -c python:genai_site.gunicorn genai_site.wsgi`.

Threads, since a chat waits for its provider nearly all of its time; more of them than chats may be in flight, so that
health checks and the admin find one free. On SIGTERM the chats in flight are finished first; streams that would take
longer are ended.
"""

import ctypes
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from types import FrameType
from typing import Any

from chat.conf import DECLARED
from genai_site.counting import child_exit, on_exit, on_starting  # noqa: F401 - for gunicorn
from genai_site.environment import Environment
from genai_site.worker import is_installed

env = Environment()
declared = env.values(DECLARED)

bind = env.str("BIND", "127.0.0.1:8000")
worker_class = "genai_site.worker.Worker"
workers = declared["WEB_CONCURRENCY"]
threads = declared["CHAT_MAX_IN_FLIGHT"] + 32
# Those that wait hold no thread, only a descriptor each.
descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
worker_connections = max(2 * threads, min(10_000, descriptors - 1_000))
backlog = 2048
keepalive = 65  # longer than a balancer's own, or it would use a connection that is just being closed
graceful_timeout = int(declared["CHAT_DEADLINE"]) + 10
timeout = 60  # a worker that gives no sign of life at all, whatever its chats do
control_socket_disable = True
forwarder_headers = ""  # a header of a proxy's, or of a stranger's behind one, does not say where the site begins

SWITCH_INTERVAL = 0.05
"""Seconds after which a thread that waits for Python's lock asks for it. Each one that waits wakes up as often: at
Python's own 0.005 a thousand chats in flight cost a quarter more. Threads give the lock away by themselves many times a
chat, so it is only a long computation that holds the others up for longer."""
GARBAGE_AFTER = 10_000
"""New containers after which Python looks for garbage among the youngest. A chat leaves none, so its own 700 would go
through a thousand chats in flight all the time, in vain."""
MMAP_THRESHOLD, LARGE = -3, 1 << 20
"""glibc's number for its limit above which a block of memory is mapped alone, and goes back to the system with its
end; and the bytes of ours. Its own rises to 32 MB, and a worker would keep what the largest bodies took, ten times."""
LAST_WORDS = 5.0
"""Seconds before the end of the drain in which streams that last so long send their last event and are charged."""


def pre_fork(server: Any, worker: Any) -> None:
    """gunicorn's hook in its master: with as many workers as processors, each worker has one for itself.

    Python's lock lets one thread of a process run at a time, and threads that hand it to and fro between processors
    cost a third more than on one. With fewer workers the machine belongs to others, too, and nobody here knows where
    they run.
    """
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    taken = Counter(getattr(other, "processor", None) for other in server.WORKERS.values())
    worker.processor = None
    if server.num_workers >= len(processors) > 1:
        worker.processor = min(processors, key=lambda processor: taken[processor])


def post_fork(server: Any, worker: Any) -> None:
    """gunicorn's hook in a new worker, before it starts any thread."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(GARBAGE_AFTER, 10, 10)
    with suppress(OSError, AttributeError):  # not every system's C library has it
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)
    if worker.processor is not None:
        with suppress(OSError):  # a sandbox may forbid it; then it only costs more
            os.sched_setaffinity(0, {worker.processor})


def post_worker_init(worker: Any) -> None:
    """gunicorn's hook for a worker that has loaded the application, and set its signals."""
    from chat.backends import database
    from chat.completion.arrival import end_streams_at
    from chat.routing.catalogue import current
    from chat.routing.cooldown import forget_faults

    # Not one that takes the place of another.
    if is_installed() and worker.age <= worker.cfg.workers:
        forget_faults(route for model in current().models.values() for route in model.routes)
    worker.log.error_log.addFilter(without_traceback)
    drain: Any = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        database.LONGEST_ANSWER = min(database.LONGEST_ANSWER, LAST_WORDS / 2)  # or a charge is waited for to no end
        end_streams_at(time.monotonic() + worker.cfg.graceful_timeout - LAST_WORDS)
        drain(number, frame)

    signal.signal(signal.SIGTERM, stop)


def worker_exit(server: Any, worker: Any) -> None:
    """gunicorn's hook in a worker that has ended: what waits for the database is tried once more."""
    from chat.billing.outbox import write_pending

    for _ in range(3):  # one that cannot be written goes behind the others
        with suppress(Exception):  # the log has every fact of it
            write_pending(at_once=True)


def without_traceback(record: logging.LogRecord) -> bool:
    """Filter gunicorn's log: a client that reads nothing until a write times out is no fault of the server's."""
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        record.msg, record.exc_info = "A client took nothing of what was written to it, and was left.", None
    return True
