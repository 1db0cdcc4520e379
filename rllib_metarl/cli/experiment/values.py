"""Does a value written in YAML or JSON fit the type that a config setter declares?"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin

from rllib_metarl.errors import UserError
from rllib_metarl.plugins import import_named

_evaluated_once: dict[type, dict[str, Any]] = {}


def setter_annotations(config_class: type) -> dict[str, Any]:
    """Parameter name -> annotation, from all public setters of an AlgorithmConfig class.

    A subclass's setter wins. Annotations that cannot be evaluated are left out.
    """
    if config_class not in _evaluated_once:
        _evaluated_once[config_class] = _setter_annotations(config_class)
    return dict(_evaluated_once[config_class])


def _setter_annotations(config_class: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls in reversed(config_class.__mro__):
        for name, function in vars(cls).items():
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            for parameter in inspect.signature(function).parameters.values():
                annotation = _evaluated(parameter.annotation, function.__globals__)
                if annotation is not inspect.Parameter.empty:
                    found[parameter.name] = annotation
    return found


def convert(value: Any, annotation: Any) -> Any:
    """``value`` as the annotation wants it: an import path becomes an object, 1e6 an int.

    Raises:
        ValueError: the value does not fit; the message says what was expected.
    """
    if fits(value, annotation):
        return value
    if _is_whole_float(value) and fits(int(value), annotation):
        return int(value)
    if isinstance(value, list) and fits(tuple(value), annotation):
        return tuple(value)
    if isinstance(value, str) and "." in value and _wants_code(annotation):
        return load_object(value)
    raise ValueError(f"expected {describe(annotation)}, got {value!r} ({type(value).__name__})")


def convert_like(value: Any, default: Any) -> Any:
    """``value``, when it has the type of ``default``, for keys whose setter declares no type.

    Raises:
        ValueError: the value is of another type; the message says what was expected.
    """
    if value is None or default is None:
        return value
    if type(default) in (bool, int, float, str, list, dict, tuple):
        return convert(value, type(default))
    return value


def fits(value: Any, annotation: Any) -> bool:
    """Whether plain data can be passed where ``annotation`` is declared."""
    origin = get_origin(annotation)
    if annotation is Any or isinstance(annotation, (typing.TypeVar, typing.ForwardRef, str)):
        return True
    if annotation in (None, type(None)):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in _options(annotation))
    if origin is Literal:
        return value in get_args(annotation)
    if origin is not None:
        return _fits_container(value, origin, get_args(annotation))
    return _fits_class(value, annotation)


def describe(annotation: Any) -> str:
    """A type for people: ``float or None`` rather than ``typing.Optional[float]``."""
    origin = get_origin(annotation)
    if annotation in (None, type(None)):
        return "None"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(option) for option in get_args(annotation)))
    if origin is Literal:
        return " or ".join(repr(option) for option in get_args(annotation))
    if origin in (collections.abc.Callable, type):
        return "an import path like 'module.name'"
    if origin is not None:
        return str(origin.__name__)
    return getattr(annotation, "__name__", str(annotation))


def load_object(path: str) -> Any:
    """The class or function at a dotted path.

    Raises:
        ValueError: there is none; the message says which part failed.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_named(module), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"'{path}' cannot be imported: {failure(error)}") from None


def import_plugin(name: str) -> None:
    """Import a user's module, which registers environments or algorithms.

    Raises:
        UserError: it does not exist, or fails while it is imported.
    """
    try:
        import_named(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent and (name == absent or name.startswith(absent + ".")):
            raise UserError(
                f"plugin module '{name}' does not exist; it must be installed, or lie in this "
                "folder or beside the experiment file"
            ) from None
        raise UserError(f"plugin module '{name}' cannot be imported: {failure(error)}") from None


def failure(error: BaseException) -> str:
    """What a user's module raised when it was imported: it can be anything, the fix is there."""
    if isinstance(error, SystemExit):
        return (
            f"it calls sys.exit({error.code!r}); put what it runs below "
            "`if __name__ == '__main__':`"
        )
    return str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, vars(typing) | names)
    except Exception:
        # Names imported for type checkers alone; such a key is then checked by its default.
        return inspect.Parameter.empty


def _options(annotation: Any) -> tuple[Any, ...]:
    """Members of a union, without the unresolvable ones if others say enough."""
    options = get_args(annotation)
    known = tuple(o for o in options if not isinstance(o, typing.ForwardRef))
    return known if any(o is not type(None) for o in known) else options


def _fits_container(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    if origin in (collections.abc.Callable, type):
        return callable(value)
    if origin is tuple:
        return isinstance(value, tuple) and (
            Ellipsis in inner or len(value) == len(inner) and all(map(fits, value, inner))
        )
    if issubclass(origin, collections.abc.Mapping):
        return isinstance(value, dict) and (
            not inner or all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
        )
    if issubclass(origin, collections.abc.Iterable):
        return isinstance(value, (list, tuple)) and (
            not inner or all(fits(item, inner[0]) or _as_tuple(item, inner[0]) for item in value)
        )
    return True


def _as_tuple(item: Any, annotation: Any) -> bool:
    return isinstance(item, list) and fits(tuple(item), annotation)


def _fits_class(value: Any, annotation: Any) -> bool:
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation in (typing.Callable, typing.Type):  # noqa: UP006
        return callable(value)
    return isinstance(value, annotation) if isinstance(annotation, type) else True


def _is_whole_float(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _wants_code(annotation: Any) -> bool:
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    for option in (annotation, *options):
        if get_origin(option) in (collections.abc.Callable, type):
            return True
        if option in (type, typing.Callable, typing.Type):  # noqa: UP006
            return True
    return False
