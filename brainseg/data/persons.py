"""Whom a name means: one spelling for names that look the same."""

import unicodedata


def composed(name: str) -> str:
    """A name in one spelling (NFC): a Mac writes `ü` as two characters, others as one."""
    return unicodedata.normalize("NFC", name)
