"""A worker process killed between every two steps of a chat, while others chat: nothing is lost and nothing is charged
twice."""

from __future__ import annotations

from chat.models import UsageRecord
from tests.support.fleet import OK, outcomes
from tests.support.loopback import Fault
from tests.support.rig import eventually

State = UsageRecord.State
ENDS = {
    # What may become of the chat that died at this step; None: it left no record.
    "before-reserve": {None},
    "in-reserve": {None, State.RECLAIMED},
    "after-reserve": {State.RECLAIMED},
    "in-call": {State.RECLAIMED},
    "before-settle": {State.RECLAIMED},
    "in-settle": {State.RECLAIMED, State.SETTLED},
    "after-settle": {State.SETTLED},
}


def test_workers_killed_at_every_step_of_a_chat_leave_no_token_behind(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    fleet.provider.always = Fault("slow", seconds=0.05)
    key = fleet.new_user("ada")
    url = fleet.serve("tests.support.saboteur")
    with fleet.load(url, key, clients=12) as answers:
        for step in ENDS:
            before = len(answers)
            assert fleet.chat(url, key, f"die-{step}").status == 0
            eventually(lambda: len(answers) >= before + 12, 30)  # noqa: B023 - called at once
    assert set(outcomes(answers)) == {OK, (0, None)}
    fleet.reclaim()
    fleet.assert_sums_agree()
    fleet.assert_metered(answers)
    assert list(fleet.periods().values_list("reserved", flat=True)) == [0]

    records = {record.request_id: record for record in fleet.records()}
    assert len(records) == fleet.records().count()  # one a chat
    for step, ends in ENDS.items():
        record = records.pop(f"die-{step}", None)
        assert (record and record.state) in ends, step
    # The others died along with a worker, at whatever they were doing.
    others = set(records) - {answer.request_id for answer in answers if answer.outcome == OK}
    assert others <= {answer.request_id for answer in answers if answer.status == 0}
    assert {records[name].state for name in others} <= {State.RECLAIMED, State.SETTLED}
