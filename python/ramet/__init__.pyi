# SPDX-License-Identifier: MIT
# What type checkers know of the package's interface: they look here instead of in __init__.py.
# Each class of ours derives from its counterpart in the standard library, so that the types of
# `multiprocessing` hold here as well, and a program that is checked with them is checked alike with
# ramet; only what is beyond them is declared. The stubs of the submodules are of the same kind.
from multiprocessing import Array as Array
from multiprocessing import AuthenticationError as AuthenticationError
from multiprocessing import Barrier as Barrier
from multiprocessing import BufferTooShort as BufferTooShort
from multiprocessing import Condition as Condition
from multiprocessing import Manager as Manager
from multiprocessing import Pipe as Pipe
from multiprocessing import Process as Process
from multiprocessing import ProcessError as ProcessError
from multiprocessing import RawArray as RawArray
from multiprocessing import RawValue as RawValue
from multiprocessing import RLock as RLock
from multiprocessing import TimeoutError as TimeoutError
from multiprocessing import Value as Value
from multiprocessing import active_children as active_children
from multiprocessing import allow_connection_pickling as allow_connection_pickling
from multiprocessing import cpu_count as cpu_count
from multiprocessing import current_process as current_process
from multiprocessing import freeze_support as freeze_support
from multiprocessing import get_all_start_methods as get_all_start_methods
from multiprocessing import get_logger as get_logger
from multiprocessing import get_start_method as get_start_method
from multiprocessing import log_to_stderr as log_to_stderr
from multiprocessing import parent_process as parent_process
from multiprocessing import reducer as reducer
from multiprocessing import set_executable as set_executable
from multiprocessing import set_forkserver_preload as set_forkserver_preload
from multiprocessing import set_start_method as set_start_method

from ._ramet import OwnerDiedWarning as OwnerDiedWarning
from .context import _default_context
from .executor import ProcessPoolExecutor as ProcessPoolExecutor
from .queues import JoinableQueue as JoinableQueue
from .queues import Queue as Queue
from .queues import SimpleQueue as SimpleQueue

Pool = _default_context.Pool
Lock = _default_context.Lock
Semaphore = _default_context.Semaphore
BoundedSemaphore = _default_context.BoundedSemaphore
Event = _default_context.Event
get_context = _default_context.get_context

SUBDEBUG: int
SUBWARNING: int

def install() -> None: ...
