"""The card of `flux-depth-dev`: a prompt and a control image in, one to four images out.

Owns the ten inputs with their types, ranges and defaults, and the price. Source:
docs/design/provider-api.md "flux-depth-dev input". Rows by the million pass through
`check`, so the good ones see only pydantic's compiled validator; whatever that
refuses is looked at again, slowly, to coerce what is rare and to explain the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NotRequired, Required

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from fluxbatch.domain.job import Input, Json
from fluxbatch.domain.money import Micros
from fluxbatch.models.card import (
    MOST_SAFE,
    BadInput,
    InputField,
    Problem,
    as_kind,
    quoted,
    unknown_input,
)

_PRICE = Micros(25_000)
_ABSENT: Any = None


class _FromText:
    """Lets a number also be text or a fraction without a remainder, but never a boolean.

    Pydantic's own lax mode takes `true` for 1. Written as a schema, not as a function, because a
    call into Python for each field would cost more than the rest of the validation.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        number: Any = handler(source)
        text_or_fraction = core_schema.union_schema(
            [
                core_schema.str_schema(strict=True, pattern="^[^_]*$"),  # Python's 1_0 is no 10
                core_schema.float_schema(strict=True),
            ],
            mode="left_to_right",
        )
        return core_schema.union_schema(
            [{**number, "strict": True}, core_schema.chain_schema([text_or_fraction, number])],
            mode="left_to_right",
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        union: Any = schema
        return handler(union["choices"][0])


class FluxDepthDevInput(BaseModel):
    """The inputs. The defaults are the provider's and shown to people; they are never sent."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    prompt: Annotated[str, Field(strict=True, pattern=r"\S")]
    """What the image shows."""

    control_image: Annotated[str, Field(strict=True, min_length=1)]
    """JPEG, PNG or WebP, at most 50 MB, whose depth is kept: an https URL or a local path."""

    num_outputs: Annotated[int, Field(ge=1, le=4), _FromText()] = 1
    """Images of one execution; four cost what one does."""

    num_inference_steps: Annotated[int, Field(ge=1, le=50), _FromText()] = 28
    """28 to 50 are recommended."""

    guidance: Annotated[float, Field(ge=0, le=100), _FromText()] = 10
    """How strictly the prompt is followed."""

    seed: Annotated[int, Field(ge=-MOST_SAFE, le=MOST_SAFE), _FromText()] = _ABSENT
    """Derived from the job where none is given."""

    output_format: Literal["webp", "jpg", "png"] = "webp"

    output_quality: Annotated[int, Field(ge=0, le=100), _FromText()] = 80
    """Not used for png."""

    disable_safety_checker: bool = False

    megapixels: Literal["1", "0.25"] = "1"


class FluxDepthDevCard:
    """`flux-depth-dev` as a `ModelCard`."""

    slug: Final = "flux-depth-dev"
    file_inputs: Final = frozenset({"control_image"})
    takes_derived_seed: Final = True
    schema_sha256: Final = None
    execution_s: Final = 10.0

    def __init__(self, price: Micros | None = None) -> None:
        self.price: Micros = price or _PRICE
        schema = FluxDepthDevInput.model_json_schema()
        self.inputs: Mapping[str, InputField] = {
            name: InputField.from_schema(name, prop, required=name in schema["required"])
            for name, prop in schema["properties"].items()
        }

    def check(self, given: Mapping[str, object]) -> Input:
        values = given.values()
        if None in values or "" in values:
            given = {name: v for name, v in given.items() if v is not None and v != ""}
        try:
            checked = _validate(given)
        except ValidationError:
            checked = self._check_slowly(given)
        if "guidance" in checked:
            guidance = checked["guidance"]
            if type(guidance) is float and guidance.is_integer():
                checked["guidance"] = int(guidance)  # 10.0 and 10 are one job, and one text
        return checked

    def check_value(self, name: str, value: object) -> Json:
        if name not in self.inputs:
            raise BadInput([unknown_input(name, self.inputs)])
        if value is None or value == "":
            raise BadInput([Problem(name, "is empty; leave it out instead")])
        stand_ins = {field: "-" for field in _REQUIRED if field != name}
        return self.check({**stand_ins, name: value})[name]

    def outputs_wanted(self, given: Input) -> int:
        wanted = given.get("num_outputs", 1)
        assert isinstance(wanted, int)
        return wanted

    def _check_slowly(self, present: Mapping[str, object]) -> Input:
        """Again, with what only Python coerces; raise `BadInput` for what is left."""
        coerced = {
            name: as_kind(self.inputs[name], value) if name in self.inputs else value
            for name, value in present.items()
        }
        try:
            return _validate(coerced)
        except ValidationError as exc:
            details = exc.errors(include_url=False, include_input=False, include_context=False)
        kinds = {str(error["loc"][0]): error["type"] for error in details}
        raise BadInput([self._problem(name, kinds[name], present) for name in kinds])

    def _problem(self, name: str, kind: str, present: Mapping[str, object]) -> Problem:
        if kind == "extra_forbidden":
            return unknown_input(name, self.inputs)
        if kind == "missing":
            return Problem(name, "is required and not given")
        return Problem(name, f"{quoted(present[name])} is not {self.inputs[name].allowed}")


_AS_IS = Field()
"""`Annotated` wants at least one remark, and an enum has none."""

_REQUIRED = ("prompt", "control_image")


def _validator_of_given() -> Callable[[Mapping[str, object]], Input]:
    """The model's fields as a plain dict without defaults, so that absent stays absent.

    Half the cost of a model's instance, and what comes out is the input itself.
    """
    fields: dict[str, Any] = {}
    for name, field in FluxDepthDevInput.model_fields.items():
        presence = Required if field.is_required() else NotRequired
        fields[name] = presence[Annotated[(field.annotation, *field.metadata, _AS_IS)]]
    given = TypedDict("FluxDepthDevGiven", fields)  # type: ignore[misc]  # names at runtime
    configured: Any = with_config(FluxDepthDevInput.model_config)(given)
    return TypeAdapter(configured).validator.validate_python


_validate = _validator_of_given()
