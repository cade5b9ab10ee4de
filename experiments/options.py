"""Options chosen in YAML, and what they build.

A normalisation, model, data set, optimiser, probe or launcher is a class or function in a file of its own. Its typed
signature is its configuration schema: the options in YAML are its keyword arguments, checked by :func:`build` before
anything is built.
"""

from __future__ import annotations

import inspect
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.discovery import is_users
from experiments.errors import WrongInput, near_miss
from experiments.keys import unknown


def build(
    key: str, entry: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any], named_at: str | None = None
) -> Any:
    """``entry(*args, **options)`` after the options' names and types were checked against its signature.

    Args:
        key: where the options stand in the configuration, for error lines ("norm").
        entry: the class or function to call.
        args: what the suite passes by position; never checked.
        options: what the configuration passes by name.
        named_at: where the entry was named, for its own errors, if not where its options stand.

    Raises:
        WrongInput: unknown or missing option, wrong type, or a ``ValueError`` of the entry itself.
    """
    by_name, open_ended = _taken(entry, len(args))
    hints = _hints(entry)
    for name, value in options.items():
        if name not in by_name:
            if open_ended:
                continue
            raise unknown(f"{key}.{name}", f"={value}", by_name, {}, "option")
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
        place = users_place(error)
        raise WrongInput(f"{named_at or key}: {error}{f' ({place})' if place else ''}") from error
    except Exception as error:
        if not is_users(entry.__module__):
            raise
        raise raised_by_user(named_at or key, entry.__name__, error, entry) from error


def refuse_unknown_options(
    key: str, entry: Callable[..., Any], positional: int, options: Mapping[str, Any], whole: Mapping[str, Any]
) -> None:
    """Refuses options that ``entry`` does not take, without building it.

    Args:
        key: where the options stand in the configuration.
        entry: the class or function that is to be called.
        positional: how many arguments the suite passes by position.
        options: its own, by name.
        whole: the configuration, in which the option may have another place.

    Raises:
        WrongInput: the first one.
    """
    taken, open_ended = _taken(entry, positional)
    for name, value in options.items():
        if name not in taken and not open_ended:
            raise unknown(f"{key}.{name}", f"={value}", taken, whole, "option")


def _taken(entry: Callable[..., Any], positional: int) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters that can be given by name, and whether any others can."""
    parameters = list(inspect.signature(entry).parameters.values())
    by_name = {p.name: p for p in parameters[positional:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return by_name, any(p.kind is p.VAR_KEYWORD for p in parameters)


def raised_by_user(key: str, what: str, error: Exception, entry: Callable[..., Any] | None = None) -> WrongInput:
    """The line about an error of the user's own code: where it stands, and what ``what`` raised.

    Args:
        key: where the code was named.
        what: the class or function.
        error: what it raised.
        entry: what could not even be called; its definition then is the place.
    """
    place = users_place(error)
    if place is None and entry is not None:
        place = f"{Path(inspect.getsourcefile(entry) or '').name}, line {inspect.getsourcelines(entry)[1]}"
    return WrongInput(f"{key}: {what} raised {type(error).__name__}: {error}{f' ({place})' if place else ''}")


def users_place(error: BaseException) -> str | None:
    """File and line of the user's code that raised, or that called what raised; None if it is none of the user's."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [(frame, line) for frame, line in frames if is_users(str(frame.f_globals.get("__name__")))]
    return f"{Path(own[-1][0].f_code.co_filename).name}, line {own[-1][1]}" if own else None


def in_users_code(error: Exception, named: Mapping[str, tuple[str | None, str]]) -> WrongInput | None:
    """The line about an error that came out of a network; None if no user's file that is named had a part in it.

    Args:
        error: what was raised.
        named: by key, the user's file, if it is one, and the name in it.
    """
    files = {frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)}
    for key, (file, name) in named.items():
        place = None if file is None else Path(file).expanduser().resolve()
        if place is not None and any(place == Path(other) or place in Path(other).parents for other in files):
            return raised_by_user(key, name, error)
    return None


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
