"""Machine code of numba kernels, kept between processes.

Numba's own cache keeps the code too, but it takes half a second to import numba and to set it
up before the code can run, in a process that needs less than that for its work. So the object
file that LLVM makes of a kernel is kept, beside numba's caches, and linked by llvmlite alone.
Where there is none, or none can be kept, numba compiles.
"""

import ctypes
import functools
import hashlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mapmill.atomic import whole_file

KINDS = {"int64": ctypes.c_int64, "float64": ctypes.c_double, "boolean": ctypes.c_bool}
VALUES = (*KINDS, "uint8", "uint16", "int16", "int32", "float32")
"""Of arrays; the first of them of single arguments too."""
Kernel = Callable[..., int]
DIGEST = 32
"""Bytes of the digest that stands before kept code: damaged code would end the process."""
log = logging.getLogger(__name__)


def load(module: str, name: str, signature: str) -> Kernel:
    """The kernel `name` of a module as a function that holds no lock while it runs.

    Parameters
    ----------
    signature : of the arguments, in numba's words: `CPointer(uint8) int64 float64 ...`; the
        result is int64. Arrays are given as their addresses (`array.ctypes.data`).
    """
    return _load(module, name, tuple(signature.split()), os.environ.get("NUMBA_CACHE_DIR", ""))


@functools.cache
def _load(module: str, name: str, kinds: tuple[str, ...], _: str) -> Kernel:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = _machine(llvm)
    types: list[Any] = [KINDS.get(kind, ctypes.c_void_p) for kind in kinds]
    source = Path(inspect.getsourcefile(sys.modules[__name__]) or "").with_name(f"{module}.py")
    file_name = f"{module}.{name}-{_key(llvm, source, kinds)}.o"
    for folder in _folders(source):
        code = _kept(folder / file_name)
        if code is not None:
            return _linked(llvm, machine, code, name, types)
    compiled = _compile(module, name, kinds)
    code = _object_code(llvm, machine, compiled.inspect_llvm(), name, len(types))
    if code is None or not _keep(source, file_name, code):
        log.info("%s: its machine code cannot be kept; it is compiled in each process", name)
        result: Kernel = ctypes.CFUNCTYPE(ctypes.c_int64, *types)(compiled.address)
        return _holding(result, compiled)
    return _linked(llvm, machine, code, name, types)


def _compile(module: str, name: str, kinds: tuple[str, ...]) -> Any:
    """The kernel as numba makes it: a function of C."""
    import numba
    from numba import types

    words = {"CPointer": types.CPointer} | {kind: getattr(types, kind) for kind in VALUES}
    arguments = [eval(kind, {"__builtins__": {}}, words) for kind in kinds]  # noqa: S307
    function = getattr(import_module(f"mapmill.{module}"), name)
    decorate = numba.cfunc(types.int64(*arguments), error_model="numpy")
    return decorate(getattr(function, "py_func", function))


def _machine(llvm: Any) -> Any:
    """The processor of the computer, with all that it can do."""
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )


def _object_code(llvm: Any, machine: Any, text: str, name: str, arguments: int) -> bytes | None:
    """An object file of the kernel alone, called `name`; None if it needs anything of numba.

    In numba's calling convention a function returns a status; the first two of its arguments are
    where the result goes, and where an error would.
    """
    module = llvm.parse_assembly(text)
    found = [f for f in module.functions if not f.is_declaration and f.linkage.name == "external"]
    own = [f for f in found if not f.name.startswith("cfunc.")]
    if len(own) != 1 or len(list(own[0].arguments)) != arguments + 2:
        return None
    own[0].name = name
    for function in module.functions:
        if not function.is_declaration and function.name != name:
            function.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=0)
    builder = llvm.create_pass_builder(machine, options)
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    outside = [f.name for f in module.functions if f.is_declaration]
    if any(not each.startswith("llvm.") for each in outside):
        return None
    code: bytes = machine.emit_object(module)
    return code


def _linked(llvm: Any, machine: Any, code: bytes, name: str, types: list[Any]) -> Kernel:
    """The function of an object file."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(name)
    call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)(address)

    def kernel(*arguments: Any) -> int:
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        status = call(ctypes.addressof(result), ctypes.addressof(error), *arguments)
        if status:
            raise RuntimeError(f"{name} ended with status {status}")
        return result.value

    return _holding(kernel, engine)


def _holding(kernel: Kernel, owner: Any) -> Kernel:
    """The kernel, which keeps what owns its code alive."""

    def held(*arguments: Any, _owner: Any = owner) -> int:
        return kernel(*arguments)

    return held


def _key(llvm: Any, source: Path, kinds: tuple[str, ...]) -> str:
    """What machine code depends on, as a digest."""
    parts = [
        *(version(package) for package in ("numba", "llvmlite")),
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
        " ".join(kinds),
        source.read_text(encoding="utf-8"),
        Path(__file__).read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _folders(source: Path) -> list[Path]:
    """Where machine code may be kept: as numba does, where it is told, beside the code, at home."""
    told = os.environ.get("NUMBA_CACHE_DIR")
    if told:
        return [Path(told)]
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        home = [Path(cache) if cache else Path.home() / ".cache"]
    except RuntimeError:  # a user without one
        home = []
    return [source.parent / "__pycache__", *(folder / "mapmill" for folder in home)]


def _kept(path: Path) -> bytes | None:
    """Machine code that was kept, its digest before it; None where there is none that is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST], content[DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(source: Path, name: str, code: bytes) -> bool:
    for folder in _folders(source):
        try:
            with whole_file(folder / name) as part:
                part.write_bytes(hashlib.sha256(code).digest() + code)
        except OSError:
            continue
        return True
    return False
