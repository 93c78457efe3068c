"""A comparison in words: which configurations may be the best, and what that rests on."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from brainseg.analysis.comparison import ComparedConfiguration, Comparison
from brainseg.analysis.failures import FAILED, Failures
from brainseg.analysis.power import CHANCE
from brainseg.analysis.scores import listed_seeds
from brainseg.data.readers.problems import counted, some
from brainseg.records.queries import fold_count
from brainseg.report import sentences
from brainseg.report.results import Results

SIGNIFICANT = 0.05  # McNemar's p below which failures are said to differ


def headline(results: Results) -> str:
    """The answer of the comparison; where there is none, that of the scores, and why."""
    if not fold_count(results.sweep):
        return sentences.answer(results)
    comparison = results.comparison
    if isinstance(comparison, Comparison):
        return answer(comparison)
    return f"{sentences.answer(results)} Not compared: {comparison}."


def answer(comparison: Comparison) -> str:
    """Which configurations may be the best, and how well the first of them scored."""
    lead, best = comparison.configurations[0], comparison.may_be_best
    total = len(comparison.configurations) + len(comparison.left)
    if len(best) == 1:
        parts = [f"{lead.name} is the best: no other configuration may be (95 %)."]
    elif len(best) == total:
        parts = [
            f"These patients and trainings cannot tell the {total} configurations apart: each may "
            "be the best (95 %)."
        ]
    else:
        names = _names(compared.name for compared in best)
        parts = [f"{len(best)} of {total} configurations may be the best (95 %): {names}."]
    first = lead.name if len(best) == total else "The first of them"
    scored = "Its mean Dice is" if len(best) == 1 else f"{first} scored highest: mean Dice"
    folds = f" out of fold, {comparison.folds} folds" if comparison.folds else " in validation"
    parts.append(
        f"{scored} {lead.dice.mean:.3f} (95 % interval {span(lead.dice.low, lead.dice.high)}) over "
        f"{counted(comparison.patients, 'patient')}{folds} and "
        f"{counted(len(comparison.seeds), 'seed')}."
    )
    return " ".join(parts)


def details(comparison: Comparison) -> list[str]:
    """What else the comparison shows, a paragraph each."""
    parts = (_further, _unseen, _good_enough, _failed, _left)
    return [text for text in (part(comparison) for part in parts) if text]


def _further(comparison: Comparison) -> str:
    """How much more would tell the first from the second of the set."""
    further = comparison.further
    if further is None:
        return ""
    more = {"patient": further.patients, "seed": further.seeds}
    ways = [counted(n, f"more {what}") for what, n in more.items() if n is not None]
    alone = "".join(f"; more {what}s alone would not" for what, n in more.items() if n is None)
    return (
        f"{' or '.join(ways)} would tell {comparison.configurations[0].name} from {further.rival} "
        f"with {100 * CHANCE:.0f} %{alone}."
    )


def _unseen(comparison: Comparison) -> str:
    """Whether the answer changes without the patients on which the search chose."""
    unseen, best = comparison.unseen, comparison.may_be_best
    if unseen is None:
        return ""
    without = comparison.patients - unseen.patients
    start = (
        f"The search chose these configurations on {without} of the patients. On the other "
        f"{unseen.patients}"
    )
    lead = comparison.configurations[0].name
    highest = "" if unseen.leader == lead else f", and {unseen.leader} scores highest"
    if set(unseen.may_be_best) == {compared.name for compared in best}:
        return f"{start} the same configuration{'s' * (len(best) > 1)} may be the best{highest}."
    return f"{start} these may be the best: {_names(unseen.may_be_best)}{highest}."


def _good_enough(comparison: Comparison) -> str:
    """Which smaller configuration loses little."""
    lead, small = comparison.configurations[0], comparison.smallest
    sizes = [compared.parameters for compared in comparison.configurations]
    if any(map(math.isnan, sizes)):
        return ""
    if lead.parameters == min(sizes):
        return "No configuration is smaller than the first."
    if small is None or small.parameters >= lead.parameters:
        return f"No smaller configuration is shown to be at most {comparison.margin:g} Dice worse."
    return (
        f"The smallest configuration that is at most {comparison.margin:g} Dice worse is "
        f"{small.name}, with {small.parameters / 1e6:.1f} million parameters instead of "
        f"{lead.parameters / 1e6:.1f}."
    )


def _failed(comparison: Comparison) -> str:
    """On how many patients the first configuration fails, and which others differ in that."""
    lead, *others = comparison.configurations
    parts = [
        f"{lead.name} failed on {lead.failures.count} of "
        f"{counted(comparison.patients, 'patient')} (Dice below {FAILED:g}), "
        f"{_allowed(lead.failures)}."
    ]
    if apart := [other for other in others if other.failures.p < SIGNIFICANT]:
        counts = (
            f"{other.name} ({other.failures.count}, McNemar {p_words(other.failures.p)})"
            for other in apart
        )
        parts.append(f"The number differs significantly from that of {_names(counts)}.")
    return " ".join(parts)


def _allowed(failures: Failures) -> str:
    """Which shares of patients such a count still allows."""
    if failures.low > 0:
        return f"which allows {100 * failures.low:.0f} to {100 * failures.high:.0f} % of patients"
    return f"which still allows up to {100 * failures.high:.0f} %"


def _left(comparison: Comparison) -> str:
    """Who left the race, when, and by how much at least it was beaten."""
    ways = [
        f"{gone.name} after {listed_seeds(gone.seeds)}, at least {-gone.bound:.3f} below {gone.by}"
        for gone in comparison.left
    ]
    return f"Beaten early, and trained with no further seed: {_names(ways)}." if ways else ""


def meanings(comparison: Comparison) -> dict[str, str]:
    """What the columns of the table say."""
    return {
        "Dice": "Mean over patients of the mean over seeds, at the last epoch, and its own 95 % "
        "interval.",
        "May be best": "No other configuration beats it beyond chance. With 95 % the truly best "
        "one is among those marked; of several that are exactly equal, some may be left out.",
        "Minus best other": "Its Dice less that of the best of the others. These 95 % intervals "
        "hold for all configurations at once; one that ends at 0: it cannot be the best.",
        "Not worse": f"Shown to be at most {comparison.margin:g} Dice worse than the best other: "
        "the whole interval lies above that.",
        "P(best), ranks": "How often it is first, and 95 % of its ranks, where patients and "
        "trainings are drawn again.",
        "Failed": f"Patients whose mean Dice over seeds is below {FAILED:g}; p: McNemar's exact "
        "test beside the first row.",
    }


def variation(comparison: Comparison, sweep: Mapping[str, Any]) -> dict[str, str]:
    """Which sources of variation the intervals include, and which not."""
    sets = "other training sets of the same size"
    anew = f", {sets} from the same source (each seed has folds of its own)"
    fixed = f"{sets} (seeds share the same {'folds' if comparison.folds else 'split'}), "
    inside = "other patients of the same kind, other seeds" + anew * comparison.cut_anew
    outside = (
        "other hospitals, scanners and annotators, other hyperparameters, failures too rare to "
        "occur among these patients"
    )
    locked = _locked(comparison, sweep)
    return {
        "Inside the intervals": _sentence(inside),
        "Not inside": _sentence(fixed * (not comparison.cut_anew) + outside),
        **({"Locked patients": locked} if locked else {}),
        **({"The search's own scores": LUCK} if "confirms" in sweep else {}),
    }


def _locked(comparison: Comparison, sweep: Mapping[str, Any]) -> str:
    """What it costs that some patients were locked; of a run in folds."""
    counts = sweep["split"]["counts"].get("test")
    if not (comparison.folds and counts and counts["patients"]):
        return ""
    locked = counts["patients"]
    wider = math.sqrt((comparison.patients + locked) / comparison.patients) - 1
    return f"{locked}, which makes every interval about {100 * wider:.0f} % wider."


LUCK = "Not used here: the highest score of many is high partly by luck."


def p_words(p: float) -> str:
    """p to three decimals; a smaller one is only known to be below 0.001."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def span(low: float, high: float, sign: str = "") -> str:
    """The ends of an interval to three decimals; ``sign`` as in a format."""
    return f"{_number(low, sign)} to {_number(high, sign)}"


def signed(difference: float) -> str:
    """A difference to three decimals with its sign; what rounds to 0 has none."""
    return _number(difference, "+")


def _number(value: float, sign: str) -> str:
    return f"{value:{sign}.3f}" if round(value, 3) else "0.000"


def ranks(compared: ComparedConfiguration) -> str:
    """The ranks that it has in 95 % of the draws."""
    low, high = math.floor(compared.rank_low), math.ceil(compared.rank_high)
    return f"{low}" if low == high else f"{low} to {high}"


def _names(names: Iterable[str]) -> str:
    """The first of them; the table has the others. Names have commas and semicolons."""
    return some(names, " / ")


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
