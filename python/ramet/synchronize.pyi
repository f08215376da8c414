# SPDX-License-Identifier: MIT
from multiprocessing.synchronize import Barrier as Barrier
from multiprocessing.synchronize import BoundedSemaphore as BoundedSemaphore
from multiprocessing.synchronize import Condition as Condition
from multiprocessing.synchronize import Event as Event
from multiprocessing.synchronize import Lock as Lock
from multiprocessing.synchronize import RLock as RLock
from multiprocessing.synchronize import Semaphore as Semaphore

from ._ramet import OwnerDiedWarning as OwnerDiedWarning
