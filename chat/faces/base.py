"""What all faces share: the one view through which a chat goes, and the stream of events that its answer may be."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, ClassVar, Protocol

from django.core.signals import got_request_exception
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework import generics
from rest_framework.exceptions import NotAcceptable
from rest_framework.request import Request
from rest_framework.response import Response

from chat import budgets, idempotency
from chat.admission import admitted
from chat.answer import Answer, AnswerStream, Stored
from chat.completion import Chat, complete_chat, longest, stream_chat
from chat.conf import conf
from chat.exceptions import GenAIException
from chat.handlers import report
from chat.problems import Description, describe
from chat.providers.base import Usage
from chat.throttling import ChatRateThrottle

COMMENT = ": keep-alive\n\n"


class ClientLeft(Exception):
    """Nobody is there any more to hear the answer."""


class Events(Protocol):
    """Writes one answer as server-sent events."""

    keep_alive: str

    def begin(self, stream: AnswerStream) -> str:
        """What comes before the first text."""

    def text(self, piece: str) -> str: ...

    def end(self, answer: Answer) -> str:
        """What follows the last text; without it the answer is not whole."""

    def error(self, description: Description) -> str:
        """What stands in place of the end where the answer broke off."""


class ChatEndpoint(generics.GenericAPIView):
    """One face. A subclass has a `serializer_class` whose `validated_data` is what `Chat` takes, `stream`, and perhaps
    `conversation_id`; `body` and `events` write the answer."""

    throttle_classes = [ChatRateThrottle]
    face: ClassVar[str]

    def body(self, answer: Answer) -> dict[str, Any]:
        """A whole answer."""
        raise NotImplementedError

    def events(self, chat: Chat, data: dict[str, Any]) -> Events:
        """The writer of an answer to `chat`, which `data` asked for."""
        raise NotImplementedError

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """DRF's checks, but who asks comes before what they accept."""
        try:
            super().initial(request, *args, **kwargs)
        except NotAcceptable:
            self.perform_authentication(request)
            self.check_permissions(request)
            self.check_throttles(request)
            raise

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        exc.__traceback__ = None  # it is in the log by now, and its frames hold the request, body and all
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        context = getattr(response, "renderer_context", {})
        response._resource_closers.append(partial(break_cycles, self, request, context))
        return response

    def post(self, request: Request) -> HttpResponseBase:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = dict(serializer.validated_data)
        stream = asked.pop("stream")
        key = idempotency.key_of(request)
        chat = Chat(
            **asked,
            user=request.user,
            request_id=request._request.request_id,  # type: ignore[attr-defined]
            max_attempts=attempts_allowed(request),
        )
        with ExitStack() as stack:
            once = idempotency.once(request.user, key, [self.face, request.data], longest(stream)) if key else None
            stored = once and stack.enter_context(once)
            if stored and stored.answer is not None:
                answer = Answer.restored(stored.answer)
                if answer is None:  # it was paid for, so the request must not run again as if it had not
                    raise GenAIException("Another version stored this Idempotency-Key's answer; it cannot be read.")
                self.headers["Idempotent-Replayed"] = "true"
                return self.streamed(request, chat, Stored(answer), stack) if stream else self.whole(answer)
            stack.enter_context(admitted(request.user.pk))
            if stream:
                return self.streamed(request, chat, stream_chat(chat), stack, stored)
            answer = complete_chat(chat)
            if stored:
                stored.answer = answer._asdict()
        return self.whole(answer)

    def whole(self, answer: Answer) -> Response:
        return Response(self.body(answer), headers=stand_in(answer))

    def streamed(
        self, request: Request, chat: Chat, stream: AnswerStream, stack: ExitStack, stored: Any = None
    ) -> StreamingHttpResponse:
        """The answer as events. What is on `stack` lasts as long as they do."""
        django_request = request._request
        stack.callback(stream.close)
        stack.callback(django_request.close)
        limit_writes(django_request)
        events = EventStream(django_request, stream, self.events(chat, dict(request.data)), stack.pop_all(), stored)
        # Django closes the request with the response that goes out, which may be some later error and not this stream.
        django_request.close = events.close  # type: ignore[method-assign]
        response = StreamingHttpResponse(events, content_type="text/event-stream", headers=stand_in(stream.answer))
        # The last is nginx's, which would otherwise hold events back until it has a page of them.
        response.headers["Cache-Control"], response.headers["X-Accel-Buffering"] = "no-cache", "no"
        return response


def break_cycles(view: ChatEndpoint, request: Request, context: dict[str, Any]) -> None:
    """Take apart, when the response is sent, what DRF and Django have tied to each other: view, requests and response.

    Only the garbage collector would find it, body and all, and to look for it so often costs a tenth of a chat, and a
    fifth with a thousand in flight.
    """
    request._request.close()  # a stream's end, which needs them all
    for holder in (vars(request._request), request.parser_context, context, vars(view)):
        holder.clear()


def stand_in(answer: Answer | None) -> dict[str, str]:
    """The header that says so where the answer is an earlier one, in place of one that no provider gave."""
    return {"X-Cached": "true"} if answer and answer.cached else {}


def noted(answer: Answer | None) -> dict[str, Any]:
    """The same in fields that other APIs do not have, with the reason; their clients keep what they do not know."""
    return {"cached": True, "message": answer.message} if answer and answer.cached else {}


def charged(answer: Answer) -> Usage:
    """What the budget was charged, which is what clients of other APIs read a usage as."""
    return Usage(0, 0) if answer.cached else answer.usage


def attempts_allowed(request: Request) -> int | None:
    """One where the caller is itself on its second retry (the official SDKs say so), else the default (None)."""
    count = request.headers.get("x-stainless-retry-count", "")
    return 1 if count.isdecimal() and int(count[:9]) >= 2 else None


class EventStream:
    """The body of a streamed answer. A server closes it when the client has left, begun or not."""

    def __init__(
        self, request: HttpRequest, stream: AnswerStream, events: Events, stack: ExitStack, stored: Any
    ) -> None:
        self.request, self.stream, self.events, self.stack, self.stored = request, stream, events, stack, stored
        self.chunks = self._run()

    def __iter__(self) -> Iterator[str]:
        return self.chunks

    def close(self) -> None:
        self.chunks.close()
        with suppress(ClientLeft), self.stack:  # empty by now, unless nothing was ever asked of `chunks`
            raise ClientLeft

    def _run(self) -> Generator[str, None, None]:
        try:
            with self.stack:
                yield from self._answer()
                assert self.stream.answer
                if self.stored:
                    self.stored.answer = self.stream.answer._asdict()
            budgets.release_connection()
            yield self.events.end(self.stream.answer)
        except ClientLeft:
            return
        except Exception as exc:  # the status is sent: an error can only be one more event
            description = describe(exc)
            report(exc, description.problem, self.request)
            if description.problem.traceback:
                got_request_exception.send(sender=type(self), request=self.request)
            budgets.release_connection()
            yield self.events.error(description)

    def _answer(self) -> Iterator[str]:
        # A client may take as long as it likes to receive what is yielded.
        budgets.release_connection()
        yield self.events.begin(self.stream)
        heard_at = time.monotonic()
        for piece in self.stream:
            if has_left(self.request):
                raise ClientLeft
            if piece:
                yield self.events.text(piece)
            elif time.monotonic() - heard_at < conf.CHAT_KEEP_ALIVE:
                continue
            else:
                yield self.events.keep_alive
            heard_at = time.monotonic()


def limit_writes(request: HttpRequest) -> None:
    """End the connection, where the server tells us which that is, of a client that takes nothing of what is written to
    it for CHAT_STREAM_IDLE_TIMEOUT seconds: it would hold a thread, a reservation and a provider for good."""
    sock = request.META.get("gunicorn.socket")
    if sock is not None:
        seconds, fraction = divmod(conf.CHAT_STREAM_IDLE_TIMEOUT, 1)
        limit = struct.pack("ll", int(seconds), int(fraction * 1e6))
        with suppress(OSError):  # it has left already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)  # the server resets Python's own


def has_left(request: HttpRequest) -> bool:
    """Whether the client has closed its connection, where the server tells us which that is. A write would notice only
    the second time. A client that has closed only its own side has left too, as it has for nginx: nothing tells the
    two apart, and neither browsers nor curl nor the SDKs do the latter."""
    sock = request.META.get("gunicorn.socket")
    if sock is None:
        return False
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0)) and not sock.recv(1, socket.MSG_PEEK)
    except ValueError:  # TLS, which cannot peek
        return False
    except OSError:
        return True


def event(data: Any, name: str = "") -> str:
    """One server-sent event with JSON data."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"
