# SPDX-License-Identifier: MIT
"""PyTorch: its DataLoader with our contexts, and the reducers of torch.multiprocessing."""

import os
import re

import numpy
import pytest
import ramet
import torch
import torch.multiprocessing
from family import run
from fixtures import START_METHODS
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info


# A child of spawn imports PyTorch, which takes seconds; so what is the same is not tried under it.
@pytest.fixture(params=["fork", "forkserver"])
def context(request):
    ramet.set_forkserver_preload(["torch.multiprocessing", "torch.utils.data"])
    return ramet.get_context(request.param)


every_method = pytest.mark.parametrize("context", START_METHODS, indirect=True)


class Squares(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.full((3, 5), float(index * index)), index


class Numbers(IterableDataset):
    """Each worker has a share of them."""

    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id, 40, info.num_workers))


class Failing(Squares):
    def __getitem__(self, index):
        if index == 7:
            raise ValueError("not 7")
        return super().__getitem__(index)


def pid_of_worker(batch):
    return os.getpid()


def loader(dataset, context, **options):
    return DataLoader(dataset, num_workers=2, multiprocessing_context=context, **options)


def check_epoch(batches, size):
    indices = []
    for tensors, numbers in batches:
        assert tensors.shape == (len(numbers), 3, 5)
        assert (tensors[:, 0, 0] == numbers.double() ** 2).all()
        indices += numbers.tolist()
    assert sorted(indices) == list(range(size))


@every_method
def test_loader(context):
    check_epoch(loader(Squares(50), context, batch_size=4, shuffle=True, prefetch_factor=3), 50)


def test_loader_with_an_iterable(context):
    batches = loader(Numbers(), context, batch_size=4)
    assert sorted(torch.cat(list(batches)).tolist()) == list(range(40))


def test_persistent_workers(context):
    batches = loader(
        Squares(8), context, batch_size=1, collate_fn=pid_of_worker, persistent_workers=True
    )
    first = set(batches)
    assert len(first) == 2 and os.getpid() not in first
    assert set(batches) == first
    again = loader(Squares(30), context, batch_size=4, persistent_workers=True)
    for _ in range(2):
        check_epoch(again, 30)


def test_a_loader_that_is_dropped_in_the_midst(context):
    batches = iter(loader(Squares(50), context, batch_size=1))
    next(batches)
    workers = batches._workers
    del batches
    assert all(worker.exitcode is not None for worker in workers)


def test_an_exception_in_a_worker(context):
    with pytest.raises(ValueError, match="not 7"):
        list(loader(Failing(20), context, batch_size=2))


DYING = """\
import os, signal, sys
import ramet
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

if __name__ == "__main__":
    context = ramet.get_context(sys.argv[1])
    context.set_forkserver_preload(["torch.utils.data"])
    try:
        # No tensors, whose memory the dead worker might still have to hand over.
        options = dict(num_workers=2, multiprocessing_context=context, collate_fn=list)
        list(DataLoader(Numbers(), **options))
    except RuntimeError as error:
        print(error, flush=True)
        os._exit(7)  # PyTorch's handler of SIGCHLD raises the same again and again
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_that_dies(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(DYING)
    code, out, err = run(program, method)
    assert code == 7, err
    assert re.match(r"DataLoader worker .*(killed|exited)", out)


# -------------------------------------------------------------------------------------- reducers
# PyTorch's reducers, which are registered on ForkingPickler, put tensors into shared memory: what
# arrives is the same memory.


def fill(tensor, done):
    tensor.fill_(7)
    done.set()


def fill_from(queue, done):
    queue.get().fill_(7)
    done.set()


@every_method
def test_a_tensor_that_is_an_argument_is_shared(context):
    tensor, done = torch.zeros(1000).share_memory_(), context.Event()
    process = context.Process(target=fill, args=(tensor, done))
    process.start()
    done.wait()
    process.join()
    assert (tensor == 7).all()


def test_a_tensor_through_a_queue_is_shared(context):
    for queue in (context.Queue(), context.SimpleQueue(), context.JoinableQueue()):
        tensor, done = torch.zeros(1000), context.Event()
        process = context.Process(target=fill_from, args=(queue, done))
        process.start()
        queue.put(tensor)
        done.wait()
        process.join()
        assert (tensor == 7).all()


def double(tensor):
    return tensor * 2


def test_tensors_through_pipes_and_pools(context):
    tensor = torch.arange(1000)
    ours, theirs = context.Pipe()
    ours.send({"tensor": tensor})
    assert (theirs.recv()["tensor"] == tensor).all()
    with context.Pool(2) as pool:
        for result in pool.map(double, [tensor] * 5) + list(pool.imap(double, [tensor] * 5)):
            assert (result == tensor * 2).all()
        assert (pool.apply(double, (tensor,)) == tensor * 2).all()


def test_arrays_through_queues(context):
    queue = context.Queue()
    array = numpy.arange(100_000.0)
    queue.put(torch.from_numpy(array).numpy())
    assert (queue.get() == array).all()


def train(model, steps):
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1


def test_a_shared_model_is_trained_by_processes(context):
    """As in PyTorch's example Hogwild."""
    model = torch.nn.Linear(4, 3)
    model.share_memory()
    before = model.weight.detach().clone()
    process = context.Process(target=train, args=(model, 10))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert torch.allclose(model.weight.detach(), before + 10)


def test_torch_s_own_pool_and_ours_side_by_side(context):
    with torch.multiprocessing.get_context("fork").Pool(1) as theirs, context.Pool(1) as ours:
        tensor = torch.ones(10)
        assert (theirs.apply(double, (tensor,)) == ours.apply(double, (tensor,))).all()
