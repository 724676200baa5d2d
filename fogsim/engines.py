"""Where many jobs are done: processes of this machine, or the workers of a Dask cluster.

An engine is given a function and jobs, and yields what it makes of them in the order in which they are finished. A job
is sent when a worker is near to free, so that there may be millions. Whoever closes the generator starts no other; the
processes of this machine are waited for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from functools import partial
from itertools import islice
from logging import CRITICAL, getLogger
from threading import Thread, current_thread, main_thread
from time import sleep
from typing import Any, TypeVar

from fogsim.errors import UserError, one_line

Job = TypeVar("Job")
Result = TypeVar("Result")
AHEAD = 2  # jobs in hand per worker: enough to keep it busy, few enough to bound memory
ANSWER = 10.0  # s to wait for a scheduler, and for its first worker
WATCH = 0.5  # s between a worker's looks whether its parent lives
POOLS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")  # of threads: the workers are the threads here


def local(work: Callable[[Job], Result], jobs: Iterable[Job], processes: int) -> Generator[Result]:
    """Processes of this machine (loky), which end with it; or this one, if it is to be one.

    Raises
    ------
    UserError
        If a process is killed: what is done is kept by whoever asked for it.
    """
    if processes == 1:
        yield from map(work, jobs)
        return
    from multiprocessing.resource_tracker import ensure_running

    from loky import ProcessPoolExecutor, wait
    from loky.process_executor import BrokenProcessPool

    ensure_running()  # where it starts it lets Ctrl-C through, which is to be held back while processes are born
    one = {f"{pool}_NUM_THREADS": "1" for pool in POOLS}
    pool = ProcessPoolExecutor(processes, initializer=begin_worker, initargs=(os.getpid(),), env=one)
    try:
        yield from in_turn(deaf(partial(pool.submit, work)), wait, jobs, lambda: AHEAD * processes)
    except BrokenProcessPool as error:
        raise UserError(
            "a process ended from outside, perhaps for want of memory: give the same command again, with fewer --jobs"
        ) from error
    finally:
        pool.shutdown()


def cores() -> int:
    """Those this process may use."""
    from loky import cpu_count

    return int(cpu_count())


def deaf(submit: Callable[[Job], Any]) -> Callable[[Job], Any]:
    """Submit without hearing Ctrl-C: a process is born as deaf as its parent, long before it could turn so itself.

    Ctrl-C is noted meanwhile, and heard afterwards. A process inherits which signals the thread that starts it blocks.
    Blocking alone would not do: another thread of this process could take the signal in the middle of it.
    """
    mask = getattr(signal, "pthread_sigmask", lambda how, signals: None)
    if current_thread() is not main_thread():  # only that one can
        return submit

    def submit_deaf(job: Job) -> Any:
        heard: list[int] = []
        before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
        mask(getattr(signal, "SIG_BLOCK", 0), {signal.SIGINT})
        try:
            return submit(job)
        finally:
            mask(getattr(signal, "SIG_UNBLOCK", 0), {signal.SIGINT})
            signal.signal(signal.SIGINT, before)
            if heard:
                signal.raise_signal(signal.SIGINT)

    return submit_deaf


def begin_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end at once if it is killed: a run that goes on must find the folder at rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_it() -> None:
        while os.getppid() == parent:
            sleep(WATCH)
        os._exit(1)

    Thread(target=end_with_it, daemon=True).start()


def cluster(
    work: Callable[[Job], Result], jobs: Iterable[Job], address: str, check: Callable[[], dict[str, str]]
) -> Generator[Result]:
    """Workers of a Dask scheduler; the jobs of a worker that is lost are done by others.

    `check` is called here and by every worker, and must give the same.

    Raises
    ------
    UserError
        If no scheduler or worker answers, a worker's `check` differs, or a job has ended several workers.
    """
    client = connected(address)
    from dask import distributed

    with client:
        agree(client, check)
        try:
            yield from in_turn(
                lambda job: client.submit(work, job, pure=False),
                distributed.wait,
                jobs,
                lambda: AHEAD * max(len(client.nthreads()), 1),
            )
        except distributed.KilledWorker as error:
            raise UserError(
                f"an encounter ended {error.allowed_failures + 1} workers of {address}, perhaps for want of memory:"
                " look at their logs, and give the same command again"
            ) from error
        except (OSError, CancelledError) as error:
            raise UserError(
                f"lost the scheduler {address} ({one_line(error)}): start it, and give the same command again"
            ) from error


def connected(address: str) -> Any:
    """A client of a scheduler that has a worker."""
    try:
        from dask import config, distributed
    except ImportError as error:
        raise UserError("found --cluster without dask: pip install 'fogsim[cluster]'") from error
    getLogger("distributed").setLevel(CRITICAL)  # what it has to say of a lost worker is no error here
    config.set({"distributed.comm.timeouts.connect": ANSWER})
    try:
        client = distributed.Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no scheduler answers at {address}: start one (dask scheduler), or check the address"
        ) from error
    try:
        client.wait_for_workers(1, timeout=ANSWER)
    except distributed.TimeoutError as error:
        client.close()
        raise UserError(f"the scheduler {address} has no worker: start some (dask worker {address})") from error
    return client


def agree(client: Any, check: Callable[[], dict[str, str]]) -> None:
    """Refuse workers that would do something else than this process."""
    here = check()
    for worker, there in client.run(check, on_error="return").items():
        if isinstance(there, Exception):
            raise UserError(f"worker {worker} cannot take part ({one_line(there)}): install the same fogsim there")
        for name in here:
            if there.get(name) != here[name]:
                raise UserError(
                    f"worker {worker} has {name} {there.get(name)}, expected {here[name]}: install the same"
                )


def in_turn(
    submit: Callable[[Job], Any], wait: Callable[..., Any], jobs: Iterable[Job], ahead: Callable[[], int]
) -> Generator[Any]:
    """Results of futures, of which never more than `ahead` are in hand."""
    todo, waiting = iter(jobs), set[Any]()
    try:
        while True:
            waiting |= {submit(job) for job in islice(todo, max(ahead() - len(waiting), 0))}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when="FIRST_COMPLETED")
            yield from (future.result() for future in done)
    finally:
        for future in waiting:
            future.cancel()
