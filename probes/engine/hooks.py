"""The hooks on a network: which belong to what it computes, and which are its user's, who must not be called twice."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules import module as of_all_modules

_KINDS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
}
_OF_ALL = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")


def hooked(module: nn.Module) -> bool:
    """Whether anything is hooked on its call."""
    return any(getattr(module, kind) for kind in _KINDS)


def leave_out_hooks(network: nn.Module) -> dict[str, str]:
    """Takes the user's hooks off a copy of a network, and names them by the path of their module.

    torch's own (spectral normalisation, pruning) stay, and so do methods of the network's own modules: in a copy they
    are the copy's.
    """
    own = {id(module) for module in network.modules()}
    found = {}
    for path, module in network.named_modules():
        for kind, spelled in _KINDS.items():
            hooks = getattr(module, kind)
            for number, hook in list(hooks.items()):
                if not _of_the_network(hook, own):
                    del hooks[number]
                    name = getattr(hook, "__name__", type(hook).__name__)
                    found[path] = f"{spelled} {name} of {path or type(module).__name__!r}"
    return found


def _of_the_network(hook: Any, own: set[int]) -> bool:
    if isinstance(hook, functools.partial):
        return _of_the_network(hook.func, own)
    if isinstance(hook, types.MethodType) and id(hook.__self__) in own:
        return True
    defined = [hook] if hasattr(hook, "__name__") else type(hook).__mro__
    return any((getattr(x, "__module__", None) or "").partition(".")[0] == "torch" for x in defined)


def torchs_own(module: Any) -> bool:
    """Whether it is a module all of which is torch's, as torch made it, and not hooked: a function of what it holds.

    So is one whose class itself, and no class above it, says ``holds_all = True``; it vouches for its own forward.
    """
    return not any(
        (type(part).__module__.partition(".")[0] != "torch" and not vars(type(part)).get("holds_all", False))
        or "forward" in vars(part)
        or hooked(part)
        for part in module.modules()
    )


@contextlib.contextmanager
def none_for_all_modules() -> Iterator[None]:
    """Within it no hook is called that was registered for all modules of the process."""
    registered = {kind: getattr(of_all_modules, kind, {}) for kind in _OF_ALL}
    held = {kind: dict(hooks) for kind, hooks in registered.items() if hooks}
    for kind in held:
        registered[kind].clear()
    try:
        yield
    finally:
        for kind, hooks in held.items():
            registered[kind].update(hooks)
