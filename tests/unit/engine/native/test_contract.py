"""Python and the compiled extension agree on every record and every enum, or the import fails."""

import importlib
import sys
from collections.abc import Callable

import pytest

import pktlb.engine.native as package
import pktlb.engine.native._core as core
from pktlb.engine.native.contract import END, FLOW, KEY, MODES, PLACE, REASONS, SCHEDULERS, SERVICE
from pktlb.model import Mode, Reason, Scheduler

Field = tuple[str, int, int, str]
"Name, offset and size in bytes, type of one element in C."
Import = Callable[[], None]
MODULES = ("layout", "contract", "packing", "tables", "dataplane")


@pytest.fixture
def import_again(monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports the binding anew, with what the test has planted in the extension."""
    for name in MODULES:
        monkeypatch.setattr(package, name, getattr(package, name))
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}")

    def again() -> None:
        for name in MODULES:
            sys.modules.pop(f"{package.__name__}.{name}", None)
        importlib.import_module(f"{package.__name__}.dataplane")

    return again


def fields_of(record: str) -> list[Field]:
    return list(core.LAYOUTS[record][1])


def laid_out(*fields: Field) -> tuple[int, tuple[Field, ...]]:
    """These fields one behind the other."""
    placed, end = [], 0
    for name, _, size, type_ in fields:
        placed.append((name, end, size, type_))
        end += size
    return end, tuple(placed)


def plant_record(
    monkeypatch: pytest.MonkeyPatch, record: str, layout: tuple[int, tuple[Field, ...]]
) -> None:
    monkeypatch.setattr(core, "LAYOUTS", {**core.LAYOUTS, record: layout})


def plant_enum(monkeypatch: pytest.MonkeyPatch, enum: str, members: dict[str, int]) -> None:
    monkeypatch.setattr(core, "ENUMS", {**core.ENUMS, enum: members})


def plant_elements(monkeypatch: pytest.MonkeyPatch, elements: dict[str, tuple[int, str]]) -> None:
    monkeypatch.setattr(core, "ELEMENTS", elements)


def swapped(enum: str, one: str, other: str) -> dict[str, int]:
    members = dict(core.ENUMS[enum])
    members[one], members[other] = members[other], members[one]
    return members


def test_what_is_exported_can_be_imported_again(import_again: Import) -> None:
    import_again()


@pytest.mark.parametrize("record", core.LAYOUTS)
def test_a_record_that_the_extension_does_not_have_is_named(
    record: str, monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    rest = {name: layout for name, layout in core.LAYOUTS.items() if name != record}
    monkeypatch.setattr(core, "LAYOUTS", rest)
    with pytest.raises(ImportError, match=f"record {record}: the extension has none"):
        import_again()


@pytest.mark.parametrize("record", core.LAYOUTS)
def test_a_missing_field_is_named_in_every_record(
    record: str, monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    fields = fields_of(record)
    for field in fields:
        rest = [each for each in fields if each != field]
        plant_record(monkeypatch, record, laid_out(*rest))
        if field[0] == "zero" and record not in {"flow", "saved_pin"}:
            import_again()  # nothing is written there or read
            continue
        expected = f"record {record}: the extension has no field {field[0]}$"
        with pytest.raises(ImportError, match=expected):
            import_again()


def test_a_new_field_is_named(monkeypatch: pytest.MonkeyPatch, import_again: Import) -> None:
    plant_record(monkeypatch, "place", laid_out(*fields_of("place"), ("colour", 0, 4, "__u32")))
    with pytest.raises(ImportError, match="record place: Python has no field colour"):
        import_again()


def test_a_moved_field_is_named(monkeypatch: pytest.MonkeyPatch, import_again: Import) -> None:
    tally, weight, *rest = fields_of("place")
    plant_record(monkeypatch, "place", laid_out(weight, tally, *rest))
    expected = "record place: field tally is where the extension has weight"
    with pytest.raises(ImportError, match=expected):
        import_again()


def test_bytes_of_another_size_are_named(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    to, source, *rest = fields_of("raw_hop")
    plant_record(monkeypatch, "raw_hop", laid_out(to, (source[0], 0, 12, "__u8"), *rest))
    with pytest.raises(ImportError, match="record raw_hop: field source has 12 bytes, expected 16"):
        import_again()


def test_bytes_in_the_place_of_a_number_are_named(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    tally, on_remove = fields_of("raw_removed")
    plant_record(monkeypatch, "raw_removed", laid_out(tally, (on_remove[0], 0, 4, "__u8")))
    expected = "record raw_removed: field on_remove is '4s', expected a number"
    with pytest.raises(ImportError, match=expected):
        import_again()


def test_a_number_of_another_size_is_followed(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    tally, on_remove = fields_of("raw_removed")
    plant_record(monkeypatch, "raw_removed", laid_out(tally, (on_remove[0], 0, 1, "__u8")))
    import_again()
    anew = importlib.import_module("pktlb.engine.native.contract")
    assert anew.REMOVED.pack(tally=1, on_remove=2) == b"\1\0\0\0\2"


@pytest.mark.parametrize(
    ("record", "field", "type_", "sentence"),
    [
        ("place", "weight", "__s32", "field weight is 'i', expected no sign"),
        ("worker_port", "fd", "__u32", "field fd is 'I', expected a sign"),
        ("flow", "seen", "__s32", "field seen is 'i', expected no sign"),
    ],
)
def test_a_number_with_another_sign_is_named(
    record: str,
    field: str,
    type_: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    import_again: Import,
) -> None:
    changed = [
        (name, 0, size, type_ if name == field else before)
        for name, _, size, before in fields_of(record)
    ]
    plant_record(monkeypatch, record, laid_out(*changed))
    with pytest.raises(ImportError, match=f"record {record}: {sentence}"):
        import_again()


@pytest.mark.parametrize(
    ("size", "type_", "code"), [(8, "__u64", "Q"), (4, "__s32", "i"), (3, "bytes", "3s")]
)
@pytest.mark.parametrize("array", core.ELEMENTS)
def test_other_elements_are_named_in_every_array(
    array: str,
    size: int,
    type_: str,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    import_again: Import,
) -> None:
    if core.ELEMENTS[array] == (size, type_):
        return
    plant_elements(monkeypatch, {**core.ELEMENTS, array: (size, type_)})
    expected = f"array {array}: its elements are '{code}' in the extension, '.*' here"
    with pytest.raises(ImportError, match=expected):
        import_again()


@pytest.mark.parametrize("array", core.ELEMENTS)
def test_an_array_that_the_extension_does_not_have_is_named(
    array: str, monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    rest = {name: element for name, element in core.ELEMENTS.items() if name != array}
    plant_elements(monkeypatch, rest)
    with pytest.raises(ImportError, match=f"the arrays: the extension has no array {array}"):
        import_again()


def test_a_new_array_is_named(monkeypatch: pytest.MonkeyPatch, import_again: Import) -> None:
    plant_elements(monkeypatch, {**core.ELEMENTS, "saved.colours": (4, "__u32")})
    with pytest.raises(ImportError, match=r"the arrays: Python has no array saved\.colours"):
        import_again()


def test_each_part_of_the_tables_is_an_array_of_the_contract() -> None:
    named = [name.removeprefix("source.") for name in core.ELEMENTS if name.startswith("source.")]
    assert tuple(named) == core.PARTS


def test_words_of_another_size_are_named(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    changed = [
        (name, 0, 8 if name == "pins" else size, "__u64" if name == "pins" else type_)
        for name, _, size, type_ in fields_of("told_tally")
    ]
    plant_record(monkeypatch, "told_tally", laid_out(*changed))
    expected = "record told_tally: field pins is made of __u64, expected 'I'"
    with pytest.raises(ImportError, match=expected):
        import_again()


def test_a_gap_between_fields_is_named(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    (tally, _, size, type_), on_remove = fields_of("raw_removed")
    layout = (8, ((tally, 0, size // 2, type_), on_remove))
    plant_record(monkeypatch, "raw_removed", layout)
    with pytest.raises(ImportError, match="raw_removed: field on_remove is at byte 4, expected 2"):
        import_again()


def test_a_gap_behind_the_last_field_is_named(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    plant_record(monkeypatch, "raw_removed", (12, core.LAYOUTS["raw_removed"][1]))
    with pytest.raises(ImportError, match="raw_removed: it has 12 bytes, its fields have 8"):
        import_again()


@pytest.mark.parametrize(
    ("record", "field", "sentence"),
    [
        ("flow", ("pin", 0, 2, "__u16"), "field pin is 'H' in the extension, 'I' here"),
        ("saved_pin", ("life", 0, 8, "__u64"), "field life is 'Q' in the extension, 'I' here"),
    ],
)
def test_records_of_the_dump_have_the_sizes_of_its_format(
    record: str,
    field: Field,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    import_again: Import,
) -> None:
    changed = [field if each[0] == field[0] else each for each in fields_of(record)]
    plant_record(monkeypatch, record, laid_out(*changed))
    with pytest.raises(ImportError, match=f"record {record}: {sentence}"):
        import_again()


def test_an_offload_is_packed_as_the_reference_does(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    *rest, last = fields_of("offload")
    plant_record(monkeypatch, "offload", laid_out(*rest, (last[0], 0, 4, "__u32")))
    with pytest.raises(ImportError, match="record offload: it is packed otherwise here"):
        import_again()


@pytest.mark.parametrize("enum", core.ENUMS)
def test_an_enum_that_the_extension_does_not_have_is_named(
    enum: str, monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    rest = {name: members for name, members in core.ENUMS.items() if name != enum}
    monkeypatch.setattr(core, "ENUMS", rest)
    with pytest.raises(ImportError, match=f"enum {enum}: the extension has none"):
        import_again()


@pytest.mark.parametrize("enum", core.ENUMS)
def test_a_renamed_member_is_named_in_every_enum(
    enum: str, monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    members = core.ENUMS[enum]
    for member in members:
        renamed = {("RENAMED" if name == member else name): members[name] for name in members}
        plant_enum(monkeypatch, enum, renamed)
        with pytest.raises(ImportError, match=f"enum {enum}: the extension has no .*{member}$"):
            import_again()


def test_a_new_member_is_named(monkeypatch: pytest.MonkeyPatch, import_again: Import) -> None:
    plant_enum(monkeypatch, "scheduler", {**core.ENUMS["scheduler"], "WLC": 6})
    with pytest.raises(ImportError, match="enum scheduler: Python has no member WLC"):
        import_again()


@pytest.mark.parametrize(
    ("enum", "one", "other", "sentence"),
    [
        ("state", "CLOSED", "DATAGRAMS", "CLOSED is 6 in the extension, 5 here"),
        ("mode", "NAT", "DSR", "NAT is 1 in the extension, 0 here"),
        ("flow_flag", "FLOW_ANY", "FLOW_PARTS", "FLOW_ANY is 128 in the extension, 16 here"),
    ],
)
def test_numbers_that_the_dump_has_too_may_not_be_swapped(
    enum: str,
    one: str,
    other: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    import_again: Import,
) -> None:
    plant_enum(monkeypatch, enum, swapped(enum, one, other))
    with pytest.raises(ImportError, match=f"enum {enum}: {sentence}"):
        import_again()


def test_numbers_that_only_the_extension_knows_are_followed(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    plant_enum(monkeypatch, "scheduler", swapped("scheduler", "RR", "BY_HASH"))
    import_again()
    anew = importlib.import_module("pktlb.engine.native.contract")
    assert anew.SCHEDULERS[Scheduler.MAGLEV] == core.ENUMS["scheduler"]["BY_HASH"] == 0


def test_swapped_parts_of_the_tables_are_named(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    monkeypatch.setattr(core, "PARTS", (core.PARTS[1], core.PARTS[0], *core.PARTS[2:]))
    expected = "the parts of the tables: field services is where the extension has places"
    with pytest.raises(ImportError, match=expected):
        import_again()


def test_another_number_for_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, import_again: Import
) -> None:
    monkeypatch.setattr(core, "ABSENT", 0)
    with pytest.raises(ImportError, match="no number is 0 in the extension, 4294967295 here"):
        import_again()


def test_words_have_the_numbers_of_the_extension() -> None:
    assert MODES == {Mode.NAT: 0, Mode.DSR: 1, Mode.TUNNEL: 2}
    assert len(SCHEDULERS) == len(Scheduler)
    assert [REASONS.index(Reason[name]) for name in core.ENUMS["reason"]] == list(
        core.ENUMS["reason"].values()
    )


def test_a_record_that_was_packed_by_name_is_read_by_name() -> None:
    packed = PLACE.pack(mode=5, lower=4, upper=3, weight=2, tally=1)
    place = PLACE.unpack(packed)
    assert packed == b"".join(number.to_bytes(4, sys.byteorder) for number in range(1, 6))
    assert (place.tally, place.weight, place.upper, place.lower, place.mode) == (1, 2, 3, 4, 5)
    assert PLACE.unpack(b"beside" + packed, 6) == place
    assert list(PLACE.iter_unpack(2 * packed)) == [place, place]


def test_a_record_is_not_packed_by_position() -> None:
    with pytest.raises(TypeError, match="record place: fields are given by name"):
        PLACE.pack(1, 2, 3, 4, 5)


def test_a_short_address_is_filled_up_and_reserved_bytes_are_zero() -> None:
    key = KEY.pack(source=b"abcd", destination=b"", sport=b"12", dport=b"34", proto=6, family=4)
    assert key == b"abcd" + bytes(28) + b"1234" + b"\6\4" + bytes(2)
    assert FLOW.unpack(bytes(FLOW.size)).pin == 0
    assert "zero" not in SERVICE.unpack(bytes(SERVICE.size))._fields


def test_columns_make_the_records_that_single_fields_make() -> None:
    each = END.each(addr=[b"a", b"b"], port=[b"12", b"34"], proto=[6, 17], family=[4, 4])
    assert list(each) == [
        END.pack(addr=b"a", port=b"12", proto=6, family=4),
        END.pack(addr=b"b", port=b"34", proto=17, family=4),
    ]


def test_a_column_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(END.each(addr=[b"a", b"b"], port=[b"12"], proto=[6, 17], family=[4, 4]))


def test_a_column_that_is_missing_or_unknown_is_refused() -> None:
    with pytest.raises(TypeError, match=r"record raw_end: expected .*'family'.*, not .*'colour'"):
        END.each(addr=[b"a"], port=[b"12"], proto=[6], colour=[4])
