"""How a trial computes: in the precision of its run, laid out as is fastest where it runs."""

from dataclasses import replace

import torch

from brainseg.records.run import Run
from brainseg.training.compute.agreement import agreed_precision
from brainseg.training.compute.answers import Answers
from brainseg.training.compute.float32 import set_float32
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.plan import Compute
from brainseg.training.compute.rules import compute_of
from brainseg.training.distributed import Ranks
from brainseg.training.guards.memory import parts_of
from brainseg.training.task import Task


def machine_for(task: Task, device: torch.device, ranks: Ranks) -> Machine:
    """Set the process up to compute for the trial; how, is the same on every rank.

    What is not known yet is measured, which draws random numbers: seeds are set after this.
    """
    torch.set_num_threads(task.threads)
    set_float32(device)
    return Machine(device, ranks.decided(lambda: _compute(task, device, ranks.world)))


def _compute(task: Task, device: torch.device, world: int) -> Compute:
    """Raises ``Unreadable`` where the run's record of its precision holds none."""
    if task.compute:
        return task.compute
    at_once = max(1, task.config.batch_size // world // parts_of(task.folder))
    config, answers = replace(task.config, batch_size=at_once), Answers(device)
    asked = config.precision
    precision = agreed_precision(Run(task.run), config, answers) if asked == "auto" else asked
    compute = compute_of(answers.steps(config), answers.updates(config), precision)
    note = f"computes in plain {precision}, for want of memory to measure what is faster"
    if answers.shortage and note not in task.folder.notes():
        task.folder.note(0, note)
    return compute
