"""The C extension, which setup.cfg cannot declare. Without a compiler pktlb installs without it."""

import os
from glob import glob

from setuptools import Extension, setup

LIMITED_API = "0x030B0000"
"Python 3.11: one build serves this and all later versions."
FLAGS = ("-std=gnu11", "-O3", "-fvisibility=hidden")
"Hidden: the engine calls its own functions directly, not as something that could be replaced."

setup(
    ext_modules=[
        Extension(
            "pktlb.engine.native._core",
            sorted(glob("pktlb/engine/native/*.c")),
            depends=sorted(glob("pktlb/engine/*/*.h")),
            include_dirs=["pktlb/engine/packet"],
            define_macros=[("Py_LIMITED_API", LIMITED_API), ("_GNU_SOURCE", "1")],
            extra_compile_args=[*FLAGS, *os.environ.get("PKTLB_CFLAGS", "").split()],
            extra_link_args=["-pthread", *os.environ.get("PKTLB_LDFLAGS", "").split()],
            py_limited_api=True,
            optional="PKTLB_NEED_NATIVE" not in os.environ,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
