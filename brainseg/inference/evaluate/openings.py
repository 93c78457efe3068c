"""Each look at locked patients is recorded before it shows anything, and a second one is refused.

A score chosen among several looks is high partly by luck. So `opened.jsonl` has a line for each,
and the same data are opened again only for a reason, which reports show beside the scores.

An opening is recorded before the first patient is scored. If it ends before it has shown a score
(a crash, Ctrl-C), nothing was learned from it: the same models on the same data finish it, without
another line. Its folder appears whole, with the scores, at its end.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from brainseg.inference.evaluate.cohort import LOCKED, Cohort
from brainseg.records.files import Unreadable
from brainseg.records.run import Run


def open_cohort(
    run: Run, cohort: Cohort, models: Sequence[dict[str, Any]], *, command: str, again: str | None
) -> str:
    """Record an opening, or find the one to finish; return its name, that of its folder.

    Args:
        models: the name, kind and digest of each.
        again: why data that were opened before are opened once more; None: they must not have been.

    Raises:
        ValueError: they were, and ``again`` is None.
    """
    reason = (again or "").strip()
    for opening in _unfinished(run, cohort, reason):
        if opening["models"] == list(models):
            return str(opening["name"])
    if not reason and (before := next(_before(run, cohort), None)):
        raise ValueError(_refusal(cohort, *before))
    name = _free_name(run, cohort.name, {opening["name"] for opening in run.openings()})
    run.note_opening(
        name=name,
        kind=cohort.kind,
        data=cohort.name,
        fingerprint=cohort.fingerprint,
        patients=cohort.patients,
        slices=len(cohort.table),
        contents=cohort.digests(),
        models=list(models),
        command=command,
        reason=reason,
    )
    return name


def require_unopened(run: Run, cohort: Cohort, again: str | None) -> None:
    """Refuse what ``open_cohort`` would, as far as that is known before models are read.

    Raises:
        ValueError: patients were opened before, and ``again`` is None; or it is empty.
    """
    if again is not None and not again.strip():
        raise ValueError(
            'a second opening must have a reason, --again is empty; write one, as --again "the '
            'masks were corrected"'
        )
    if again is None and not _unfinished(run, cohort, ""):
        for before in _before(run, cohort):
            raise ValueError(_refusal(cohort, *before))


def _unfinished(run: Run, cohort: Cohort, reason: str) -> list[dict[str, Any]]:
    """The run's last opening if it is of these data, for this reason, and has shown nothing."""
    return [
        opening
        for opening in run.openings()[-1:]
        if opening["fingerprint"] == cohort.fingerprint
        and opening.get("reason", "") == reason
        and not shown(run, opening)
    ]


def shown(run: Run, opening: dict[str, Any]) -> bool:
    """Whether an opening has shown its scores."""
    return (run.evaluations / str(opening["name"])).is_dir()


def openings_of(
    run: Run, kind: str, fingerprint: str, digests: Collection[str]
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """The openings of the same patients: by this run, then by others beside it, each in order.

    Args:
        kind, fingerprint, digests: see ``openings_beside``.
    """
    asked = set(digests)
    for opening in run.openings():
        if opening["fingerprint"] == fingerprint or asked & set(opening.get("contents", [])):
            yield run, opening
    yield from openings_beside(run, kind, fingerprint, digests)


def openings_beside(
    run: Run, kind: str, fingerprint: str, digests: Collection[str]
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """The openings of the same patients by other runs in the same folder, each in order.

    One patient is enough, whatever the name. Only of the locked patients of another run all must
    be the same, as they are of a search, its confirmation and its refit: who is locked in another
    sweep on the same data is that sweep's.

    Args:
        kind: of the patients, "locked" or "outside".
        fingerprint: of them; "" where it is not known.
        digests: of each, see ``Cohort.digests``.
    """
    asked, here = set(digests), run.path.resolve()
    for path in sorted(here.parent.glob("*/opened.jsonl")):
        other = Run(path.parent)
        if other.path == here:
            continue
        try:
            openings = other.openings()
        except (Unreadable, OSError):  # of a run that is not asked about
            continue
        for opening in openings:
            theirs = set(opening.get("contents", []))
            same = asked == theirs and bool(asked) if kind == LOCKED else bool(asked & theirs)
            if same or opening["fingerprint"] == fingerprint:
                yield other, opening


def _before(run: Run, cohort: Cohort) -> Iterator[tuple[Run, dict[str, Any]]]:
    return openings_of(run, cohort.kind, cohort.fingerprint, cohort.digests())


def _refusal(cohort: Cohort, run: Run, first: dict[str, Any]) -> str:
    who = "the locked patients" if cohort.kind == LOCKED else f"patients of {cohort.name}"
    names = "; ".join(str(model.get("name", "?")) for model in first["models"])
    looked = (
        f"see {run.evaluations / str(first['name'])}"
        if shown(run, first)
        else "which ended before it showed a score; the same command finishes it"
    )
    return (
        f"{who} are opened once, since a model that is chosen after several looks scores too high "
        f"on them; they were opened on {first['time']} by `{first['command']}`, for {names} "
        f'({looked}); to open them again, say why, as --again "the masks were corrected"'
    )


def _free_name(run: Run, name: str, taken: set[str]) -> str:
    """``name``, or with the first number that no opening and no folder has."""
    number, free = 1, name
    while free in taken or (run.evaluations / free).exists():
        number += 1
        free = f"{name}-{number}"
    return free
