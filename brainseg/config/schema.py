"""Which hyperparameters exist, which values they may take, and how one point is drawn or replayed.

A hyperparameter is one field of a frozen dataclass:

    lr: Annotated[float, LogUniform(1e-5, 1e-2), Above(0)] = 3e-4

read: name, type, where to search, what is legal, what to use when not searching. A point given by
hand may lie outside the range, but must keep the rule. A condition is a union: the fields of
``Sgd`` exist only while the optimizer *is* an ``Sgd``. Every field has a dotted path
(``optimizer.sgd.momentum``), and one flat ``{path: value}`` dict describes a config to Optuna, to
W&B, on disk and on the command line.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from math import isfinite
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from brainseg.config.distributions import Choice, Distribution, Params, Rule, Value

T = TypeVar("T")
KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}
TOO_LARGE = 2**31  # what neither an epoch nor a rate comes near, and arrays of 32 bits cannot hold


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One hyperparameter, or one choice of a branch, of a config type."""

    path: str
    kind: type
    distribution: Distribution | None
    rule: Rule | None
    options: tuple[str, ...]  # all there are, where the set is closed: branches and Literals
    branches: bool  # whether the value decides which further hyperparameters exist


def flatten(config: object) -> Params:
    """The config as paths and values; ``build`` is the inverse."""
    params: Params = {}

    def record(path: str, default: Any, leaf: Leaf) -> Any:
        params[path] = default
        return default

    rebuild(config, record)
    return params


def build(base: T, params: Mapping[str, Value]) -> T:
    """``base`` with ``params`` applied. A path on a branch not taken is an error, like a typo.

    Raises:
        ValueError: a path that does not exist, a value of the wrong type, or one that the
            config's own rules refuse.
    """
    return applied(base, params, {})


def applied(base: T, params: Mapping[str, Value], fixed: Mapping[str, Value]) -> T:
    """``base`` with ``params`` applied, and those of ``fixed`` that exist on the branches taken."""
    unused = set(params)

    def look_up(path: str, default: Any, leaf: Leaf) -> Any:
        unused.discard(path)
        return params.get(path, fixed.get(path, default))

    config = rebuild(base, look_up)
    if unused:
        path = min(unused)
        leaf_of(type(base), path)  # a path that exists nowhere is refused with suggestions
        lacks = [f"{p}={tag}" for p, tag in branches_to(type(base), path).items()]
        raise ValueError(
            f"{path} exists only on another branch; this one takes {_taken(config)}; set "
            f"{' and '.join(lacks)} as well, or leave it out"
        )
    return config


def parse(cls: type, assignment: str) -> tuple[str, Value]:
    """``path=text`` as a path and a value of the path's own type, as ``--set`` takes it."""
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ValueError(f"expected path=value, got {assignment!r}")
    leaf = leaf_of(cls, path.strip())
    try:
        return leaf.path, require_legal(_read(text.strip(), leaf), leaf)
    except ValueError as error:  # `lr=0.1` was meant for an optimizer's rate
        deeper = [other.path for other in leaves(cls) if other.path.endswith(f".{leaf.path}")]
        if not deeper:
            raise
        raise ValueError(f"{error}; did you mean {' or '.join(map(repr, deeper))}?") from None


def leaf_of(cls: type, path: str) -> Leaf:
    """The hyperparameter at ``path``, on whatever branch.

    Raises:
        ValueError: there is none; the closest names are suggested.
    """
    known = schema(cls)
    if path not in known:
        raise ValueError(f"there is no hyperparameter {path!r}{did_you_mean(path, known)}")
    return known[path]


def branches_to(cls: type, path: str) -> dict[str, str]:
    """The branches, and which of each, that a config must take for ``path`` to exist."""
    on_the_way = (leaf.path for leaf in leaves(cls) if leaf.branches)
    return {
        branch: path.removeprefix(f"{branch}.").partition(".")[0]
        for branch in on_the_way
        if path.startswith(f"{branch}.")
    }


def leaves(cls: type) -> Iterable[Leaf]:
    """Every path below ``cls``, along all branches of all unions."""
    return schema(cls).values()


@cache
def schema(cls: type) -> Mapping[str, Leaf]:
    """The leaves of ``cls`` by their paths. Type hints are read once a class: it is slow."""
    return {leaf.path: leaf for leaf in _walk(cls)}


def _walk(cls: type, prefix: str = "") -> Iterator[Leaf]:
    for name, hint in _hints(cls).items():
        path = prefix + name
        if branches := _branches(hint):
            yield _leaf(path, hint)
            for tag, member in branches.items():
                yield from _walk(member, f"{path}.{tag}.")
        elif is_dataclass(_plain(hint)):
            yield from _walk(_plain(hint), f"{path}.")
        else:
            yield _leaf(path, hint)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'lr'?` for names close to ``name``, otherwise nothing."""
    options = list(known)
    close = get_close_matches(name, options, n=3, cutoff=0.6)
    if not close:  # the last part without its path is the commonest mistake
        close = [option for option in options if option.split(".")[-1] == name][:3]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def rebuild(base: T, choose: Callable[[str, Any, Leaf], Any]) -> T:
    """Copy ``base``, asking ``choose`` for each leaf and for each branch to take."""
    cls: type = type(base)
    return _copied(base, choose, schema(cls), "")


def _copied(
    base: T, choose: Callable[[str, Any, Leaf], Any], known: Mapping[str, Leaf], prefix: str
) -> T:
    """Copy the part of a config whose paths start with ``prefix``; all of them are ``known``."""
    values: dict[str, Any] = {}
    cls: type = type(base)
    for f in fields(base):  # type: ignore[arg-type]
        path, default = prefix + f.name, getattr(base, f.name)
        leaf = known.get(path)
        if leaf is None:  # a part that is no choice
            values[f.name] = _copied(default, choose, known, f"{path}.")
        elif leaf.branches:
            default_tag = _tag(type(default))
            tag = require_legal(choose(path, default_tag, leaf), leaf)
            branches = _branches(_hints(cls)[f.name])
            branch = default if tag == default_tag else branches[str(tag)]()
            values[f.name] = _copied(branch, choose, known, f"{path}.{tag}.")
        else:
            values[f.name] = require_legal(choose(path, default, leaf), leaf)
    return type(base)(**values)


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _leaf(path: str, hint: Any) -> Leaf:
    plain = _plain(hint)
    branches = tuple(_branches(hint))
    options = branches or (get_args(plain) if get_origin(plain) is Literal else ())
    return Leaf(
        path=path,
        kind=str if options else plain,
        distribution=_distribution(hint),
        rule=next((m for m in _metadata(hint) if isinstance(m, Rule)), None),
        options=options,
        branches=bool(branches),
    )


def _distribution(hint: Any) -> Distribution | None:
    if branches := _branches(hint):
        return Choice(*branches)
    if distribution := next((m for m in _metadata(hint) if isinstance(m, Distribution)), None):
        return distribution
    return Choice(*get_args(hint)) if get_origin(hint) is Literal else None


def _branches(hint: Any) -> dict[str, type]:
    members = get_args(hint) if isinstance(hint, UnionType) else ()
    return {_tag(m): m for m in members} if all(map(is_dataclass, members)) else {}


def _metadata(hint: Any) -> tuple[Any, ...]:
    return hint.__metadata__ if get_origin(hint) is Annotated else ()


def _plain(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _tag(cls: type) -> str:
    return cls.__name__.lower()


def _taken(config: object) -> str:
    """The branches that ``config`` takes, as `model=encoder, optimizer=adamw`."""
    branches = {leaf.path for leaf in leaves(type(config)) if leaf.branches}
    return ", ".join(f"{path}={tag}" for path, tag in flatten(config).items() if path in branches)


def require_legal(value: Value, leaf: Leaf) -> Value:
    """``value`` if its type (an int passes for a float) and the leaf's rule allow it."""
    if leaf.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not leaf.kind:
        raise _wrong_kind(leaf, value)
    if isinstance(value, int) and abs(value) >= TOO_LARGE:
        raise ValueError(f"{leaf.path} must be a number below {TOO_LARGE}, got {value}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{leaf.path} must be a finite number, got {value}")
    if leaf.options and value not in leaf.options:
        raise ValueError(
            f"{leaf.path} must be one of {', '.join(leaf.options)}, got {value!r}"
            f"{did_you_mean(str(value), leaf.options)}"
        )
    if leaf.rule and not leaf.rule.allows(float(value)):
        raise ValueError(f"{leaf.path} must be {leaf.rule}, got {value}")
    return value


def _read(text: str, leaf: Leaf) -> Value:
    """``text`` as a value of the leaf's type."""
    words = {"true": True, "false": False}
    try:
        if leaf.kind is bool:
            return words[text.lower()]
        value: Value = leaf.kind(text)
        return value
    except (KeyError, ValueError):
        raise _wrong_kind(leaf, text) from None


def _wrong_kind(leaf: Leaf, value: Value) -> ValueError:
    return ValueError(f"{leaf.path} must be {KINDS[leaf.kind]}, got {value!r}")
