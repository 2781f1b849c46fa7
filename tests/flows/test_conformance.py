"""What the OpenAPI schema says is what the server does: Schemathesis sends each operation good and bad requests."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import load_all_checks
from schemathesis.config import GenerationConfig, SchemathesisConfig
from schemathesis.generation.hypothesis.builder import (
    InvalidHeadersExampleMark,
    InvalidRegexMark,
    MissingPathParameters,
    NonSerializableMark,
    UnsatisfiableExampleMark,
    UnserializablePayloadMark,
)
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from chat.models import TokenBudget
from genai_site.wsgi import application

SETTINGS = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
load_all_checks()
# The same requests every time, so that one test's outcome depends neither on its neighbours nor on the day.
schema = schemathesis.openapi.from_wsgi("/schema", application, config=SchemathesisConfig(seed=1))
schema.config.generation = GenerationConfig(max_examples=20, deterministic=True, allow_x00=False)  # NUL has no keyword
schema.config.phases.fuzzing.extra_data_sources.responses = False
schema.config.phases.fuzzing.error_feedback.is_enabled = False
# A valid request is refused where its Idempotency-Key was used for another.
schema.config.checks.positive_data_acceptance.expected_statuses += ["422"]


@schema.hook
def map_body(context: Any, body: Any) -> Any:
    """To JSON Schema 5.0 is an integer; here it is none, for which there is no keyword."""
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if isinstance(body, dict) and isinstance(body.get(name), float) and body[name].is_integer():
            body[name] = int(body[name])
    return body


@schemathesis.deserializer("text/event-stream")
def whole_stream(context: Any, response: Any) -> list[str]:
    """The schema is that of the body, a string; Schemathesis would hold each event against it."""
    return [response.content.decode()]


@pytest.fixture
def roomy(user, settings):
    settings.BAD_KEY_RATE_LIMIT = "100000/s"
    TokenBudget.objects.create(user=user, limit=10**12, rate_limit="100000/s")


@pytest.fixture(scope="module")
def guarded():
    """The operations that were seen to refuse a wrong key and none, which takes two more requests each time."""
    return set()


LABELS = [operation.ok().label for operation in schema.get_all_operations()]  # type: ignore[union-attr]
HALF_TRIED = [InvalidHeadersExampleMark, InvalidRegexMark, MissingPathParameters]
HALF_TRIED += [NonSerializableMark, UnsatisfiableExampleMark, UnserializablePayloadMark]
"""What Schemathesis writes on a test that cannot send all that the schema speaks of."""


@pytest.mark.timeout(240)  # hundreds of requests each, which a busy machine takes its time for
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.django_db(transaction=True)  # as on a server, whose requests close their connections
@pytest.mark.usefixtures("roomy")
def test_the_server_does_what_the_schema_says(label, token, guarded):
    # Not `schema.parametrize()`: each worker would make up the requests of all operations before its first test.
    schema_of_one = schema.include(name=label)
    (made,) = get_all_tests(schema=schema_of_one, test_func=send_and_check, settings=SETTINGS, given_kwargs=None)
    _, test = made.ok()
    test(token=token, guarded=guarded)
    assert [mark for mark in HALF_TRIED if mark.get(test)] == []


def send_and_check(case, token, guarded):
    # A vendor's body may ask for what no route of the model can do, which no schema tells.
    unless = [positive_data_acceptance] if case.operation.path.startswith("/v1/") else []
    if case.operation.path.endswith("/count_tokens"):  # which counts what is there, and refuses no field
        unless.append(negative_data_rejection)
    if case.operation.label in guarded:
        unless.append(ignored_auth)
    response = case.call_and_validate(headers={"Authorization": f"Token {token}"}, excluded_checks=unless)
    if response.status_code < 300:
        guarded.add(case.operation.label)
