"""Server-sent events, cut at every place."""

from __future__ import annotations

import pytest

from chat.protocols.sse import MAX_EVENT, Event, EventReader


def read(*pieces: bytes) -> list[Event]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)] + reader.end()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("", b"a")]),
        (b"data:a\r\n\r\ndata:  b\r\r", [("", b"a"), ("", b" b")]),
        (b"event: x\r\ndata: a\r\ndata: b\r\n\r\n", [("x", b"a\nb")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b"event: x\ndata: a\ndata\ndata:b:c\n\ndata: d\n\n", [("x", b"a\n\nb:c"), ("", b"d")]),
        (b": comment\n\nid: 1\nretry: 5\nnonsense\n\nevent: x\n\ndata: a\n\n", [("", b"a")]),
        (b"data: \xf0\x9f\x98\x80\n\n", [("", "\U0001f600".encode())]),
        (b"data: a", [("", b"a")]),
        (b"data: a\r", [("", b"a")]),
        (b"data\n\n", [("", b"")]),
        (b"event: \xff\ndata: a\n\n", [("\ufffd", b"a")]),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_events_however_they_are_cut(stream, events):
    assert read(stream) == events
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == events
    for cut in range(len(stream)):
        assert read(stream[:cut], b"", stream[cut:]) == events


@pytest.mark.parametrize("line", [b"x" * 1000, b"data: " + b"x" * 1000 + b"\n", b":" * 1000])
def test_an_event_that_never_ends(line):
    with pytest.raises(ValueError, match="more than"):
        read(*[line] * (2 * MAX_EVENT // len(line)))


def test_long_streams_of_short_events_and_comments_are_no_long_event():
    reader = EventReader()
    for _ in range(2):
        assert len(reader.feed(b"data: a\n\n: b\n" * (MAX_EVENT // 12))) == MAX_EVENT // 12
