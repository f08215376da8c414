# SPDX-License-Identifier: MIT
"""A backend for joblib, and so for scikit-learn and whatever else uses joblib.

    import joblib, ramet.joblib

    ramet.joblib.register()
    with joblib.parallel_config(backend="ramet"):
        joblib.Parallel(n_jobs=4)(joblib.delayed(function)(item) for item in items)

In what it accepts it is like joblib's own backend, loky: functions, arguments and results may be
lambdas, closures and instances of classes of the main module, all pickled with cloudpickle, and the
main module needs no guard, since workers do not import it. Large arrays go through shared memory,
with no files; what arrives is writable. Workers wait for the next call once one has ended.

A worker that dies costs the call of `Parallel` that it worked for, with `ramet.pool.WorkerDied`.
"""

from __future__ import annotations

import atexit
import functools
import threading
from typing import Any

import joblib.parallel as _joblib
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from . import context as _context
from .cpus import cpu_count
from .joblib_worker import Cargo, begin, call
from .pool import Pool

__all__ = ["RametBackend", "register", "shutdown"]


def register(
    name: str = "ramet", *, make_default: bool = False, start_method: str = "forkserver"
) -> None:
    """Make the backend known to joblib by a name, and with `make_default` the one that it takes."""
    factory = functools.partial(RametBackend, start_method=start_method)
    _joblib.register_parallel_backend(name, factory, make_default=make_default)


# ------------------------------------------------------------------------------------------ pools


class _Pool(Pool):
    """Workers that do not import the main module."""

    @staticmethod
    def Process(ctx: Any, *args: Any, **kwds: Any) -> Any:
        process = ctx.Process(*args, **kwds)
        process._imports_main = False
        return process


_lock = threading.Lock()
_idle: dict[Any, Any] = {}  # pools that nobody uses, by what they were made with


def _take(key: Any) -> Any:
    """A pool for one call alone: another thread's failure must not end our workers."""
    start_method, n_jobs, environment = key
    with _lock:
        pool = _idle.pop(key, None)
        others = list(_idle.values())
        _idle.clear()
    for other in others:
        other.terminate()
    if pool is not None and not pool._is_ours():
        pool = None
    if pool is None:
        context = _context._default_context.get_context(start_method)
        pool = _Pool(n_jobs, begin, (dict(environment), start_method), context=context)
    return pool


def _give_back(key: Any, pool: Any) -> None:
    with _lock:
        pool, other = (None, pool) if key in _idle else (pool, None)
        if pool is not None:
            _idle[key] = pool
    if other is not None:
        other.terminate()


def shutdown() -> None:
    """End the workers that wait for another call."""
    with _lock:
        pools = list(_idle.values())
        _idle.clear()
    for pool in pools:
        pool.terminate()


atexit.register(shutdown)


# ---------------------------------------------------------------------------------------- backend


class RametBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs what joblib gives it in a pool of ramet's."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    _pool: Any = None
    _key: Any = None

    def __init__(self, start_method: str = "forkserver", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start_method = start_method

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks run at once; negative numbers count from all processors."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **kwargs: Any,
    ) -> int:
        """Get the workers for one call of Parallel, and return their number."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        environment = tuple(sorted(self._prepare_worker_env(n_jobs=n_jobs).items()))
        self._key = (self.start_method, n_jobs, environment)
        self._pool = _take(self._key)
        self.parallel = parallel
        return n_jobs

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Have a worker call a function; `callback` gets what retrieve_result_callback() takes."""
        return self._pool.apply_async(
            call, (Cargo(func),), callback=callback, error_callback=callback
        )

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the result of a call, or raise its exception."""
        if isinstance(out, BaseException):
            raise out
        done, value = out
        if not done:
            raise value
        return value

    def terminate(self) -> None:
        """Keep the workers for the next call."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _give_back(self._key, pool)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the workers, whatever they do; with `ensure_ready`, start others."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)
