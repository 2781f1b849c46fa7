"""The lines of psycopg's pool, of which an outage would make hundreds."""

from __future__ import annotations

import logging

LOST, GONE = "error connecting in %r: %s", "discarding closed connection: %s"


def test_of_each_kind_one_a_minute_is_told(log, time_machine):
    pool = logging.getLogger("psycopg.pool")
    first = ["error connecting in 'pool-1': 0", "discarding closed connection: 0"]
    time_machine.move_to("2027-03-15 10:30 +0000", tick=False)
    for seconds, told in ((0, first), (59, first), (2, first + first)):
        time_machine.shift(seconds)
        for number in range(3):
            pool.warning(LOST, "pool-1", number)
            pool.warning(GONE, number)
        assert [line["event"] for line in log.lines] == told
