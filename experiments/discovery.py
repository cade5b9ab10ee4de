"""Finding what a name means: among the modules of a package of ours, or in a user's Python file or package folder.

The one mechanism for norms, models, data, optimisers, probes, evaluations, launchers and mirrors, and for the figures
and studies of the analysis. Imports no torch.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import typing
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from experiments.errors import MissingFile, WrongInput, near_miss

__all__ = [
    "Registry",
    "WrongInput",
    "is_users",
    "load",
    "member",
    "module_names",
    "near_miss",
    "source_hash",
    "submodule",
]

_USERS = "user_file_"
"""Modules made from users' files; what goes wrong in them is wrong input, not a failure of the suite."""

T = TypeVar("T", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Everything of one kind that a configuration can name.

    Built-in entries register under their names; or, where the package knows nothing of configurations, ``entry_of``
    finds them, and each goes by the name of its file.

    Args:
        kind: the configuration group, for error lines ("norm", "model", "data").
        package: dotted name of the package whose modules hold the built-in entries.
        entry_of: what of a module is the entry; None: its modules register theirs when imported.
    """

    def __init__(self, kind: str, package: str, entry_of: Callable[[ModuleType], T | None] | None = None) -> None:
        self.kind = kind
        self.package = package
        self._entry_of = entry_of
        self._entries: dict[str, T] = {}
        self._imported = False

    def register(self, *names: str) -> Callable[[T], T]:
        """Class or function decorator: registers what follows under ``names``."""

        def decorate(entry: T) -> T:
            for name in names:
                if name in self._entries:
                    raise ValueError(f"{self.kind} {name!r} is registered twice")
                self._entries[name] = entry
            return entry

        return decorate

    def names(self) -> list[str]:
        """All built-in names, sorted."""
        if not self._imported:
            package = importlib.import_module(self.package)
            for name in module_names(package):
                module = submodule(package, name)
                entry = self._entry_of(module) if self._entry_of is not None else None
                if entry is not None:
                    self._entries[name] = entry
            self._imported = True
        return sorted(self._entries)

    def get(self, name: str, file: str | Path | None = None, key: str | None = None, file_key: str | None = None) -> T:
        """The entry called ``name``, from the user's ``file`` (or package folder) if one is given.

        Args:
            name, file: as they stand in the configuration.
            key: where they stand, for error lines, if not in the group of this kind's name.
            file_key: where the file stands, if not beside the name; then the name stands at ``key`` itself.

        Raises:
            WrongInput: no such name (the nearest one is suggested), or the file does not import.
        """
        if file is not None:
            where = key or self.kind
            module = load(f"{file_key or f'{where}.file'}={file}", file)
            return typing.cast(T, member(f"{where}.name" if file_key is None else where, name, module, file))
        if name not in self.names():
            where = self.kind if key is None else f"{key}.name"
            raise WrongInput(f"{where}={name}: unknown {self.kind}; {near_miss(name, self.names())}")
        return self._entries[name]


def module_names(package: ModuleType) -> list[str]:
    """The modules and packages that lie in ``package``, sorted; not those whose names begin with an underscore."""
    found = pkgutil.iter_modules(getattr(package, "__path__", ()))
    return sorted(module.name for module in found if not module.name.startswith("_"))


def submodule(package: ModuleType, name: str, key: str | None = None) -> ModuleType:
    """A module of a package, imported.

    Args:
        package: ours, or a user's folder as :func:`load` returned it.
        name: one of :func:`module_names`.
        key: where the user named the folder, for error lines.

    Raises:
        WrongInput: a user's module does not import. What goes wrong in ours is raised as it is.
    """
    if not is_users(package.__name__):
        return importlib.import_module(f"{package.__name__}.{name}")
    with _users_errors(key or str(package.__path__[0]), f"{name}.py"):
        return importlib.import_module(f"{package.__name__}.{name}")


def load(key: str, path: str | Path) -> ModuleType:
    """A user's Python file as a module, or a user's folder as a package.

    It is imported once per path and contents, so that many runs in one process share it and an edited file (in a
    notebook) is imported anew. In a folder relative imports work (``from .tools import mean``), and ``__init__.py`` may
    be missing; its modules are had by :func:`submodule`.

    Args:
        key: where the path was named, for error lines.
        path: of the file or folder.

    Raises:
        WrongInput: no such file, not Python, or whatever its import raises, in one line.
    """
    place = Path(path).expanduser().resolve()
    contents = hashlib.sha256(f"{place}\n{source_hash(place, key)}".encode()).hexdigest()
    name = f"{_USERS}{place.stem}_{contents[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec: ModuleSpec | None
    if not place.is_dir():
        spec = importlib.util.spec_from_file_location(name, place)
        if spec is None or spec.loader is None:
            raise WrongInput(f"{key}: not a Python file (its name must end in .py)")
    elif (place / "__init__.py").exists():
        spec = importlib.util.spec_from_file_location(
            name, place / "__init__.py", submodule_search_locations=[str(place)]
        )
        assert spec is not None
    else:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(place)]
    importlib.invalidate_caches()  # a file written a moment ago
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _users_errors(key, "the folder" if place.is_dir() else "the file"):
            if spec.loader is not None:
                spec.loader.exec_module(module)
    except WrongInput:
        for loaded in [loaded for loaded in sys.modules if loaded == name or loaded.startswith(f"{name}.")]:
            del sys.modules[loaded]
        raise
    return module


def member(key: str, name: str, module: ModuleType, file: str | Path) -> Any:
    """The class or function ``name`` of a user's module.

    Raises:
        WrongInput: it has none of this name; the nearest is suggested.
    """
    found = getattr(module, name, None)
    if not callable(found):
        own = (n for n, v in vars(module).items() if callable(v) and is_users(getattr(v, "__module__", "")))
        raise WrongInput(f"{key}={name}: not in {file}; {near_miss(name, own)}")
    return found


def is_users(module: str) -> bool:
    """Whether a module of this name was made from a user's file."""
    return module.startswith(_USERS)


def source_hash(path: str | Path, key: str) -> str:
    """SHA-256 of a user's file, or of all Python files of a folder, hexadecimal.

    It is part of the identity of every run that uses them.

    Raises:
        WrongInput: no such file; ``key`` says where it was named.
    """
    place = Path(path).expanduser()
    try:
        if not place.is_dir():
            return hashlib.sha256(place.read_bytes()).hexdigest()
        digest = hashlib.sha256()
        for file in sorted(place.rglob("*.py")):
            digest.update(f"{file.relative_to(place).as_posix()}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()
    except OSError as error:
        line = f"{key}: cannot be read ({error.strerror}); give its path, from the working directory"
        raise MissingFile(line, place.absolute()) from error


class _users_errors:
    """Whatever a user's code raises is the user's to see, in one line."""

    def __init__(self, key: str, what: str) -> None:
        self.key, self.what = key, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (Exception, SystemExit)):
            raise WrongInput(f"{self.key}: {self.what} does not import: {type(error).__name__}: {error}") from error
