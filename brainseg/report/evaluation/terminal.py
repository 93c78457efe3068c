"""What an opening showed, in the terminal: models beside each other, then the winner in full."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.inference.evaluate.results import Evaluation
from brainseg.process import plain
from brainseg.records.run import Run
from brainseg.report.columns import bare_table, broken, fit, left_out, print_prose
from brainseg.report.evaluation import words


def print_evaluation(run: Run, evaluation: Evaluation, console: Console) -> None:
    """The answer, the tables, and below them what their figures mean."""
    console.print(Text(plain(words.title(evaluation)), style="bold"))
    print_prose(console, plain(words.answer(evaluation)))
    table, dropped = _models_table(evaluation, console.width)
    console.print(table)
    if dropped:
        console.print(Text(dropped, style="dim"))
    console.print(Text(words.RESOLUTIONS, style="dim"))
    console.print(Text(f"\n{plain(evaluation.winner)}", style="bold"))
    table, dropped = _metrics_table(evaluation, console.width)
    console.print(table)
    if dropped:
        console.print(Text(dropped, style="dim"))
    console.print(_reliability_table(evaluation))
    for sentence in words.volumes(evaluation):
        print_prose(console, sentence)
    for note in words.notes(evaluation):
        console.print(Text(plain(note), style="yellow"))
    for rule in words.rules(evaluation):
        console.print(Text(plain(rule), style="dim"))
    for opening in words.openings_before(run, evaluation):
        console.print(Text(plain(f"Opened before: {opening}"), style="yellow"))
    folder = run.evaluations / str(evaluation.facts["name"])
    console.print(Text(plain(str(folder / "scores.csv"))), soft_wrap=True)


def _models_table(evaluation: Evaluation, width: int) -> tuple[Table, str]:
    """A row a model with its headline scores at the native resolution."""
    models = words.models(evaluation)
    heads = list(dict.fromkeys(head for row in models.values() for head in row))
    cells = {
        head: ["\n".join(row.get(head, ("", ""))).rstrip() for row in models.values()]
        for head in heads
    }
    bare = set(evaluation.scores.loc[evaluation.scores["role"] == "baseline", "model"])
    names = [plain(name.partition(",")[0] if name in bare else name) for name in models]
    droppable = [head for head in reversed(heads) if head not in (heads[0], words.LESS)]
    kept, room = fit(cells, names, droppable=droppable, width=width)
    table = bare_table()
    table.add_column("Model", overflow="fold")
    for head in kept:
        table.add_column(head, justify="right", no_wrap=True)
    for number, name in enumerate(names):
        texts = [broken(name, room), *(cells[head][number] for head in kept)]
        table.add_row(*map(Text, texts), style="bold" if number == 0 else "")
    return table, left_out([head for head in heads if head not in kept], width, "scores.csv")


def _metrics_table(evaluation: Evaluation, width: int) -> tuple[Table, str]:
    """Every metric of the winner, at both resolutions."""
    rows = words.metric_rows(evaluation, evaluation.winner)
    cells = {head: [row[head] for row in rows] for head in rows[0] if head != "Metric"}
    if not any(cells["Undefined"]):
        del cells["Undefined"]
    names = [plain(row["Metric"]) for row in rows]
    kept, _ = fit(cells, names, droppable=("Its interval", "At 0.5", "n"), width=width)
    table = bare_table()
    table.add_column("Metric", overflow="fold")
    for head in kept:
        table.add_column(head, justify="right", no_wrap=True)
    for number, name in enumerate(names):
        table.add_row(*map(Text, (name, *(cells[head][number] for head in kept))))
    return table, left_out([head for head in cells if head not in kept], width, "scores.csv")


def _reliability_table(evaluation: Evaluation) -> Table:
    """Of the winner near tumour: what its probabilities say, and how often it is tumour."""
    table = bare_table()
    for head in ("Probability", "Pixels near tumour", "Mean probability", "Tumour"):
        table.add_column(head, justify="right", no_wrap=True)
    bins = evaluation.reliability
    bins = bins[(bins["model"] == evaluation.winner) & (bins["region"] == "near tumour")]
    for row in bins.to_dict("records"):
        shares = [
            "" if row["pixels"] == 0 else f"{row[name]:.3f}" for name in ("probability", "tumour")
        ]
        ends = f"{row['low']:.1f} to {row['high']:.1f}"
        table.add_row(*map(Text, (ends, f"{row['pixels']:,}", *shares)))
    return table
