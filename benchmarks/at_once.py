"""Several clients at the same time, each in a process of its own: no interpreter lock between them, none with us."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from typing import Any

fork = multiprocessing.get_context("fork")  # the content that is pushed is there already


def at_once(clients: Sequence[Callable[[], Any]]) -> tuple[list[Any], float]:
    """Start all, let them begin together, wait for all. Returns what each returned, and the seconds from the first
    one's beginning to the last one's end. What one raises is raised here; no process is left."""
    gate = fork.Barrier(len(clients))
    processes, pipes = [], []
    try:
        for client in clients:
            ours, theirs = fork.Pipe(duplex=False)
            processes.append(fork.Process(target=_run, args=(client, gate, theirs), daemon=True))
            processes[-1].start()
            theirs.close()
            pipes.append(ours)
        outcomes = [pipe.recv() for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    for _, _, failure in outcomes:
        if failure is not None:
            raise failure
    began, ended = min(outcome[0][0] for outcome in outcomes), max(outcome[0][1] for outcome in outcomes)
    return [result for _, result, _ in outcomes], ended - began


def _run(client: Callable[[], Any], gate: Barrier, pipe: Pipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    gate.wait()
    began, result, failure = time.monotonic(), None, None
    try:
        result = client()
    except Exception as error:  # noqa: BLE001 - it is raised where it can be shown
        failure = error
    pipe.send(((began, time.monotonic()), result, failure))
