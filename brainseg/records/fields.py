"""What a record on disk must hold, so that one which somebody edited is refused by its field."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, UnionType
from typing import Any

NUMBER = int | float
OPTIONAL_NUMBER = int | float | None
KINDS: dict[type | UnionType, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    int | None: "a whole number",
    dict: "an object",
    list: "a list",
}


@dataclass(frozen=True)
class Fields:
    """The fields that an object of JSON must have, and of which kind those are that it has.

    Attributes:
        required: names that are there, and not null; `data.slices` if there is `data`.
        kinds: what each of these holds if it is there.
        due: names beside which another one must be there.
    """

    required: tuple[str, ...] = ()
    kinds: Mapping[str, type | UnionType] = field(default_factory=lambda: MappingProxyType({}))
    due: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def fault(self, value: object) -> str:
        """What is wrong with ``value``, as `has 'x' as its dice, not a number`; "" for nothing."""
        if not isinstance(value, dict):
            return "is no JSON object"
        due = [name for name in self.required if _at(value, name.rpartition(".")[0]) is not ABSENT]
        due += dict.fromkeys(other for name, other in self.due.items() if name in value)
        if lacking := [name for name in due if _at(value, name) in (None, ABSENT)]:
            return f"lacks {', '.join(lacking)}"
        for name, kind in self.kinds.items():
            held = _at(value, name)
            if held is not ABSENT and not isinstance(held, kind):
                return f"has {_shown(held)} as its {name}, not {KINDS.get(kind, 'a number')}"
        return ""


ABSENT: Any = object()
ANY = Fields()


def _at(value: Mapping[str, Any], name: str) -> Any:
    """What stands at a dotted name, or ABSENT; the whole at ""."""
    held: Any = value
    for part in filter(None, name.split(".")):
        if not isinstance(held, dict) or part not in held:
            return ABSENT
        held = held[part]
    return held


def _shown(held: object) -> str:
    text = "null" if held is None else repr(held)
    return text if len(text) <= 40 else f"{text[:37]}..."
