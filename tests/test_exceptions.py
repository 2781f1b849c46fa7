"""The tree of exceptions as its users know it: names, parents, constructors, and the facts that each one keeps."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from chat import exceptions as tree

PROVIDERS = "(provider, status_code, message, retry_after=None)"
TREE = {
    "GenAIException": ("Exception", "(message)"),
    "ProviderError": ("GenAIException", PROVIDERS),
    "ProviderUnavailableError": ("ProviderError", PROVIDERS),
    "ProviderRateLimitError": ("ProviderError", PROVIDERS),
    "InvalidProviderResponseError": ("ProviderError", PROVIDERS),
    "ProviderTimeoutError": ("ProviderError", PROVIDERS),
    "ProviderRequestRejectedError": ("ProviderError", PROVIDERS),
    "BudgetError": ("GenAIException", "(message)"),
    "TokenBudgetExceededError": ("BudgetError", "(user_id, tokens_used, tokens_limit, tokens_needed=None)"),
    "RateLimitExceededError": ("BudgetError", "(limit, reset_in, user_id=None)"),
    "ValidationError": ("GenAIException", "(message)"),
    "InvalidMessageFormatError": ("ValidationError", "(message)"),
    "ModelNotFoundError": ("ValidationError", "(model_name, available_models)"),
    "SystemError": ("GenAIException", "(message)"),
    "DatabaseUnavailableError": ("SystemError", "(message)"),
}
"""The parent and the constructor of each, keyword-only facts apart, as the design has them."""
FACTS = {"provider": "p", "status_code": 503, "message": "words", "retry_after": 7, "user_id": 3, "tokens_used": 10}
FACTS |= {"tokens_limit": 20, "tokens_needed": 30, "limit": 5, "reset_in": 9, "model_name": "m"}
FACTS |= {"available_models": ["a", "b"]}


def positional(cls: type) -> str:
    """The constructor's arguments that need no name, without their types."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    of = next(
        base for base in cls.__mro__ if "__init__" in vars(base) and "args" not in inspect.signature(base).parameters
    )
    found = [each for each in inspect.signature(of).parameters.values() if each.kind in kinds]
    defaults = ("" if each.default is inspect.Parameter.empty else f"={each.default}" for each in found)
    return f"({', '.join(each.name + default for each, default in zip(found, defaults, strict=True))})"


@pytest.mark.parametrize("name", TREE)
def test_a_class_has_its_place_and_its_constructor(name: str) -> None:
    cls = getattr(tree, name)
    parent, constructor = TREE[name]
    assert [base.__name__ for base in cls.__bases__] == [parent]
    assert positional(cls) == constructor


@pytest.mark.parametrize("name", TREE)
def test_an_exception_keeps_its_facts_and_a_message_for_the_log(name: str) -> None:
    names = [part.split("=")[0] for part in TREE[name][1].strip("()").split(", ")]
    exc = getattr(tree, name)(*(FACTS[each] for each in names))
    assert {each: getattr(exc, each) for each in names} == {each: FACTS[each] for each in names}
    assert exc.message == str(exc) or name == "GenAIException"
    assert exc.message
    least = [each for each, part in zip(names, TREE[name][1].split(", "), strict=True) if "=" not in part]
    assert getattr(tree, name)(*(FACTS[each] for each in least)).message


def below(cls: type[Any]) -> list[type[Any]]:
    return [cls, *(inner for child in cls.__subclasses__() for inner in below(child))]


def test_no_exception_of_ours_has_two_parents() -> None:
    ours = [cls for cls in below(tree.GenAIException) if cls.__module__.startswith("chat.")]
    assert {cls.__name__ for cls in ours} >= TREE.keys()
    assert [cls.__name__ for cls in ours if len(cls.__bases__) > 1] == []
