"""The models this provider serves: their inputs, prices, and what it says to a bad input.

The request schema that `GET /model` shows is the very one that creates are checked
against. Knows nothing of accounts or predictions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}

_SHARED: dict[str, dict[str, Any]] = {
    "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 28},
    "guidance": {"type": "number", "minimum": 0, "maximum": 100, "default": 10},
    "seed": {"type": "integer", "description": "Random seed. Leave empty for a random one"},
    "output_format": {"type": "string", "enum": ["webp", "jpg", "png"], "default": "webp"},
    "output_quality": {"type": "integer", "minimum": 0, "maximum": 100, "default": 80},
    "disable_safety_checker": {"type": "boolean", "default": False},
    "megapixels": {"type": "string", "enum": ["1", "0.25"], "default": "1"},
}
_PROMPT = {"type": "string", "description": "What to paint"}
_CONTROL_IMAGE = {
    "type": "string",
    "format": "uri",
    "description": "Image whose depth guides the output",
}


_MOSAIC: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "Input",
    "required": ["prompt"],
    "additionalProperties": False,
    "properties": {
        "prompt": {"type": "string", "minLength": 3, "description": "What to paint"},
        "input_image": {
            "type": "string",
            "format": "uri",
            "description": "Image to begin with, where there is one",
        },
        "image_size": {
            "description": "A name, or exact pixels",
            "oneOf": [
                {"type": "string", "enum": ["square", "landscape", "portrait"]},
                {
                    "type": "object",
                    "required": ["width", "height"],
                    "additionalProperties": False,
                    "properties": {
                        "width": {"type": "integer", "minimum": 64, "maximum": 2048},
                        "height": {"type": "integer", "minimum": 64, "maximum": 2048},
                    },
                },
            ],
            "default": "square",
        },
        "palette": {
            "type": "array",
            "items": {"$ref": "#/$defs/colour"},
            "maxItems": 4,
            "description": "Colours to keep to",
        },
        "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.8},
        "num_images": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
        "seed": {"type": ["integer", "null"], "description": "Leave empty for a random one"},
        "output_format": {
            "type": "string",
            "enum": ["webp", "jpg", "png", "mp4"],
            "default": "webp",
        },
    },
    "$defs": {"colour": {"type": "string", "enum": ["red", "green", "blue", "gold"]}},
}
"""A schema with all that people meet: references, alternatives, lists, objects, null."""


@dataclass(frozen=True, slots=True)
class Model:
    slug: str
    title: str
    price_micro_usd: int
    request_schema: Mapping[str, Any]
    output_type: str = "array"

    def described(self) -> dict[str, Any]:
        """The answer of `GET /model`."""
        return {
            "title": self.title,
            "slug": self.slug,
            "version": "0.0.1",
            "output_type": self.output_type,
            "request_schema": self.request_schema,
            "cost": {
                "amount": self.price_micro_usd / 1_000_000,
                "currency": "USD",
                "type": "fixed",
                "unit": "execution",
                "estimate": f"${self.price_micro_usd / 1_000_000:.3f} per execution",
                "description": "Pricing is an estimate and may change as rates are updated.",
            },
        }

    def complaint(self, values: object) -> str | None:
        """What is wrong with an input, in the provider's words; None if nothing is."""
        if not isinstance(values, dict):
            return "input must be an object"
        for name in self.request_schema["required"]:
            if name not in values:
                return f"input.{name} is required"
        for name, value in values.items():
            rule = self.request_schema["properties"].get(name)
            if rule is None:
                return f"input.{name} is not an input of {self.slug}"
            problem = _problem(value, rule, self.request_schema)
            if problem:
                return f"input.{name} {problem}"
        return None


def _problem(value: object, rule: Mapping[str, Any], root: Mapping[str, Any]) -> str | None:
    if "$ref" in rule:
        return _problem(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root)
    if "oneOf" in rule:
        fitting = [one for one in rule["oneOf"] if _problem(value, one, root) is None]
        return None if len(fitting) == 1 else "must match exactly one of the schemas in oneOf"
    if isinstance(rule["type"], list):
        rule = {**rule, "type": rule["type"][0]}
    if isinstance(value, list) and rule["type"] == "array":
        if len(value) > rule["maxItems"]:
            return f"must have at most {rule['maxItems']} items"
        return next(filter(None, (_problem(one, rule["items"], root) for one in value)), None)
    if isinstance(value, dict) and rule["type"] == "object":
        if value.keys() != set(rule["required"]):
            return f"must have exactly {', '.join(rule['required'])}"
        inner = (_problem(one, rule["properties"][name], root) for name, one in value.items())
        return next(filter(None, inner), None)
    return _plain_problem(value, rule)


def _plain_problem(value: object, rule: Mapping[str, Any]) -> str | None:
    if not isinstance(value, _TYPES[rule["type"]]) or (
        isinstance(value, bool) and rule["type"] != "boolean"
    ):
        return f"must be of type {rule['type']}"
    if "enum" in rule and value not in rule["enum"]:
        return f"must be one of {', '.join(rule['enum'])}"
    if isinstance(value, int | float) and not _in_range(value, rule):
        return f"must be between {rule.get('minimum')} and {rule.get('maximum')}"
    if rule.get("format") == "uri":
        return _url_problem(str(value))
    return None


def _in_range(value: float, rule: Mapping[str, Any]) -> bool:
    low, high = rule.get("minimum", -math.inf), rule.get("maximum", math.inf)
    return bool(low <= value <= high)


def _url_problem(url: str) -> str | None:
    # The provider takes https alone; this one's own uploads live on a loopback address.
    parts = urlsplit(url)
    allowed = ("http", "https") if parts.hostname in _LOOPBACK else ("https",)
    if parts.scheme not in allowed or not parts.netloc:
        return "must be a publicly reachable https:// URL (data URIs are not accepted)"
    return None


def _model(slug: str, title: str, price: int, required: dict[str, Any]) -> Model:
    schema = {
        "type": "object",
        "title": "Input",
        "required": list(required),
        "properties": {**required, **_SHARED},
    }
    return Model(slug, title, price, schema)


MODELS: dict[str, Model] = {
    model.slug: model
    for model in (
        _model(
            "flux-depth-dev",
            "Flux Depth Dev",
            25_000,
            {"prompt": _PROMPT, "control_image": _CONTROL_IMAGE},
        ),
        _model("flux-dev-t2i", "Flux Dev Text to Image", 20_000, {"prompt": _PROMPT}),
        Model("flux-mosaic", "Flux Mosaic", 12_500, _MOSAIC),
        Model("flux-clip", "Flux Clip", 150_000, _MOSAIC, output_type="video"),
    )
}
