"""The compiled pieces of the hot path: every .pyx file below gateway/, each beside the interpreted form it repeats.

Optional: without a C compiler, or where one fails, the gateway is installed all the same and runs interpreted, which it
says at its start (`require_compiled: true` refuses that). All else about the package is in pyproject.toml.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = sorted(Path("gateway").rglob("*.pyx"))

EXTENSIONS = cythonize(
    [Extension(".".join(path.with_suffix("").parts), [str(path)], extra_compile_args=["-O2"]) for path in SOURCES],
    build_dir="build/cython",
    compiler_directives={"language_level": "3"},
)
for extension in EXTENSIONS:
    extension.optional = True  # said here, since cythonize makes extensions of its own and does not carry this over

setup(ext_modules=EXTENSIONS)
