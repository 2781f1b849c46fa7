"""Server-sent events and HTTP's framing, cut at every place."""

from __future__ import annotations

import pytest

from chat.providers.framing import MAX_LINE, Framing
from chat.providers.sse import MAX_EVENT, Event, EventReader


def read(*pieces: bytes) -> list[Event]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)] + reader.end()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("", b"a")]),
        (b"data:a\r\n\r\ndata:  b\r\r", [("", b"a"), ("", b" b")]),
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
    reader = EventReader()
    with pytest.raises(ValueError, match="more than"):
        for _ in range(2 * MAX_EVENT // len(line)):
            reader.feed(line)


def test_long_streams_of_short_events_and_comments_are_no_long_event():
    reader = EventReader()
    for _ in range(3):
        assert len(reader.feed(b"data: a\n\n: b\n" * (MAX_EVENT // 10))) == MAX_EVENT // 10


CHUNKED = b"5;name=value\r\nhello\r\n1 \r\n \r\nA\nbig  world\r\n0\r\nx-trailer: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("options", "wire", "told"),
    [
        ({"chunked": True, "length": None}, CHUNKED, True),
        ({"chunked": False, "length": 16}, b"hello big  world", True),
        ({"chunked": False, "length": None}, b"hello big  world", False),
    ],
)
def test_framing_however_it_is_cut(options, wire, told):
    for pieces in [[wire], [bytes([byte]) for byte in wire], *([wire[:i], wire[i:]] for i in range(len(wire)))]:
        framing = Framing(**options)
        assert b"".join(map(framing.take, pieces)) == b"hello big  world"
        assert framing.is_told is told
        assert framing.ended is told
        framing.lose()
        assert framing.ended
        assert framing.is_clean


@pytest.mark.parametrize("cut", [*range(1, len(CHUNKED))])
def test_a_chunked_body_that_breaks_off(cut):
    framing = Framing(chunked=True, length=None)
    framing.take(CHUNKED[:cut])
    assert not framing.ended
    with pytest.raises(ValueError, match="before the body"):
        framing.lose()


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b"1 2\r\n",
        b"2\r\nabc\r\n",
        b"f" * 16 + b"\r\n",
        b"1;" + b"x" * MAX_LINE,
        b"0\r\n" + b"x" * (MAX_LINE + 1),
    ],
)
def test_no_chunk(wire):
    with pytest.raises(ValueError, match="chunk"):
        Framing(chunked=True, length=None).take(wire)


@pytest.mark.parametrize("options", [{"chunked": True, "length": None}, {"chunked": False, "length": 3}])
def test_bytes_after_the_end_are_no_part_of_the_body(options):
    framing = Framing(**options)
    wire = (b"3\r\nabc\r\n0\r\n\r\n" if options["chunked"] else b"abc") + b"HTTP/1.1"
    assert framing.take(wire) == b"abc"
    assert framing.ended
    assert not framing.is_clean


def test_an_empty_body():
    assert Framing(chunked=False, length=0).is_clean
