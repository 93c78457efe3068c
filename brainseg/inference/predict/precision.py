"""In which precision a model computes here: bfloat16 only where that is clearly faster."""

from typing import Literal

from brainseg.inference.model import Model
from brainseg.records.run import Precision
from brainseg.training.compute.answers import Answers
from brainseg.training.compute.float32 import set_float32
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.plan import Compute
from brainseg.training.compute.rules import layout_of, precision_of

Asked = Literal["auto", "float32", "bfloat16"]


def set_precision(model: Model, asked: Asked) -> Precision:
    """Let a model compute in a precision, laid out as is fastest here; which it is.

    What is not known of this kind of machine and network yet is measured, in some seconds.
    """
    device = model.machine.device
    set_float32(device)
    answers = Answers(device)
    forwards = answers.forwards(model.description.trial_config)
    precision = precision_of([forwards]) if asked == "auto" else asked
    layout = layout_of(forwards, precision)
    model.compute_on(Machine(device, Compute(precision=precision, channels_last=layout)))
    return precision
