"""Records that Python and the compiled extension exchange, by the names of their fields.

Sizes, offsets and numbers stand in C alone: the extension exports them, and a `Record` is made of
what it exports. Python names the fields and says which are numbers and which are bytes. The two
are compared when a layout is made, that is when its module is imported: a difference is a
`ContractError` that names it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import starmap
from struct import Struct
from typing import Annotated, Any, Final, Generic, ParamSpec, TypeVar

from pktlb.engine.native._core import ELEMENTS, ENUMS, LAYOUTS

_NUMBERS: Final = {
    "__u8": "B", "__u16": "H", "__u32": "I", "__u64": "Q",
    "__s8": "b", "__s16": "h", "__s32": "i", "__s64": "q",
}  # fmt: skip
"C types that are numbers, and their codes in `struct`. All others are bytes."
_RESERVED: Final = "zero"
"Name of fields that hold nothing: they are written as zeros and never read."

Signed = Annotated[int, "signed"]
"A field that may be negative. Where a field is an `int`, it has no sign in C."

P = ParamSpec("P")
R = TypeVar("R", bound=tuple[Any, ...])
K = TypeVar("K")


class ContractError(ImportError):
    """Python and the compiled extension differ; says in what."""


class Record(Generic[P, R]):
    """One record: how it is packed and unpacked."""

    def __init__(self, name: str, record: Callable[P, R]) -> None:
        """`name`: of its struct in C, without `pk_`. `record`: a NamedTuple whose fields are
        `int`, `Signed`, `Annotated[bytes, size]`, or `bytes` of any size."""
        kind: Any = record
        self.size: Final = _size(name)
        self._name: Final = name
        self._record: Final = record
        self._make: Final[Callable[[Iterable[Any]], R]] = kind._make
        self._names: Final[tuple[str, ...]] = kind._fields
        _compare(name, kind.__annotations__)
        self._struct: Final = Struct("=" + "".join(map(_padded, codes(name))))

    def pack(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """A record of these fields, given by name. `struct.error`: a number is too big."""
        if args:
            raise TypeError(f"record {self._name}: fields are given by name")
        return self._struct.pack(*self._record(*args, **kwargs))

    def each(self, **columns: Iterable[int] | Iterable[bytes]) -> Iterator[bytes]:
        """Records, one by one. A column holds the same field of all of them. This is several times
        faster than `pack`. ValueError: one column is shorter than another."""
        if columns.keys() != set(self._names):
            raise TypeError(f"record {self._name}: expected {self._names}, not {tuple(columns)}")
        rows = zip(*(columns[name] for name in self._names), strict=True)
        return starmap(self._struct.pack, rows)

    def unpack(self, data: bytes, offset: int = 0) -> R:
        """The record at this offset."""
        return self._make(self._struct.unpack_from(data, offset))

    def iter_unpack(self, data: bytes) -> Iterator[R]:
        """Records one behind the other."""
        return map(self._make, self._struct.iter_unpack(data))

    def words(self, field: str, code: str) -> range:
        """The places of a field in an array of numbers with this code in `struct`, from the
        record's start. `ContractError` where the field is made of others."""
        _, at, length, type_ = next(each for each in LAYOUTS[self._name][1] if each[0] == field)
        if _NUMBERS.get(type_) != code:
            raise ContractError(
                f"record {self._name}: field {field} is made of {type_}, expected {code!r}"
            )
        size = Struct("=" + code).size
        return range(at // size, (at + length) // size)


def codes(name: str) -> tuple[tuple[str, str], ...]:
    """The fields of a record in their order, each with its code in `struct`."""
    return tuple((field, _code(size, type_)) for field, _, size, type_ in LAYOUTS[name][1])


def numbers(name: str, names: Mapping[K, str], spare: Iterable[str] = ()) -> dict[K, int]:
    """The number that the extension has for each of these, by the name of the enum there and
    of its member. `spare`: members that Python has no use for."""
    exported = _enum(name)
    _compare_names(f"enum {name}", "member", {*names.values(), *spare}, exported)
    return {key: exported[member] for key, member in names.items()}


def compare_numbers(name: str, own: Mapping[str, int]) -> None:
    """`ContractError` unless an enum has these members, with these numbers."""
    exported = _enum(name)
    _compare_names(f"enum {name}", "member", own, exported)
    for member, number in own.items():
        if exported[member] != number:
            raise ContractError(
                f"enum {name}: {member} is {exported[member]} in the extension, {number} here"
            )


def compare_codes(name: str, own: Iterable[tuple[str, str]]) -> None:
    """`ContractError` unless a record has these fields, with these codes, in this order."""
    _size(name)
    expected, exported = dict(own), dict(codes(name))
    compare_names(f"record {name}", tuple(expected), tuple(exported))
    for field, code in expected.items():
        if exported[field] != code:
            raise ContractError(
                f"record {name}: field {field} is {exported[field]!r} in the extension, "
                f"{code!r} here"
            )


def compare_elements(own: Mapping[str, str]) -> None:
    """`ContractError` unless the extension has these arrays, of elements with these codes, or of
    the records with these names."""
    _compare_names("the arrays", "array", own, ELEMENTS)
    for name, element in own.items():
        size, type_ = ELEMENTS[name]
        record = type_.removeprefix("struct pk_")
        exported = record if record in LAYOUTS else _code(size, type_)
        if exported != element:
            raise ContractError(
                f"array {name}: its elements are {exported!r} in the extension, {element!r} here"
            )


def compare_names(what: str, own: tuple[str, ...], exported: tuple[str, ...]) -> None:
    """`ContractError` unless these are the same names in the same order."""
    _compare_names(what, "field", own, exported)
    for here, there in zip(own, exported, strict=True):
        if here != there:
            raise ContractError(f"{what}: field {here} is where the extension has {there}")


def _size(name: str) -> int:
    """The size of a record; `ContractError` where its fields leave a gap."""
    if name not in LAYOUTS:
        raise ContractError(f"record {name}: the extension has none")
    size, fields = LAYOUTS[name]
    end = 0
    for field, at, length, _ in fields:
        if at != end:
            raise ContractError(f"record {name}: field {field} is at byte {at}, expected {end}")
        end += length
    if end != size:
        raise ContractError(f"record {name}: it has {size} bytes, its fields have {end}")
    return size


def _enum(name: str) -> Mapping[str, int]:
    if name not in ENUMS:
        raise ContractError(f"enum {name}: the extension has none")
    return ENUMS[name]


def _code(size: int, type_: str) -> str:
    code = _NUMBERS.get(type_)
    return code if code and Struct("=" + code).size == size else f"{size}s"


def _padded(field: tuple[str, str]) -> str:
    """The code of a field; a reserved one is as many bytes of padding."""
    name, code = field
    return f"{Struct('=' + code).size}x" if name == _RESERVED else code


def _compare(name: str, annotations: Mapping[str, Any]) -> None:
    """`ContractError` unless a record has these fields, and they are what they are said to be."""
    exported = {field: code for field, code in codes(name) if field != _RESERVED}
    compare_names(f"record {name}", tuple(annotations), tuple(exported))
    for field, annotation in annotations.items():
        code, is_number = exported[field], annotation in (int, Signed)
        if is_number == code.endswith("s"):
            expected = "a number" if is_number else "bytes"
            raise ContractError(f"record {name}: field {field} is {code!r}, expected {expected}")
        if is_number:
            if code.islower() != (annotation is not int):
                sign = "no sign" if annotation is int else "a sign"
                raise ContractError(f"record {name}: field {field} is {code!r}, expected {sign}")
            continue
        for size in getattr(annotation, "__metadata__", ()):
            if code != f"{size}s":
                raise ContractError(
                    f"record {name}: field {field} has {code[:-1]} bytes, expected {size}"
                )


def _compare_names(what: str, kind: str, own: Iterable[str], exported: Iterable[str]) -> None:
    here, there = set(own), set(exported)
    for name in sorted(here - there):
        raise ContractError(f"{what}: the extension has no {kind} {name}")
    for name in sorted(there - here):
        raise ContractError(f"{what}: Python has no {kind} {name}")
