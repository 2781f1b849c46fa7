"""Reading the OpenAPI schema."""

from __future__ import annotations

from typing import Any

import jsonschema

JSON = "application/json"


def validator(schema: dict[str, Any], part: Any) -> jsonschema.Draft202012Validator:
    whole = {"components": schema["components"]} | part
    return jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())


def target(schema: dict[str, Any], reference: dict[str, str]) -> Any:
    found = schema
    for key in reference["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return found


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
