"""An OpenTelemetry collector on loopback: the spans that it was sent, by OpenTelemetry's own messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from gzip import decompress
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.receiver import Receiver


class Collector:
    """What arrived, and where it listens."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver, self.endpoint = receiver, receiver.url.removesuffix("/hook")
        receiver.status = 200

    def spans(self) -> list[Any]:
        """Return the spans in the order in which they began."""
        found = [
            span
            for headers, body in self.receiver.got
            for resource in read(headers, body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: (span.start_time_unix_nano, span.kind != 2))

    def services(self) -> set[str]:
        """Return the names of the services that sent them."""
        return {
            attribute.value.string_value
            for headers, body in self.receiver.got
            for resource in read(headers, body).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


def read(headers: Any, body: bytes) -> ExportTraceServiceRequest:
    packed = headers.get("Content-Encoding") == "gzip"
    return ExportTraceServiceRequest.FromString(decompress(body) if packed else body)


def facts(span: Any) -> dict[str, Any]:
    """Return the attributes of a span."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    with Receiver().running() as receiver:
        yield Collector(receiver)
