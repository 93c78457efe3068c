"""The benchmark for GPUs runs on a CPU at small size, without Ray, and says what it lacks."""

import subprocess
import sys

import torch

from benchmarks import gpu
from benchmarks.roofs import WAYS, least_bytes, roofs, ways_on
from brainseg.models.flops import Work

SMALL = ["--networks=plain", "--batches=2", "--image-size=32", "--steps=1", "--rounds=2"]


def without(package: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` where a package cannot be imported."""
    block = f"import sys; sys.modules[{package!r}] = None\n"
    return subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True)


def test_it_prints_each_way_to_compute_and_needs_no_ray() -> None:
    code = f"sys.argv[1:] = {[*SMALL, '--side=64', '--no-compile']}\nfrom benchmarks import gpu\n"
    done = without("ray", code + "gpu.main()")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("plain")]
    assert [row.split()[2] for row in rows] == ["bfloat16", "float32"]
    assert all(row.count("%") == 2 and "x" in row for row in rows)
    assert "copy " in done.stdout and "products, TFLOP/s: bfloat16" in done.stdout


def test_what_is_not_installed_is_named_in_one_sentence() -> None:
    done = without("pandas", "from benchmarks import gpu")
    assert done.returncode == 1
    assert done.stderr == (
        "benchmarks/gpu.py needs pandas, which is not installed: install it with pip, or carry "
        "its wheel\n"
    )


def test_without_the_library_of_encoders_a_plain_unet_is_measured() -> None:
    code = "from benchmarks import gpu\nprint(gpu.networks_here(['resnet50', 'vgg16']))"
    done = without("segmentation_models_pytorch", code)
    assert done.stdout.splitlines() == [
        "segmentation_models_pytorch is not installed: a plain U-Net alone is measured",
        "['plain']",
    ], done.stderr
    assert gpu.networks_here(["resnet50"]) == ["resnet50"]


def test_a_cpu_has_no_tf32_and_roofs_are_measured() -> None:
    cpu = torch.device("cpu")
    assert [way.name for way in ways_on(cpu, compiled=False)] == ["bfloat16", "float32"]
    assert [way.name for way in ways_on(gpu.GPU, compiled=True)] == [way.name for way in WAYS]
    measured = roofs(cpu, ways_on(cpu, compiled=False), side=64)
    assert measured.bandwidth > 0 and all(flops > 0 for flops in measured.flops.values())


def test_a_step_moves_at_least_activations_weights_and_the_optimizer_s_state() -> None:
    work = Work(step_flops=0, image_flops=0, parameters=10, trained=6, activations=400)
    float32 = next(way for way in WAYS if way.name == "float32")
    bfloat16 = WAYS[0]
    optimizer = 4 * 8 * 6  # float32: gradient, weight and two moments, each read and written
    assert least_bytes(work, float32) == 2 * 400 + 2 * 40 + optimizer
    assert least_bytes(work, bfloat16) == 2 * 200 + 2 * 20 + optimizer
