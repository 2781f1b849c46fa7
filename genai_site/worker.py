"""gunicorn's worker: threads are for requests that are there, and whoever is slow, to send or to take, holds none."""

from __future__ import annotations

import os
import select
import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from genai_site.connections import BODY_SECONDS, LEAST_RATE, MOST_GATHERED, MOST_LEFT, Outgoing, TimedBody, Waiting
from genai_site.no_http import refusal

NEXT_REQUEST = 5
"""Milliseconds for which a connection keeps its thread after an answer. A busy balancer's next request comes within
them; longer ones would be waited for in vain, and keep a processor from its rest."""
HEAD_SECONDS = 10.0
"""Seconds for the head of a request, from its first byte, or from its connection, to its end."""
READ_ALREADY = 0.02
"""Seconds for what is left of a body to be there already."""
LINGER = 2.0
"""Seconds for a client to see the end of an answer, and close its side."""


class Worker(ThreadWorker):
    """gunicorn's gthread, with these changes.

    A thread is given to a request whose head is there, and not before: the main thread gathers heads, of any number of
    connections at once. A body has a deadline for all of it; a thread waits for it only when the application asks, so
    once it knows who sends it. A connection whose body was not read is closed, and the main thread sees to what still
    comes of it. A request that follows at once is served by the thread that served the last: to find a thread for it
    costs a tenth of a chat. A whole answer that its client does not take at once is sent by the main thread, which has
    many of them, and a deadline for each. On SIGTERM what waits is accepted, and the doors are closed at once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[Any, Waiting] = {}
        self.bodies: dict[Any, float] = {}
        self.outgoing: dict[Any, Outgoing] = {}
        self.leaving: dict[Any, Outgoing] = {}

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = partial(self.serve, self.wsgi)

    def serve(self, application: Any, environ: dict[str, Any], start_response: Any) -> Any:
        """Call the application, with a body that has a deadline. What is whole is written to an `Outgoing`; a stream
        waits for its client, and has an end of its own."""
        environ["wsgi.input"] = TimedBody(environ, self.bodies)
        response = application(environ, start_response)
        if not self.cfg.is_ssl and not getattr(response, "streaming", False):
            sock = environ["gunicorn.socket"]
            start_response.__self__.sock = self.outgoing[sock] = Outgoing(sock)
        return response

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
        for conn in [conn for conn, outgoing in self.leaving.items() if outgoing.ends < now]:
            self.give_up(conn)
        for sock, ends in list(self.bodies.items()):
            if ends < now:
                with suppress(OSError):  # which wakes the thread that reads it
                    sock.shutdown(socket.SHUT_RDWR)

    def handle(self, conn: Any) -> Any:
        keep = self.answer(conn)
        while keep is True and self.next_follows(conn):
            keep = self.answer(conn)
        return keep

    def answer(self, conn: Any) -> Any:
        """Serve one request. The connection serves no other before its answer is out."""
        keep = super().handle(conn)
        outgoing = self.outgoing.get(conn.sock)
        return False if outgoing and outgoing.left else keep

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
        outgoing = self.outgoing.pop(conn.sock, None)
        failed = fs.cancelled() or fs.exception() is not None
        if self.cfg.is_ssl or failed or fs.result() is not False:
            super().finish_request(conn, fs)
        elif outgoing and outgoing.left:
            self.send_rest(conn, outgoing)
        else:
            self.end(conn)

    def send_rest(self, conn: Any, outgoing: Outgoing) -> None:
        """Send the rest of an answer as its client takes it. Where all of them are too much, the oldest go."""
        conn.sock.setblocking(False)
        outgoing.ends = time.monotonic() + max(BODY_SECONDS, len(outgoing.left) / LEAST_RATE)
        self.leaving[conn] = outgoing
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self.send_more, conn))
        while sum(len(other.left) for other in self.leaving.values()) > MOST_LEFT:
            self.give_up(next(iter(self.leaving)))

    def send_more(self, conn: Any, sock: Any) -> None:
        """Send what the client takes at this moment."""
        try:
            if self.leaving[conn].push():
                return
        except OSError:
            self.give_up(conn)
        else:
            del self.leaving[conn]
            self.poller.unregister(conn.sock)
            self.end(conn)

    def give_up(self, conn: Any) -> None:
        """Close the connection of a client that has not taken its answer."""
        self.log.info("A client did not take its answer in time, and was left.")
        del self.leaving[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def end(self, conn: Any) -> None:
        """Close our side, now that the answer is out, and await the other's."""
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
        if not self.alive or orphan or self.nr_conns - len(self.waiting) - len(self.leaving) > self.cfg.threads:
            return False
        head = Waiting(0, bytearray())
        head.take(conn.parser.unreader.buf.getvalue())
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        if not head.is_complete() and poll.poll(NEXT_REQUEST):
            head.take(conn.sock.recv(65536, socket.MSG_PEEK))
        return head.is_complete()


def is_installed() -> bool:
    """Return whether the application is ours: the bench has another one under the same server."""
    from django.apps import apps

    return apps.ready and apps.is_installed("chat")
