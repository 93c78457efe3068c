"""The argument parser: its help fits 80 columns, its errors are one sentence and status 2."""

import argparse
import shlex
import sys
import textwrap
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, NoReturn, TypeVar

from brainseg.config.schema import TOO_LARGE, did_you_mean
from brainseg.data.labels import parse_label

T = TypeVar("T")
Commands = argparse._SubParsersAction  # what `add_subparsers` returns; argparse gives it no name
REWORDED = {  # argparse's own words, and plainer ones
    "expected one argument": "needs a value",
    "expected at least one argument": "needs a value",
    "not allowed with argument": "cannot be combined with",
}


class Formatter(argparse.HelpFormatter):
    """Wraps paragraphs; lines that are indented, as examples are, stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrapped = []
        for line in text.splitlines():
            if line.startswith("  ") or not line:
                wrapped.append(indent + line)
            else:
                wrapped += [indent + part for part in self._split_lines(line, width - len(indent))]
        return "\n".join(wrapped)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Ends with status 2 and one sentence, without the usage, where a word is wrong."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, **settings})
        self._positionals.title = "arguments"

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse unknown words here: a command's parser knows options that its parent does not."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            if word.startswith("-"):
                close = did_you_mean(word, self._option_string_actions)
                self.error(f"there is no option {word}{close or self._see_help()}")
            self.error(f"{word!r} is one argument too many{self._see_help()}")
        return parsed, []

    def error(self, message: str) -> NoReturn:
        if message.startswith("argument "):
            message = message.removeprefix("argument ").replace(": ", " ", 1)
        for words, plain in REWORDED.items():
            message = message.replace(words, plain)
        head, required, missing = message.partition("the following arguments are required: ")
        if required:
            message = f"{head}{missing} must be given{self._see_help()}"
        self.exit(2, f"brainseg: {message}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """The name of a command; options with choices take ``one_of``."""
        if action.choices is not None and value not in action.choices:
            close = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(
                None, f"there is no command {value!r}{close or self._see_help()}"
            )

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Refuse an empty word, as a shell makes of a variable that is not set."""
        of_a_command = action.nargs == argparse.PARSER  # its own parser reads the words
        if not of_a_command and not all(word.strip() for word in arg_strings):
            raise argparse.ArgumentError(action, "needs a value, got an empty one")
        return super()._get_values(action, arg_strings)

    def _see_help(self) -> str:
        return f"; see `{self.prog} --help`"


def parsed(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, and beside them as ``command`` what was typed."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    args.command = shlex.join([sys.argv[0], *words])
    return args


def whole_number(text: str) -> int:
    value = _read(int, text, "a whole number")
    if abs(value) >= TOO_LARGE:
        raise argparse.ArgumentTypeError(f"must be a number below {TOO_LARGE}, got {text!r}")
    return value


def number(text: str) -> float:
    value = _read(float, text, "a number")
    if not isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def seeds(text: str) -> tuple[int, ...]:
    """`0,1,2`."""
    return _read(
        lambda text: tuple(int(seed) for seed in text.split(",")),
        text,
        "whole numbers with commas between them, as 0,1,2",
    )


def names(text: str) -> tuple[str, ...]:
    """`vgg16,resnet50`."""
    return tuple(name.strip() for name in text.split(","))


def label(text: str) -> str:
    """`whole`, or `1+4`."""
    try:
        return parse_label(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def one_of(*options: str) -> Callable[[str], str]:
    """One of a few words. As a type rather than ``choices``, for the sentence of its error."""

    def read(text: str) -> str:
        if text not in options:
            raise argparse.ArgumentTypeError(
                f"must be {', '.join(options[:-1])} or {options[-1]}, got {text!r}"
                f"{did_you_mean(text, options)}"
            )
        return text

    return read


def _read(kind: Callable[[str], T], text: str, what: str) -> T:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}") from None
