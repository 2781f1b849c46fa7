"""From what a provider answered to a reply, or to the exception that says why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from chat.exceptions import ProviderError, ProviderRequestRejectedError
from chat.observability.redaction import excerpt, for_the_client, mask_secrets
from chat.protocols.errors import NO_ANSWER, Failure, ProviderSays, said
from chat.protocols.payload import Response, UnusableReply, as_object, cleaned, error_object, is_error, parse_object
from chat.protocols.protocol import Protocol
from chat.protocols.waits import retry_after
from chat.types import Call, ChatRequest, Part, Reply, Thinking, Usage, VendorError, compact

UNFIT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""Escapes in JSON of what UTF-8 or PostgreSQL may not be able to hold."""


@dataclass(frozen=True)
class Reading:
    """How the answer to one request is read. `secrets` must not be found in the log, and neither must the messages.
    Nor may a client find them, or the `hosts` of ours, in the vendor's own words."""

    protocol: Protocol
    provider: str
    request: ChatRequest
    secrets: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def whole(self, response: Response) -> Reply:
        """Return the reply in a whole answer. Raises a `ProviderError`."""
        data = self.object(response)
        if UNFIT.search(response.body):
            data = cleaned(data)
        try:
            reply = self.protocol.read_reply(data, self.request)
        except UnusableReply as exc:
            raise self.unusable(response, exc) from None
        if reply.raw is not None:
            return reply
        reply = shown(reply, self.request)
        calls = [part for part in reply.parts if isinstance(part, Call)] if reply.finish_reason == "tool_calls" else []
        if not all(sound(call.arguments) for call in calls):
            raise self.unusable(response, UnusableReply("the arguments of a call are no JSON object", reply.usage))
        return reply

    def object(self, response: Response) -> dict[str, Any]:
        """Return the JSON object of a whole answer. Raises a `ProviderError`, also for an error's object."""
        if not 200 <= response.status < 300:
            raise self.failed(response)
        data = parse_object(response.body)
        if data is None:
            raise self.unusable(response, UnusableReply("no JSON object"))
        if is_error(data):
            raise self.failed(response)
        return data

    def failed(self, response: Response, usage: Usage | None = None) -> ProviderError:
        """Return the exception for an error. Under a status of success it means what its type says, and has that
        type's status."""
        failure = self.protocol.read_error(response, self.request)
        if failure is None:
            return self.unusable(response, UnusableReply("an error under a status of success", usage))
        return self._error(response, failure, usage)

    def unusable(self, response: Response, reply: UnusableReply) -> ProviderError:
        """Return the exception for a successful answer, or an event of one, that is of no use."""
        says = said(response.body)
        if not _is_error_or_page(response):
            # Half an answer is still what was said to a user: no part of it may reach the log.
            says = says._replace(message=f"{len(response.body)} bytes of {response.headers.get('content-type')}")
        verdict = NO_ANSWER._replace(meaning=f"the answer is not usable, {reply.why}")
        return self._error(response, Failure(response.status, says, verdict), reply.usage)

    def _error(self, response: Response, failure: Failure, usage: Usage | None) -> ProviderError:
        verbatim = self.request.is_verbatim(self.protocol.NAME)
        return provider_error(
            self.provider,
            response,
            failure,
            contents=self.request.texts(),
            secrets=self.secrets,
            usage=usage,
            vendor=self._vendors_own(response, failure) if verbatim else None,
        )

    def _vendors_own(self, response: Response, failure: Failure) -> VendorError | None:
        """Return the error in the vendor's own words, by which agents recover; a redacted 400 or 413 alone."""
        if failure.status not in (400, 413) or not failure.says.message.strip():
            return None
        says, error = failure.says, as_object((error_object(response.body) or {}).get("error"))
        ours = (*self.secrets, *self.hosts)
        return VendorError(
            self.protocol.NAME,
            failure.status,
            for_the_client(says.type, ours) or "invalid_request_error",
            for_the_client(says.message, ours),
            for_the_client(says.code, ours) or None,
            for_the_client(says.param, ours) or None,
            parse_object(for_the_client(compact(as_object(error.get("details"))), ours).encode()) or None,
        )


def is_shown(part: Part, request: ChatRequest) -> bool:
    """Return whether a client of another protocol is told of a part. Thoughts are not: their proof is the vendor's own,
    and a client would send them back without. Calls are not where the client has no tools."""
    return not isinstance(part, Thinking) and (bool(request.tools) or not isinstance(part, Call))


def shown(reply: Reply, request: ChatRequest) -> Reply:
    """Return the reply as a client of another protocol is told of it."""
    parts = tuple(part for part in reply.parts if is_shown(part, request))
    calls = any(isinstance(part, Call) for part in parts)
    ended = "stop" if reply.finish_reason == "tool_calls" and not calls else reply.finish_reason
    return replace(reply, parts=parts, finish_reason=ended)


def sound(arguments: str) -> bool:
    """Return whether the arguments of a call are those of a whole one."""
    return not arguments.strip() or parse_object(arguments.encode("utf-8", "replace")) is not None


def provider_error(
    provider: str,
    response: Response,
    failure: Failure,
    *,
    contents: Iterable[str] = (),
    secrets: Iterable[str] = (),
    usage: Usage | None = None,
    vendor: VendorError | None = None,
) -> ProviderError:
    """Return the exception for `failure`, with everything that a log may know of `response`.

    `contents` are the request's words, which must not be found in it, and neither must `secrets`. `vendor` is what the
    client may be told of it word for word.
    """
    says, verdict = failure.says, failure.verdict
    contents, secrets = list(contents), list(secrets)
    facts = {
        "error_type": _machines(says.type, secrets),
        "error_code": _machines(says.code, secrets),
        "provider_request_id": request_id_of(response, says),
        "text": excerpt(says.message, contents, secrets),
    }
    details = {name: value for name, value in facts.items() if value}
    words = "/".join(details[name] for name in ("error_type", "error_code") if name in details)
    within = "" if failure.status == response.status else " after a 200"
    message = f"{provider} answered {failure.status}{within}{words and f' ({words})'}: {verdict.meaning}"
    wait = retry_after(response.headers) or says.wait
    common: dict[str, Any] = {"retry_after": wait, "details": details, "usage": usage}
    if verdict.param:
        details["param"] = verdict.param
    if verdict.error is ProviderError:
        details["kind"] = verdict.fact
    if verdict.error is ProviderRequestRejectedError:
        common |= {"reason": verdict.fact, "param": verdict.param, "vendor": vendor}
    return verdict.error(provider, failure.status, message, **common)


def request_id_of(response: Response, says: ProviderSays) -> str:
    """Return the provider's own id of the request, which its support asks for, or ""."""
    for value in (response.headers.get("x-request-id"), response.headers.get("request-id"), says.request_id):
        if value and re.fullmatch(r"[\w.:-]{1,128}", value, re.ASCII):
            return value
    return ""


def _machines(word: str, secrets: Iterable[str]) -> str:
    """Return an error's type or code for the log, "" where it is no word of a machine's and may be a user's."""
    return mask_secrets(word, secrets) if re.fullmatch(r"[\w.:/-]{1,100}", word, re.ASCII) else ""


def _is_error_or_page(response: Response) -> bool:
    is_page = response.body[:64].lstrip().startswith(b"<")
    if "event-stream" in response.headers.get("content-type", ""):
        is_page = False  # but an event that could not be read, and perhaps what the model said
    return is_page or is_error(error_object(response.body) or {})
