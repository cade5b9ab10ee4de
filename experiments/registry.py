"""Names chosen in YAML, and what they build.

A normalisation, model, data set or optimiser is a class or function in a file of its own. The typed signature is its
configuration schema: the options in YAML are its keyword arguments, checked by :func:`build` before anything is built.
Built-in ones register under their name; a user's own are found in the user's file, by name.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from experiments.errors import WrongInput, near_miss

_USER_PREFIX = "user_file_"
"""Modules made from users' files; what goes wrong in them is wrong input, not a failure of the suite."""

T = TypeVar("T", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Everything of one kind that a configuration can name.

    Args:
        kind: the configuration group, for error lines ("norm", "model", "data").
        package: dotted name of the package whose modules register the built-in entries when imported.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
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
            for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
                importlib.import_module(f"{self.package}.{module.name}")
            self._imported = True
        return sorted(self._entries)

    def get(self, name: str, file: str | Path | None = None) -> T:
        """The entry called ``name``, from the user's ``file`` if one is given.

        Raises:
            WrongInput: no such name (the nearest one is suggested), or the file does not import.
        """
        if file is not None:
            return typing.cast(T, from_user_file(self.kind, name, file))
        if name not in self.names():
            raise WrongInput(f"{self.kind}={name}: unknown {self.kind}; {near_miss(name, self.names())}")
        return self._entries[name]


def from_user_file(kind: str, name: str, file: str | Path) -> Any:
    """The class or function ``name`` defined in the Python file ``file``.

    The module is cached by path and contents, so that many runs in one process import it once and an edited file
    (in a notebook) is imported anew.
    """
    path = Path(file).expanduser().resolve()
    key = f"{kind}.file={file}"
    module_name = f"{_USER_PREFIX}{path.stem}_{source_hash(path, key)[:16]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise WrongInput(f"{key}: not a Python file (its name must end in .py)")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # whatever the user's file raises is the user's to see, in one line
            del sys.modules[module_name]
            raise WrongInput(f"{key}: the file does not import: {type(error).__name__}: {error}") from error
    entry = getattr(module, name, None)
    if not callable(entry):
        defined = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module_name]
        raise WrongInput(f"{kind}.name={name}: not in {file}; {near_miss(name, defined)}")
    return entry


def source_hash(path: str | Path, key: str) -> str:
    """SHA-256 of a user's source file, hexadecimal; part of the identity of every run that uses the file.

    Raises:
        WrongInput: no such file; ``key`` says where it was named.
    """
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise WrongInput(
            f"{key}: cannot be read ({error.strerror}); give the path of a Python file, from the working directory"
        ) from error


def build(key: str, entry: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """``entry(*args, **options)`` after the options' names and types were checked against its signature.

    Args:
        key: where the options stand in the configuration, for error lines ("norm").
        entry: the class or function to call.
        args: what the suite passes by position; never checked.
        options: what the configuration passes by name.

    Raises:
        WrongInput: unknown or missing option, wrong type, or a ``ValueError`` of the entry itself.
    """
    parameters = list(inspect.signature(entry).parameters.values())
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    by_name = {p.name: p for p in parameters[len(args) :] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    hints = _hints(entry)
    for name, value in options.items():
        if name not in by_name:
            if open_ended:
                continue
            raise WrongInput(
                f"{key}.{name}={value}: unknown option; {near_miss(name, by_name) if by_name else 'it has none'}"
            )
        hint = hints.get(name, Any)
        if typing.get_origin(hint) is typing.Literal and value not in typing.get_args(hint):
            raise WrongInput(f"{key}.{name}={value}: {near_miss(str(value), map(str, typing.get_args(hint)))}")
        if not _fits(value, hint):
            raise WrongInput(f"{key}.{name}={value}: must be {_spell(hint)}, not {type(value).__name__}")
    for name, parameter in by_name.items():
        if parameter.default is parameter.empty and name not in options:
            raise WrongInput(f"{key}.{name}: must be given ({_spell(hints.get(name, Any))})")
    try:
        return entry(*args, **{k: _convert(v, hints.get(k, Any)) for k, v in options.items()})
    except WrongInput:
        raise
    except ValueError as error:
        raise WrongInput(f"{key}: {error}") from error
    except Exception as error:
        if not entry.__module__.startswith(_USER_PREFIX):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise WrongInput(
            f"{key}: {entry.__name__} raised {type(error).__name__}: {error} ({Path(frame.filename).name}, "
            f"line {frame.lineno})"
        ) from error


def _hints(entry: Callable[..., Any]) -> dict[str, Any]:
    target = entry.__init__ if inspect.isclass(entry) else entry
    try:
        return typing.get_type_hints(target)
    except Exception:  # a user's annotations may name what is not importable at run time; then nothing is checked
        return {}


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is types.NoneType:
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, a) for a in arguments)
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in arguments)
    if origin in (list, tuple) or hint in (list, tuple):
        element = arguments[0] if arguments else Any
        return isinstance(value, (list, tuple)) and all(_fits(v, element) for v in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, (str, Path))
    return isinstance(value, hint) if isinstance(hint, type) else True


def _convert(value: Any, hint: Any) -> Any:
    if hint is float and isinstance(value, int):
        return float(value)
    if typing.get_origin(hint) is tuple or hint is tuple:
        return tuple(value)
    return value


def _spell(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spell(a) for a in arguments)
    if origin in (list, tuple) or hint in (list, tuple):
        plural = {int: "whole numbers", float: "numbers", str: "texts"}.get(
            arguments[0] if arguments else Any, "values"
        )
        return f"a list of {plural}"
    if hint is None or hint is types.NoneType:
        return "null"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Any: "any value"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )
