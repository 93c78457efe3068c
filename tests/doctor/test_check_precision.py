"""The doctor shows what precision=auto will choose, with the figures behind it."""

from dataclasses import replace

from brainseg.doctor.check_precision import check_precision
from tests.support.evidence import FINE, alone, cluster

STEPS = ("float32", "float32, channels last", "bfloat16, channels last")
SPEEDS = {
    "kind": {"name": "AMD EPYC", "threads": "2"},
    "steps": {
        "resnet, 128 px, 3 channels": dict(zip(STEPS, (1.2, 1.0, 0.5), strict=True)),
        "mobilenet, 128 px, 3 channels": dict(zip(STEPS, (1.0, 1.0, 1.25), strict=True)),
    },
    "updates": {"resnet, AdamW": {"loop": 0.1, "foreach": 0.1, "fused": 0.01}},
    "failed": {},
}


def test_what_is_measured_is_shown_with_its_ratios() -> None:
    (finding,) = check_precision(alone(replace(FINE, speeds=[SPEEDS])))
    assert (finding.level, finding.topic) == ("ok", "precision")
    assert finding.seen == (
        "precision=auto on AMD EPYC with 2 threads: "
        "mobilenet, 128 px, 3 channels: float32 (bfloat16 is 0.80x as fast), contiguous, loop; "
        "resnet, 128 px, 3 channels: bfloat16 (bfloat16 is 2.00x as fast), channels last, fused "
        "(measured on this machine)"
    )


def test_what_is_not_measured_yet_is_said_and_is_no_problem() -> None:
    measured, unknown = check_precision(cluster(replace(FINE, speeds=[SPEEDS]), FINE))
    assert measured.seen.endswith("(measured on a)")
    assert unknown.level == "ok" and "not measured yet on b" in unknown.seen
