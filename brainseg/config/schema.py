"""Which hyperparameters exist, which values they may take, and how one point is drawn or replayed.

A hyperparameter is one field of a frozen dataclass:

    lr: Annotated[float, LogUniform(1e-5, 1e-2), Above(0)] = 3e-4

read: name, type, where to search, what is legal, what to use when not searching. Range is not
legality: a run by hand may leave the range, not the rule. A condition is a union: the fields of
``Sgd`` exist only while the optimizer *is* an ``Sgd``. Every field has a dotted path
(``optimizer.sgd.momentum``), and one flat ``{path: value}`` dict describes a config to Optuna, to
W&B, on disk and on the command line.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from math import inf
from types import UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

Value = bool | int | float | str
Params = dict[str, Value]
T = TypeVar("T")


class Trial(Protocol):
    """What a distribution needs of ``optuna.Trial``; lets this module run without Optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Uniform:
    """Any float in [low, high], all equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self}")

    @property
    def ends(self) -> tuple[Value, ...]:
        return float(self.low), float(self.high)

    def suggest(self, trial: Trial, path: str) -> Value:
        return trial.suggest_float(path, self.low, self.high)

    def holds(self, value: Value) -> bool:
        return self.low <= float(value) <= self.high


@dataclass(frozen=True)
class LogUniform:
    """Any float in [low, high], every decade equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"a logarithmic range needs 0 < low < high, got {self}")

    @property
    def ends(self) -> tuple[Value, ...]:
        return float(self.low), float(self.high)

    def suggest(self, trial: Trial, path: str) -> Value:
        return trial.suggest_float(path, self.low, self.high, log=True)

    def holds(self, value: Value) -> bool:
        return self.low <= float(value) <= self.high


@dataclass(frozen=True)
class Integers:
    """Any of low, low + step, ... up to and including high."""

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.step > 0):
            raise ValueError(f"integers need low < high and a positive step, got {self}")

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.low, self.high

    def suggest(self, trial: Trial, path: str) -> Value:
        return trial.suggest_int(path, self.low, self.high, step=self.step)

    def holds(self, value: Value) -> bool:
        return value in range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few options, without order."""

    options: tuple[Value, ...]

    def __init__(self, *options: Value) -> None:
        if not options or len(set(options)) < len(options):
            raise ValueError(f"a choice needs one or more different options, got {options}")
        object.__setattr__(self, "options", options)

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.options

    def suggest(self, trial: Trial, path: str) -> Value:
        value: Value = trial.suggest_categorical(path, self.options)
        return value

    def holds(self, value: Value) -> bool:
        return value in self.options


Distribution = Uniform | LogUniform | Integers | Choice


def distribution(text: str) -> Distribution:
    """The distribution whose ``str`` is ``text``, as a sweep's records hold it."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name), text
    values = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    kind: type[Distribution] = {d.__name__: d for d in get_args(Distribution)}[call.func.id]
    return Choice(*values["options"]) if kind is Choice else kind(**values)


@dataclass(frozen=True)
class Above:
    """Legal values: numbers greater than ``low``."""

    low: float

    def allows(self, value: float) -> bool:
        return self.low < value < inf

    def __str__(self) -> str:
        return f"above {self.low}"


@dataclass(frozen=True)
class Within:
    """Legal values: numbers from ``low`` to ``high``, both included."""

    low: float
    high: float = inf

    def allows(self, value: float) -> bool:
        return self.low <= value <= self.high and value < inf

    def __str__(self) -> str:
        return f"at least {self.low}" if self.high == inf else f"from {self.low} to {self.high}"


Rule = Above | Within


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One hyperparameter, or one choice of a branch, of a config type."""

    path: str
    kind: type
    distribution: Distribution | None
    rule: Rule | None
    options: tuple[str, ...]  # all there are, where the set is closed: branches and Literals
    branches: bool  # whether the value decides which further hyperparameters exist


@dataclass(frozen=True)
class Space(Generic[T]):
    """``base``, with the paths that match a pattern of ``search`` set loose."""

    base: T
    search: tuple[str, ...]  # glob patterns over paths, e.g. "optimizer*"
    narrow: Mapping[str, Distribution] = field(default_factory=dict)  # replaces a field's own range
    fixed: Mapping[str, Value] = field(default_factory=dict)  # held, on any branch, not searched

    def __post_init__(self) -> None:
        searchable = [leaf.path for leaf in leaves(type(self.base)) if leaf.distribution]
        for pattern in (*self.search, *self.narrow):
            if not any(fnmatchcase(path, pattern) for path in (*searchable, *self.narrow)):
                raise ValueError(
                    f"no searchable hyperparameter matches {pattern!r}"
                    f"{did_you_mean(pattern, searchable)}"
                )
        for path, distribution in self.narrow.items():
            leaf = leaf_of(type(self.base), path)
            if not any(fnmatchcase(path, pattern) for pattern in self.search):
                raise ValueError(f"{path} is given a range but is not searched; search it as well")
            for end in distribution.ends:
                _legal(end, leaf)
        for path, value in self.fixed.items():
            _legal(value, leaf_of(type(self.base), path))
        self.config({})  # refuses an illegal base here, before anything is drawn

    def __call__(self, trial: Trial) -> Params:
        """Draw a point. Optuna's define-by-run form, so conditions need no support from Ray."""
        drawn: Params = {}

        def draw(path: str, default: Any, leaf: Leaf) -> Any:
            distribution = self._distribution(leaf)
            if distribution is None:
                return self.fixed.get(path, default)
            drawn[path] = distribution.suggest(trial, path)
            return drawn[path]

        _rebuild(self.base, draw)
        return drawn

    def config(self, point: Mapping[str, Value]) -> T:
        """The config at ``point``: what it leaves out is as fixed, or as in the base."""
        return _applied(self.base, point, self.fixed)

    def holding(self, point: Mapping[str, Value]) -> "Space[T]":
        """This space with the values of ``point`` held as well."""
        return replace(self, fixed={**self.fixed, **point})

    def distributions(self) -> dict[str, Distribution]:
        """Every path set loose, with the range it is drawn from, along all branches."""
        loose = {leaf.path: self._distribution(leaf) for leaf in leaves(type(self.base))}
        return {path: distribution for path, distribution in loose.items() if distribution}

    def split(self, point: Mapping[str, Value]) -> tuple[Params, Params]:
        """A point to try, as (drawn, pinned): the paths the searcher draws, and all the others.

        Raises:
            ValueError: a value outside the range it would be drawn from, which the searcher
                could neither reach nor model.
        """
        full, ranges = flatten(self.config(point)), self.distributions()
        for path in full.keys() & ranges.keys():
            if not ranges[path].holds(full[path]):
                raise ValueError(
                    f"{path}={full[path]!r} is outside the range searched, {ranges[path]}; "
                    "widen the range or leave the point out"
                )
        drawn = {path: value for path, value in full.items() if path in ranges}
        pinned = {path: value for path, value in point.items() if path not in ranges}
        return drawn, pinned

    def _distribution(self, leaf: Leaf) -> Distribution | None:
        """What ``leaf`` is drawn from, or None where it is held."""
        if leaf.path in self.fixed:
            return None
        loose = any(fnmatchcase(leaf.path, pattern) for pattern in self.search)
        return self.narrow.get(leaf.path, leaf.distribution) if loose else None


def flatten(config: object) -> Params:
    """The config as paths and values; ``build`` is the inverse."""
    params: Params = {}

    def record(path: str, default: Any, leaf: Leaf) -> Any:
        params[path] = default
        return default

    _rebuild(config, record)
    return params


def build(base: T, params: Mapping[str, Value]) -> T:
    """``base`` with ``params`` applied. A path off the branch taken is an error, as a typo is.

    Raises:
        ValueError: a path that does not exist, a value of the wrong type, or one that the
            config's own rules refuse.
    """
    return _applied(base, params, {})


def _applied(base: T, params: Mapping[str, Value], fixed: Mapping[str, Value]) -> T:
    """``base`` with ``params`` applied, and ``fixed`` where a branch is taken that has it."""
    unused = set(params)

    def look_up(path: str, default: Any, leaf: Leaf) -> Any:
        unused.discard(path)
        return params.get(path, fixed.get(path, default))

    config = _rebuild(base, look_up)
    if unused:
        path = min(unused)
        leaf_of(type(base), path)  # a path that exists nowhere is refused with suggestions
        raise ValueError(f"{path} exists only on another branch; taken are {_taken(config)}")
    return config


def parse(cls: type, assignment: str) -> tuple[str, Value]:
    """``path=text`` as a path and a value of the path's own type, as ``--set`` takes it."""
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ValueError(f"expected path=value, got {assignment!r}")
    leaf = leaf_of(cls, path.strip())
    try:
        return leaf.path, _legal(_read(text.strip(), leaf), leaf)
    except ValueError as error:  # `lr=0.1` is a slip for one of the optimizers' rates
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
    if not close:  # a last part given without its path is the commonest slip
        close = [option for option in options if option.split(".")[-1] == name][:3]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _rebuild(base: T, choose: Callable[[str, Any, Leaf], Any]) -> T:
    """Copy ``base``, asking ``choose`` for each leaf and for each branch to take."""
    cls: type = type(base)
    return _copied(base, choose, schema(cls), "")


def _copied(
    base: T, choose: Callable[[str, Any, Leaf], Any], known: Mapping[str, Leaf], prefix: str
) -> T:
    """Copy the part of a config whose paths begin with ``prefix``; all of them are ``known``."""
    values: dict[str, Any] = {}
    cls: type = type(base)
    for f in fields(base):  # type: ignore[arg-type]
        path, default = prefix + f.name, getattr(base, f.name)
        leaf = known.get(path)
        if leaf is None:  # a part that is no choice
            values[f.name] = _copied(default, choose, known, f"{path}.")
        elif leaf.branches:
            own = _tag(type(default))
            tag = _legal(choose(path, own, leaf), leaf)
            branches = _branches(_hints(cls)[f.name])
            branch = default if tag == own else branches[str(tag)]()
            values[f.name] = _copied(branch, choose, known, f"{path}.{tag}.")
        else:
            values[f.name] = _legal(choose(path, default, leaf), leaf)
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


def _legal(value: Value, leaf: Leaf) -> Value:
    """``value`` if its type (an int passes for a float) and the leaf's rule allow it."""
    if leaf.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not leaf.kind:
        raise ValueError(f"{leaf.path} takes a value of type {leaf.kind.__name__}, got {value!r}")
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
        raise ValueError(
            f"{leaf.path} takes a value of type {leaf.kind.__name__}, got {text!r}"
        ) from None
