"""What of a mask counts as tumour, as ``--label`` says it: labels of a tumour's regions.

"" where masks hold nothing but tumour, "whole" for anything above 0, or numbers, as 1+4: in BraTS
until 2021 necrosis and enhancing tumour; since 2023 the enhancing tumour is 3.
"""

import re

WHOLE = "whole"
LAST = 62  # the last bit of a set of labels stands for all labels from it on


def parse_label(text: str) -> str:
    """The label as records keep it: 1+4 of 4+1.

    Raises:
        ValueError: it is neither whole nor numbers from 1.
    """
    if text == WHOLE:
        return text
    numbers = {int(number) for number in text.split("+") if re.fullmatch("[0-9]{1,9}", number)}
    if 0 in numbers or len(numbers) < len(set(text.split("+"))):
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


def as_bits(numbers: list[int]) -> int:
    """A set of labels as the bits of one number."""
    return sum({1 << min(number, LAST) for number in numbers if number > 0})


def absent(label: str, held: int) -> str:
    """What ``label`` names and masks that hold ``held``, a set of labels, lack; "" if nothing."""
    lacking = [n for n in numbers_of(label) if not held >> min(n, LAST) & 1]
    if not lacking:
        return ""
    known = [str(n) for n in range(1, LAST) if held >> n & 1] + ["others"] * (held >> LAST & 1)
    holds = f"they hold {', '.join(known)}" if known else "they are empty"
    return f"label {' and '.join(map(str, lacking))}, which no mask holds ({holds})"
