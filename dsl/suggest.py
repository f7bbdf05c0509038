""" "Did you mean": the closest of the names that would have been right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be, or None. Case and `-`/`_` hardly count."""
    folded = {_fold(choice): choice for choice in sorted(choices, reverse=True)}
    found = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """A hint with the closest choice, or None."""
    found = closest(word, choices)
    return f"did you mean `{found}`?" if found is not None else None


def one_of(choices: Iterable[str]) -> str:
    """`a`, `b` or `c`."""
    names = [f"`{choice}`" for choice in choices]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def _fold(word: str) -> str:
    return word.lower().replace("-", "_")
