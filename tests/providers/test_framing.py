"""HTTP's framing of bodies, cut at every place."""

from __future__ import annotations

import pytest

from chat.providers.transport.framing import MAX_LINE, Framing

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
