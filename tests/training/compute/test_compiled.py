"""A compiled network learns as an uncompiled one, keeps its names, and thaws when it must."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from brainseg.config.hyperparameters import AdamW, Encoder, Gradual, Plain
from brainseg.models.network import Network
from brainseg.models.plain_unet import PlainUnet
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.training.compute.compiled import compile_calls, compile_fault, compile_seconds, forget
from brainseg.training.compute.machine import Machine
from brainseg.training.distributed import Ranks
from brainseg.training.learner import Learner
from brainseg.training.optim import build_optimizer
from tests.support.tasks import task_of
from tests.support.trials import CPU, TINY, last_state, nothing, trained, untimed
from tests.training.test_loop import batches, score, steps

COMPILER = pytest.mark.skipif(
    not shutil.which("g++"), reason="there is no g++, which Inductor needs"
)
TRACED = "aot_eager"  # PyTorch traces as for Inductor, and generates no C++: seconds, not a minute


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    forget()


@COMPILER
def test_a_compiled_trial_learns_as_an_uncompiled_one_and_resumes_without(run: Run) -> None:
    config = replace(TINY, model=Plain(width=2, depth=1, dropout=0.0), epochs=3)
    plain = trained(run, "plain", config, nothing)
    folder = run.trial("compiled")

    def stop_after_second(row: EpochRow) -> None:
        if row.epoch == 2:
            folder.stop.write_text("paused")

    trained(run, "compiled", replace(config, compile=True), stop_after_second)
    first, second = folder.noted_costs()[:2]
    assert first["compile"] > max(first["train"], first["score"]) and second["compile"] == 0
    assert folder.rows()[0].seconds == pytest.approx(first["train"] + first["score"])
    assert folder.rows()[0].milliseconds_per_image < 1000 * first["compile"]
    names = list(last_state(plain)["network"])
    assert list(last_state(folder)["network"]) == names
    folder.stop.unlink()
    trained(run, "compiled", config, nothing)
    assert folder.ending().state == "done" and folder.notes() == []
    for row, compiled in zip(plain.rows(), folder.rows(), strict=True):
        assert untimed(compiled) == pytest.approx(untimed(row), rel=1e-3, abs=1e-3)
    assert sum(cost["compile"] for cost in plain.costs()) == 0


def test_blocks_that_thaw_are_trained_and_frozen_ones_are_not() -> None:
    model = Encoder(name="resnet18", weights="none", freeze=Gradual(until=1.0))
    config = replace(TINY, model=model, epochs=4)
    learner = Learner(config, Machine(CPU), Ranks(0, 1))
    compile_calls(learner.network, backend=TRACED)
    learner.config = replace(config, compile=True)  # so that it forgets at every thaw
    image_BCHW = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    scaling_BC3 = torch.tensor([255.0, 128.0, 64.0]).expand(2, 3, 3)
    compiled = compile_seconds()
    for epoch in range(3):
        learner.freeze_for(epoch)
        learner.network.train()
        before = learner.network.fingerprints()
        parameters = dict(learner.network.named_parameters())
        trained = {name: p.detach().clone() for name, p in parameters.items() if p.requires_grad}
        learner.optimizer.zero_grad()
        learner.wrapped(image_BCHW, scaling_BC3).sum().backward()
        learner.optimizer.step()
        assert learner.network.fingerprints() == before
        assert trained and all((parameters[name] != p).any() for name, p in trained.items())
        assert compile_seconds() > compiled
        compiled = compile_seconds()
    assert learner.frozen < len(learner.network.blocks)


def test_batches_in_parts_move_weights_and_statistics_as_without_compiling() -> None:
    plain, compiled = normed_network(), normed_network()
    compile_calls(compiled, backend=TRACED)
    for network in (plain, compiled):
        optimizer = build_optimizer(network, AdamW())
        list(steps(network, batches(range(8), 8), optimizer=optimizer, images_at_once=3))
    states = plain.state_dict(), compiled.state_dict()
    assert list(states[0]) == list(states[1])
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=1e-4)
    counts = [score(network, range(7), 4).counts_S3 for network in (plain, compiled)]
    assert torch.equal(*counts)


def test_what_cannot_be_compiled_is_named_with_the_remedy() -> None:
    def breaks(tensor: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return tensor

    with pytest.raises(RuntimeError) as caught:
        torch.compile(breaks, fullgraph=True, backend=TRACED)(torch.ones(1))
    fault = compile_fault(caught.value)
    assert fault.startswith("torch.compile failed on this network (")
    assert fault.endswith("; leave compile at false") and "\n" not in fault
    assert compile_fault(RuntimeError("other")) == ""


def test_without_a_compiler_the_trial_says_so_before_its_first_step(
    run: Run, tmp_path: Path
) -> None:
    task_of(run, "t", replace(TINY, compile=True))
    code = (
        "import sys, torch; from brainseg.training.task import Task; "
        "from brainseg.training.trial import run_trial; from pathlib import Path; "
        "run_trial(Task(Path(sys.argv[1]), 't', threads=1), print, torch.device('cpu'))"
    )
    nowhere = {**os.environ, "PATH": str(tmp_path), "CXX": "g++"}
    subprocess.run([sys.executable, "-c", code, str(run.path)], env=nowhere, check=True)
    ending = run.trial("t").ending()
    assert ending.state == "failed" and ending.epoch == 0
    assert ending.reason.startswith("compile=true needs a C++ compiler, and Triton on a GPU; ")
    assert "No working C++ compiler found" in ending.reason
    assert ending.reason.endswith("install g++, on a GPU triton too, or leave compile at false")


def normed_network() -> Network:
    torch.manual_seed(0)
    return Network(PlainUnet(width=4, depth=1, dropout=0.0, norm="batch"))
