"""What the endpoints answer, field by field: read by the OpenAPI schema alone, and held true by the tests of it."""

from __future__ import annotations

from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from chat.models import Period
from chat.problems.table import BY_CODE

ADDRESSES = {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}
STATES = ("ok", "unavailable")


class Dollars(serializers.CharField):
    """Dollars as a string, exact to the nano-dollar: a program's own numbers may be no exact ones."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"help_text": "Dollars."} | kwargs)
        self.validators.append(RegexValidator(r"^[0-9]+\.[0-9]{9}$"))


class TokenCounts(serializers.Serializer):
    prompt_tokens = serializers.IntegerField(min_value=0)
    completion_tokens = serializers.IntegerField(min_value=0)


class ChatAnswer(serializers.Serializer):
    response = serializers.CharField()
    model = serializers.CharField()
    upstream_model = serializers.CharField(help_text="The provider's own name of the model that answered.")
    tokens_used = serializers.IntegerField(min_value=0, help_text="What the budget was charged.")
    cost = Dollars(allow_null=True, help_text="The same in dollars; null where the price is not known.")
    usage = TokenCounts()
    finish_reason = serializers.ChoiceField(choices=("stop", "length", "content_filter"))
    provider = serializers.CharField(help_text="Who answered.")
    cached = serializers.BooleanField(help_text="An earlier answer, shown since every provider failed.")
    request_id = serializers.CharField()
    message = serializers.CharField(required=False, help_text="Why the answer is a cached one, where it is.")


class ModelNames(serializers.Serializer):
    models = serializers.ListField(child=serializers.CharField())


class ModelLimits(serializers.Serializer):
    name = serializers.CharField()
    max_output_tokens = serializers.IntegerField(min_value=1)
    default_output_tokens = serializers.IntegerField(min_value=1, help_text="Where a chat names no max_tokens.")


class DayOfUse(serializers.Serializer):
    date = serializers.DateField()
    requests = serializers.IntegerField(min_value=0)
    tokens_used = serializers.IntegerField(min_value=0)
    cost = Dollars(allow_null=True, help_text="Dollars, of the chats whose price is known.")


class ModelInUse(serializers.Serializer):
    model = serializers.CharField()
    requests = serializers.IntegerField(min_value=0)
    tokens_used = serializers.IntegerField(min_value=0)
    cost = Dollars(allow_null=True, help_text="Dollars, of the chats whose price is known.")


class Cost(serializers.Serializer):
    limit = Dollars(allow_null=True, help_text="Dollars a period; null where the budget is in tokens.")
    used = Dollars()
    reserved = Dollars()
    remaining = Dollars(allow_null=True)


class Usage(serializers.Serializer):
    limit = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Tokens a period; null where the budget is in money."
    )
    used = serializers.IntegerField(min_value=0)
    reserved = serializers.IntegerField(min_value=0, help_text="Held by chats that are running.")
    remaining = serializers.IntegerField(min_value=0, allow_null=True)
    cost = Cost(help_text="The same in dollars.")
    period = serializers.ChoiceField(choices=Period.values)
    resets_at = serializers.DateTimeField()
    daily = DayOfUse(many=True)
    models = ModelInUse(many=True)


class ErrorEntry(serializers.Serializer):
    code = serializers.ChoiceField(choices=list(BY_CODE))
    status = serializers.IntegerField(min_value=400, max_value=599)
    title = serializers.CharField()
    meaning = serializers.CharField()
    what_to_do = serializers.CharField()
    should_retry = serializers.BooleanField()
    example = serializers.DictField(help_text="A body of this error.")


class ErrorCatalogue(serializers.Serializer):
    errors = ErrorEntry(many=True)  # type: ignore[assignment]  # a serializer's own `errors` is never asked of this one


class Health(serializers.Serializer):
    status = serializers.ChoiceField(choices=["healthy"])


class ReadyChecks(serializers.Serializer):
    database = serializers.ChoiceField(choices=STATES)
    cache = serializers.ChoiceField(choices=STATES)
    providers = serializers.ChoiceField(choices=STATES)


class Readiness(serializers.Serializer):
    status = serializers.ChoiceField(choices=("ready", "unavailable"))
    checks = ReadyChecks()
    providers = serializers.DictField(
        child=serializers.DictField(), required=False, help_text="The state of each; for staff alone."
    )
