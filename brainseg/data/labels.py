"""What of a mask counts as tumour, as ``--label`` says it: labels of a tumour's regions.

"" where masks hold nothing but tumour, "whole" for anything above 0, or numbers, as 1+4: in BraTS
until 2021 necrosis and enhancing tumour; since 2023 the enhancing tumour is 3.
"""

import re
from collections.abc import Iterable

WHOLE = "whole"
SMALL = 40  # labels below have a bit of their own in a set of labels, as have those that are named
LAST = 62  # the bit of all others
MOST = LAST - SMALL


def parse_label(text: str) -> str:
    """The label as records keep it: 1+4 of 4+1.

    Raises:
        ValueError: it is neither whole nor numbers from 1.
    """
    if text == WHOLE:
        return text
    numbers = {int(number) for number in text.split("+") if re.fullmatch("[0-9]{1,9}", number)}
    wrong = len(numbers) < len(set(text.split("+")))
    if wrong or 0 in numbers or len(numbers) > MOST:
        raise ValueError(f"must be whole, or numbers from 1 joined by +, as 1+4, got {text!r}")
    return "+".join(map(str, sorted(numbers)))


def numbers_of(label: str) -> list[int]:
    """The numbers of a label; [] where it names none."""
    return [] if label in ("", WHOLE) else [int(number) for number in label.split("+")]


def in_words(label: str) -> str:
    """What is tumour; "" where masks hold nothing else."""
    if label in ("", WHOLE):
        return "tumour is any label above 0" if label else ""
    return f"tumour is label {label}"


def with_label(label: str) -> str:
    """`with --label 1+4`, as a command has it."""
    return f"with --label {label}" if label else "without --label"


def as_bits(numbers: Iterable[int], label: str) -> int:
    """A set of labels as the bits of one number; ``label`` is what counts as tumour."""
    return sum({1 << _bit(number, label) for number in numbers if number > 0})


def held_by(bits: int, label: str) -> list[str]:
    """The labels of a set, in words."""
    names = {_bit(n, label): str(n) for n in (*range(1, SMALL), *numbers_of(label))}
    return [
        name for bit, name in (names | {LAST: f"others from {SMALL} on"}).items() if bits >> bit & 1
    ]


def absent(label: str, bits: int) -> str:
    """What ``label`` names and masks that hold the set ``bits`` lack; "" if nothing."""
    lacking = [str(n) for n in numbers_of(label) if not bits >> _bit(n, label) & 1]
    if not lacking:
        return ""
    known = held_by(bits, label)
    holds = f"they hold {', '.join(known)}" if known else "they are empty"
    return f"label {' and '.join(lacking)}, which no mask holds ({holds})"


def _bit(number: int, label: str) -> int:
    named = [n for n in numbers_of(label) if n >= SMALL]
    return number if number < SMALL else SMALL + named.index(number) if number in named else LAST
