"""A copy of a state holds what the state held, in its own memory, and reads back the same."""

import io

import torch

from brainseg.training.keeping.host_copy import HostCopy

CPU = torch.device("cpu")


def trained_state() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    return network, optimizer


def test_a_copy_stays_as_it_is_while_the_training_changes_the_state_it_is_of() -> None:
    network, optimizer = trained_state()
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    copy = HostCopy(CPU).of(state)
    optimizer.step()
    written = io.BytesIO()
    torch.save(copy, written)
    assert written.getvalue() == buffer.getvalue(), "the file is the same, byte for byte"


def test_the_next_copy_takes_the_memory_of_the_last() -> None:
    network, optimizer = trained_state()
    copies = HostCopy(CPU)
    first = copies.of(network.state_dict())
    places = {name: tensor.data_ptr() for name, tensor in first.items()}
    optimizer.step()
    second = copies.of(network.state_dict())
    assert {name: tensor.data_ptr() for name, tensor in second.items()} == places
    assert all(torch.equal(tensor, second[name]) for name, tensor in network.state_dict().items())
