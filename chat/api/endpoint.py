"""What all faces share: the one view through which a chat goes."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import NotAcceptable
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.api import idempotency, refusals
from chat.api.streaming import error_in_band, has_left, written
from chat.billing import budgets, claims
from chat.completion import conversations
from chat.completion.asked import Chat
from chat.completion.chat import complete_chat, in_pieces, longest, stream_chat
from chat.exceptions import ClientLeft, GenAIException, InvalidJSON, ValidationError
from chat.observability import tracing
from chat.problems.facts import EXAMPLE_MESSAGES
from chat.protocols.protocol import EventWriter, Face
from chat.routing import catalogue
from chat.throttling import ChatRateThrottle, admitted
from chat.types import Answer, Start, Trace


class ChatEndpoint(APIView):
    """One face: the name of it, and the `format` in which an answer goes out."""

    throttle_classes = [ChatRateThrottle]
    face: ClassVar[str]
    format: ClassVar[Face]
    sent: Any = None
    """The body that was read, which the browsable page's box shows again."""
    unreadable = ""
    """The same where it is no JSON."""
    span: Trace | None = None
    """That of the chat, once its body is read. To Django `trace` would be a method that the view answers."""

    limits: ClassVar[tuple[str, ...]] = ("max_tokens",)
    """The fields that may ask for as many tokens as the model gives, and no more."""
    parameters = {"POST": [idempotency.IDEMPOTENCY_KEY]}

    def request_schema(self) -> dict[str, Any]:
        """Return the schema of the body, with the models that are on offer in this process."""
        schema = self.format.request_schema()
        models = sorted(catalogue.current().models.values(), key=lambda model: model.name)
        most = max((model.max_output_tokens for model in models), default=1)
        schema["properties"]["model"]["enum"] = [model.name for model in models]
        for name in self.limits:
            schema["properties"][name]["maximum"] = most
        limited = [
            {
                "if": {"properties": {"model": {"const": model.name}}},
                "then": {"properties": {name: {"maximum": model.max_output_tokens} for name in self.limits}},
            }
            for model in models
            if model.max_output_tokens < most
        ]
        return schema | {"allOf": [*limited, *schema.get("allOf", ())], "examples": [self.example()]}

    def example(self) -> dict[str, Any]:
        """Return a body that works."""
        first = next(iter(sorted(catalogue.current().models)), "")
        return {"model": first, "messages": EXAMPLE_MESSAGES, "max_tokens": 100}

    def shown(self, request: Request) -> str:
        """Return the text for the browsable page's box: the body that was just sent, else one that works."""
        sent = self.sent if isinstance(self.sent, dict) else {}
        return self.unreadable or json.dumps(sent or self.example(), indent=4, ensure_ascii=False)

    def key_used(self) -> Any:
        """Return the id of the details of the key that the request carries; None for a browser's session."""
        details = getattr(self.request.auth, "details", None)
        return details.pk if details else None

    def model_asked_for(self) -> str:
        """Return the model that the body names, as far as it has been read; "" for none."""
        name = self.sent.get("model") if isinstance(self.sent, dict) else None
        return name if isinstance(name, str) else ""

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
        if isinstance(exc, InvalidJSON):
            self.unreadable = exc.received
        response = super().handle_exception(exc)
        refusals.note(self, exc, response.status_code)
        exc.__traceback__ = None  # it is in the log by now, and its frames hold the request, body and all
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        context = getattr(response, "renderer_context", {})
        response._resource_closers.append(partial(break_cycles, self, request, context))
        return response

    def post(self, request: Request) -> HttpResponseBase:
        """Return the answer, or the stream that has begun. An error before that is an ordinary one."""
        exchange = self.exchange(request)
        first, body = next(exchange)
        headers = stand_in(first if isinstance(first, Answer) else first.answer) | left_out(first)
        if isinstance(first, Answer):
            return Response(body, headers=headers)
        request._request.stream = exchange  # type: ignore[attr-defined]
        # The last is nginx's, which would otherwise hold events back until it has a page of them.
        headers |= {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        kind, charset = "text/event-stream; charset=utf-8", "utf-8"  # or Django would read it off the type, each event
        return StreamingHttpResponse(exchange, content_type=kind, charset=charset, headers=headers)

    def exchange(self, request: Request) -> Generator[Any, None, None]:
        """Yield the whole `Answer` with its body; of a stream its `Start` with none, and then its events.

        The slot and the key's claim last until a whole answer is there, or until its stream is over, by `close()` too.
        """
        writer: EventWriter | None = None
        start: Any
        last: Any
        try:
            # Before the body is parsed: as many bodies as slots are in memory at once, and no more.
            with admitted(request.user.pk), self.claimed(request) as (chat, stream, stored):
                if stream:
                    with closing(in_pieces(stored) if stored else stream_chat(chat)) as items:
                        start = next(items)
                        writer = self.format.EventWriter(chat, chat.request_id)
                        yield start, None
                        last = yield from written(items, start, writer, request._request)
                else:
                    answer = stored or complete_chat(chat)
                    last = answer, self.format.write_reply(answer, chat)
            budgets.release_connection()
            yield last
        except ClientLeft:
            if writer is None:
                raise
        except Exception as exc:
            if writer is None:
                raise
            last = error_in_band(exc, writer, request._request)
            budgets.release_connection()
            yield last

    @contextmanager
    def claimed(self, request: Request) -> Iterator[tuple[Chat, bool, Answer | None]]:
        """Read the request, and hold the claim of its Idempotency-Key; give the chat, whether it is to be streamed, and
        the stored answer that is to be given again."""
        self.span = tracing.begun(request.headers)
        self.sent = request.data
        wish = self.format.read_request(self.sent, catalogue.current(), request.headers)
        asked_for = wish.conversation_id
        conversation = None if asked_for is None else conversations.owned(request.user, asked_for)
        # The browsable page shows an answer when it is whole; a browser would take events for a file to be saved.
        stream = wish.stream and request.accepted_renderer.format != "api"
        key = idempotency.key_of(request)
        chat = Chat(
            **vars(wish),
            user=request.user,
            request_id=request._request.request_id,  # type: ignore[attr-defined]
            face=self.face,
            api_key=self.key_used(),
            conversation=conversation,
            max_attempts=attempts_allowed(request),
            trace=self.span,
            # Not where the client can come again for a whole answer.
            has_left=None if key and not stream else partial(has_left, request.META.get("gunicorn.socket")),
        )
        if not key:
            yield chat, stream, None
            return
        if stream and chat.request.n > 1:
            complaint = "Of a stream, one answer is kept under a key; send n = 1, or no key."
            raise ValidationError("Several streamed answers for a key.", fields={"Idempotency-Key": [complaint]})
        sent = [self.face, self.sent]
        with claims.once(request.user, key, sent, longest(stream), chat.conversation) as claim:
            if claim.answer is None:
                yield replace(chat, claim=claim), stream, None
                return
            answer = Answer.restored(claim.answer)
            if answer is None:  # it was paid for, so the request must not run again as if it had not
                raise GenAIException("Another version stored this Idempotency-Key's answer; it cannot be read.")
            self.headers["Idempotent-Replayed"] = "true"
            yield chat, stream, answer


def break_cycles(view: ChatEndpoint, request: Request, context: dict[str, Any]) -> None:
    """Take apart, when the response is sent, what DRF and Django have tied to each other: view, requests and response.

    Only the garbage collector would find it, and that counts objects and not their bytes: large bodies would pile up.
    """
    for holder in (vars(request._request), request.parser_context, context, vars(view)):
        holder.clear()


def stand_in(answer: Answer | None) -> dict[str, str]:
    """Return the header that says so where the answer is an earlier one, in place of one that no provider gave."""
    return {"X-Cached": "true"} if answer and answer.cached else {}


def left_out(answer: Answer | Start) -> dict[str, str]:
    """Return the headers that tell what was left out: the client's fields that an operator's `drop` names, and the
    part of the answer that the budget has no tokens for. Of a stream, that is known before it is needed."""
    ignored = {"X-Ignored-Parameters": ", ".join(answer.ignored)} if answer.ignored else {}
    return ignored | ({"X-Budget-Limited": str(answer.budget_limit)} if answer.budget_limit else {})


def attempts_allowed(request: Request) -> int | None:
    """Return one where the caller is itself on its second retry (the official SDKs say so), else the default (None)."""
    count = request.headers.get("x-stainless-retry-count", "")
    return 1 if count.isdecimal() and int(count[:9]) >= 2 else None
