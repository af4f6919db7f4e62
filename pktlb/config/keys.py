"""The tables of a configuration file as pydantic models, made of the options.

The values of a validated table are those of the model already: a VIP is a `Vip`, not its text. What
is wrong with one is said by the kinds of the options. The same models make the JSON Schema.
"""

from collections.abc import Iterable
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final

from annotated_types import Len
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError, core_schema

from pktlb.config.bounds import MAX_BACKENDS, MAX_SERVICES
from pktlb.config.config import Config
from pktlb.config.group import Group
from pktlb.config.kinds import Kind, Many
from pktlb.config.option import Option, options
from pktlb.config.service import Backend, Service
from pktlb.errors import ConfigError


class _Checked:
    """pydantic's view of a kind: how a value is checked, and what editors are told of it."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        check = self._kind.check

        def checked(value: Any) -> Any:
            try:
                return check(value)
            except ConfigError as error:
                raise PydanticCustomError("setting", "{what}", {"what": str(error)}) from None

        return core_schema.no_info_plain_validator_function(checked)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self._kind.schema()


def _listed(value: Any) -> Any:
    """One text stands for a list of one."""
    return [value] if isinstance(value, str) else value


_ONE_OR_MORE: Final = BeforeValidator(_listed)
_SHOWN: Final = (str, int, Enum, type(None))
"Types of defaults that pydantic can show."


class Table(BaseModel):
    """What all tables have in common: there are no keys but those named here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _table(name: str, sentence: str, of: Iterable[Option], **more: Any) -> type[Table]:
    keys: dict[str, Any] = {each.key: _key(each) for each in of}
    made: type[Table] = create_model(name, __base__=Table, **keys, **more)
    made.__doc__ = sentence
    return made


def _key(option: Option) -> tuple[Any, Any]:
    """The type of a key, and the rest of it."""
    what: dict[str, Any] = {"description": option.meaning}
    if option.plain_default is not None:
        what["json_schema_extra"] = {"default": option.plain_default}
    if option.is_required:
        return _type(option.kind), Field(**what)
    if isinstance(option.default, _SHOWN):
        return _type(option.kind), Field(default=option.default, **what)
    return _type(option.kind), Field(default_factory=lambda: option.default, **what)


def _type(kind: Kind) -> Any:
    if isinstance(kind, Many):
        items = list[Annotated[Any, _Checked(kind.item)]]
        shape = WithJsonSchema(kind.schema(), mode="validation")
        size, gather = Len(kind.low, kind.high), AfterValidator(kind.gather)
        return Annotated[items, size, _ONE_OR_MORE, gather, shape]
    if isinstance(kind, Group):
        return Annotated[_inner(kind), AfterValidator(kind.gather)]
    return Annotated[Any, _Checked(kind)]


@cache
def _inner(kind: Group) -> type[Table]:
    return _table(kind.title, kind.sentence, kind.options)


BackendKeys: Final = _table("BackendKeys", "A machine that serves.", options(Backend))
ServiceKeys: Final = _table(
    "ServiceKeys",
    "What clients dial, and the backends that serve it.",
    options(Service),
    backend=(
        list[BackendKeys],  # type: ignore[valid-type]
        Field(default=[], max_length=MAX_BACKENDS, description="the machines that serve"),
    ),
)
BalancerKeys: Final = _table("BalancerKeys", "What is the same for all services.", options(Config))

_KEYS: Final = {Backend: BackendKeys, Service: ServiceKeys, Config: BalancerKeys}
INSIDE: Final[dict[type[Table], dict[str | int, type[Table]]]] = {
    table: {each.key: _inner(each.kind) for each in options(of) if isinstance(each.kind, Group)}
    for of, table in _KEYS.items()
}
"The keys of each table whose values are tables."
INSIDE[ServiceKeys]["backend"] = BackendKeys


class Document(Table):
    """Configuration of pktlb, a packet-level load balancer."""

    balancer: BalancerKeys = Field(  # type: ignore[valid-type]
        default_factory=BalancerKeys, description="what is the same for all services"
    )
    service: list[ServiceKeys] = Field(  # type: ignore[valid-type]
        default=[],
        max_length=MAX_SERVICES,
        description="what clients dial, and the backends that serve it",
    )
