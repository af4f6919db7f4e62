"""The JSON Schema of the configuration file, for editors."""

from typing import Any

from pktlb.config.keys import Document


def schema() -> dict[str, Any]:
    """The JSON Schema of a whole file, without what pydantic says there for itself."""
    made: dict[str, Any] = _plain(Document.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "pktlb", **made}


def _plain(value: Any) -> Any:
    """Without titles, which repeat the key, and without defaults that a file cannot say."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _plain(each)
        for key, each in value.items()
        if not (key == "title" and isinstance(each, str))
        if not (key == "default" and each in (None, "", [], {}))
    }
