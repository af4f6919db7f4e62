"""C for the kernel: compiled with clang, loaded with libbpf, run on frames of the caller's.

libbpf is called through ctypes: it is a Debian package, without one for Python.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PACKET: Final = Path(__file__).parents[4] / "pktlb" / "engine" / "packet"
FLAGS: Final = ("-O2", "-g", "-target", "bpf", "-mcpu=v3", "-std=gnu11", "-Wall", "-Wextra",
                "-Wshadow", "-Werror")  # fmt: skip
SHORTEST, LONGEST = 14, 3520
"""Bytes of a frame that the kernel tries an XDP program on: no less than an Ethernet header, and in
one piece no more than fits a page beside what the kernel puts there."""
_LOG: Final = 16 << 20
_STATS, _STEPS = 4, 1
"What the verifier tells: its figures, or each step of it."


class _OpenOptions(ctypes.Structure):
    """struct bpf_object_open_opts as of libbpf 1.0."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("reserved", ctypes.c_long),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("kernel_log_buf", ctypes.c_void_p),
        ("kernel_log_size", ctypes.c_size_t),
        ("kernel_log_level", ctypes.c_uint32),
    )


class _RunOptions(ctypes.Structure):
    """struct bpf_test_run_opts as of libbpf 1.0."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class RefusedError(Exception):
    """The kernel refuses a program: the end of what its verifier says."""


def compile_for_kernel(source: Path, folder: Path, *flags: str) -> Path:
    """The object file made of `source` in `folder`; AssertionError with what clang says."""
    multiarch = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    made = folder / f"{source.stem}.o"
    command = ["clang", *FLAGS, *flags, f"-I/usr/include/{multiarch}", f"-I{PACKET}", "-c", "-o",
               str(made), str(source)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


def _libbpf() -> ctypes.CDLL:
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for name in ("bpf_object__open_file", "bpf_object__next_program", "bpf_object__next_map"):
        getattr(library, name).restype = ctypes.c_void_p
    library.libbpf_set_print.restype = ctypes.c_void_p
    library.libbpf_set_print(None)
    return library


class Program:
    """The only program of an object file, in the kernel; and its only map, of one value."""

    def __init__(self, library: ctypes.CDLL, loaded: ctypes.c_void_p, said: str) -> None:
        self._library = library
        self.counted = next(line for line in said.splitlines() if line.startswith("processed"))
        "How many instructions the verifier followed, and in how many states."
        program = ctypes.c_void_p(library.bpf_object__next_program(loaded, None))
        data = ctypes.c_void_p(library.bpf_object__next_map(loaded, None))
        self._program = library.bpf_program__fd(program)
        self._map = library.bpf_map__fd(data)
        self._room = ctypes.create_string_buffer(library.bpf_map__value_size(data))

    def run(self, frame: bytes) -> int:
        """What the program returns for a frame of SHORTEST to LONGEST bytes."""
        options = _RunOptions(
            size=ctypes.sizeof(_RunOptions), data_in=frame, data_size_in=len(frame), repeat=1
        )
        if self._library.bpf_prog_test_run_opts(self._program, ctypes.byref(options)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return int(options.retval)

    def read(self, size: int) -> bytes:
        """The first `size` bytes of the map's value."""
        key = ctypes.c_uint32(0)
        if self._library.bpf_map_lookup_elem(self._map, ctypes.byref(key), self._room):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return self._room.raw[:size]


def _load(library: ctypes.CDLL, made: Path, level: int) -> tuple[ctypes.c_void_p, int, str]:
    log = ctypes.create_string_buffer(_LOG)
    options = _OpenOptions(
        size=ctypes.sizeof(_OpenOptions), kernel_log_buf=ctypes.addressof(log),
        kernel_log_size=_LOG, kernel_log_level=level,
    )  # fmt: skip
    opened = library.bpf_object__open_file(str(made).encode(), ctypes.byref(options))
    if not opened:
        raise OSError(ctypes.get_errno(), f"libbpf does not open {made}")
    loaded = ctypes.c_void_p(opened)
    status = library.bpf_object__load(loaded)
    return loaded, status, log.value.decode(errors="replace")


@contextmanager
def loaded(made: Path) -> Iterator[Program]:
    """The program of an object file, as long as it is in the kernel; RefusedError."""
    library = _libbpf()
    kept, status, said = _load(library, made, _STATS)
    try:
        if status:
            refused, _, steps = _load(library, made, _STEPS)
            library.bpf_object__close(refused)
            raise RefusedError(f"{os.strerror(-status)}\n{steps[-6000:]}")
        yield Program(library, kept, said)
    finally:
        library.bpf_object__close(kept)
