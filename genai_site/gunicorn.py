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
import select
import selectors
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from chat.conf import DECLARED
from genai_site.connections import MOST_GATHERED, TimedBody, Waiting
from genai_site.counting import child_exit, on_exit, on_starting  # noqa: F401 - for gunicorn
from genai_site.environment import Environment
from genai_site.no_http import refusal

env = Environment()
declared = env.values(DECLARED)

bind = env.str("BIND", "127.0.0.1:8000")
worker_class = "genai_site.gunicorn.Worker"
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
NEXT_REQUEST = 5
"""Milliseconds for which a connection keeps its thread after an answer. A busy balancer's next request comes within
them; longer ones would be waited for in vain, and keep a processor from its rest."""
HEAD_SECONDS = 10.0
"""Seconds for the head of a request, from its first byte, or from its connection, to its end."""
READ_ALREADY = 0.02
"""Seconds for what is left of a body to be there already."""
LINGER = 2.0
"""Seconds for a client to see the end of an answer, and close its side."""
LAST_WORDS = 5.0
"""Seconds before the end of the drain in which streams that last so long send their last event and are charged."""


class Worker(ThreadWorker):
    """gunicorn's gthread, with these changes.

    A thread is given to a request whose head is there, and not before: the main thread gathers heads, of any number of
    connections at once. A body has a deadline for all of it; a thread waits for it only when the application asks, so
    once it knows who sends it. A connection whose body was not read is closed, and the main thread sees to what still
    comes of it. A request that follows at once is served by the thread that served the last: to find a thread for it
    costs a tenth of a chat. On SIGTERM what waits is accepted, and the doors are closed at once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[Any, Waiting] = {}
        self.bodies: dict[Any, float] = {}

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = partial(self.serve, self.wsgi)

    def serve(self, application: Any, environ: dict[str, Any], start_response: Any) -> Any:
        """Call the application, with a body that has a deadline."""
        environ["wsgi.input"] = TimedBody(environ, self.bodies)
        return application(environ, start_response)

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Also, for a worker that is to end, accept what waits and close the doors: gunicorn's own would stay open, to
        nobody, until the last chat in flight is over, and a balancer would send its requests there."""
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        for listener in self.sockets:
            accepted = -1
            while accepted != self.nr_conns:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()
        self.sockets = []

    def enqueue_req(self, conn: Any) -> None:
        """Give a thread to the connection once the head of its request is there."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        ahead = conn.parser.unreader.take_buffered() if conn.parser else b""
        waiting = Waiting(time.monotonic() + HEAD_SECONDS, bytearray())
        waiting.take(ahead)
        self.await_bytes(conn, waiting)

    def await_bytes(self, conn: Any, waiting: Waiting) -> None:
        conn.sock.setblocking(False)
        self.waiting[conn] = waiting
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.take_bytes, conn))
        self.take_bytes(conn)

    def take_bytes(self, conn: Any, sock: Any = None) -> None:
        """Take what has come of a head, or of a body that nobody reads any more."""
        waiting = self.waiting[conn]
        try:
            piece = b"" if waiting.is_complete() else conn.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if waiting.take(piece) and sum(len(other.head or b"") for other in self.waiting.values()) > MOST_GATHERED:
            piece = b""
        if piece and not waiting.is_complete():
            return
        del self.waiting[conn]
        self.poller.unregister(conn.sock)
        if not waiting.is_complete():
            self.nr_conns -= 1
            conn.close()
            return
        conn.data_ready = True
        conn.init()
        conn.parser.unreader.unread(bytes(waiting.head or b""))
        super().enqueue_req(conn)

    def murder_pending(self) -> None:
        """Also end, with their sockets, what waits past its deadline: one byte a second resets none."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn, waiting in self.waiting.items() if waiting.ends < now]:
            del self.waiting[conn]
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        for sock, ends in list(self.bodies.items()):
            if ends < now:
                with suppress(OSError):  # which wakes the thread that reads it
                    sock.shutdown(socket.SHUT_RDWR)

    def handle(self, conn: Any) -> Any:
        keep = super().handle(conn)
        while keep is True and self.next_follows(conn):
            keep = super().handle(conn)
        return keep

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Tell a client that what it sent is no HTTP; what else fails below the application is a fault of ours."""
        kind = type(exc).__name__
        if not isinstance(exc, ParseException) or kind.startswith("InvalidResponse") or not is_installed():
            super().handle_error(req, client, addr, exc)
            return
        with suppress(OSError):  # it has left
            write_nonblock(client, refusal(kind, addr))

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        """Return whether the connection may serve another request: not where a part of the body is still to come."""
        return bool(keepalive) and bool(conn.parser.finish_body(deadline=time.monotonic() + READ_ALREADY))

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Let the client see the answer's end before its connection is closed, without a thread that waits for that."""
        failed = fs.cancelled() or fs.exception() is not None
        if self.cfg.is_ssl or failed or fs.result() is not False:
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it has left, or the thread has closed it
            self.nr_conns -= 1
            conn.close()
        else:
            self.await_bytes(conn, Waiting(time.monotonic() + LINGER))

    def next_follows(self, conn: Any) -> bool:
        """Return whether the head of the next request is there, or comes at once. It is not waited for where other
        connections need the thread, or the worker is to end."""
        orphan = os.getppid() != self.ppid  # which gunicorn's main thread ends without a word to the others
        if not self.alive or orphan or self.nr_conns - len(self.waiting) > self.cfg.threads:
            return False
        head = Waiting(0, bytearray())
        head.take(conn.parser.unreader.buf.getvalue())
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        if not head.is_complete() and poll.poll(NEXT_REQUEST):
            head.take(conn.sock.recv(65536, socket.MSG_PEEK))
        return head.is_complete()


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


def is_installed() -> bool:
    """Return whether the application is ours: the bench has another one under the same server."""
    from django.apps import apps

    return apps.ready and apps.is_installed("chat")


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
