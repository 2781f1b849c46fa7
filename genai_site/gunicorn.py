"""For a real server: `gunicorn -c python:genai_site.gunicorn genai_site.wsgi`.

Threads, since a chat waits for its provider nearly all of its time; more of them than chats may be in flight, so that
health checks and the admin find one free. On SIGTERM the chats in flight are finished first; streams that would take
longer are ended.
"""

import logging
import signal
import time
from types import FrameType
from typing import Any

from genai_site.environment import Environment

env = Environment()
chats = env.int("CHAT_MAX_IN_FLIGHT", 600)
deadline = env.float("CHAT_DEADLINE", 60.0)

bind = env.str("BIND", "127.0.0.1:8000")
worker_class = "gthread"
workers = env.int("WEB_CONCURRENCY", 1)
threads = chats + 32
worker_connections = 2 * threads
backlog = 2048
keepalive = 65  # longer than a balancer's own, or it would use a connection that is just being closed
graceful_timeout = int(deadline) + 10
timeout = 60  # a worker that gives no sign of life at all, whatever its chats do
control_socket_disable = True

LAST_WORDS = 5.0
"""Seconds before the end of the drain in which streams that last so long send their last event and are charged."""


def post_worker_init(worker: Any) -> None:
    """gunicorn's hook for a worker that has loaded the application, and set its signals."""
    from chat.answer import end_streams_at

    worker.log.error_log.addFilter(without_traceback)
    drain: Any = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        end_streams_at(time.monotonic() + worker.cfg.graceful_timeout - LAST_WORDS)
        drain(number, frame)

    signal.signal(signal.SIGTERM, stop)


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter of gunicorn's log: a client that reads nothing until a write times out is no fault of the server's."""
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        record.msg, record.exc_info = "A client took nothing of what was written to it, and was left.", None
    return True
