"""Float32 is TF32 on a GPU and exact on a CPU, whatever the process ran before."""

import torch

from brainseg.records.files import read_lines
from brainseg.records.run import Run
from brainseg.training.compute.float32 import float32_products, set_float32
from tests.support.trials import CPU, TINY, nothing, trained


def test_a_gpu_takes_tf32_and_the_fastest_kernels() -> None:
    try:
        set_float32(torch.device("cuda"))
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.benchmark and float32_products() == "TF32"
    finally:
        set_float32(CPU)
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.benchmark


def test_a_trial_sets_and_records_it_anew_in_a_process_that_left_it_otherwise(run: Run) -> None:
    set_float32(torch.device("cuda"))
    folder = trained(run, "t", TINY, nothing)
    assert float32_products() == "exact"
    assert read_lines(folder.starts)[0]["compute"]["float32"] == "exact"
