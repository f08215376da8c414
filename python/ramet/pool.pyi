# SPDX-License-Identifier: MIT
from multiprocessing.pool import ApplyResult as ApplyResult
from multiprocessing.pool import AsyncResult as AsyncResult
from multiprocessing.pool import IMapIterator as IMapIterator
from multiprocessing.pool import IMapUnorderedIterator as IMapUnorderedIterator
from multiprocessing.pool import MapResult as MapResult
from multiprocessing.pool import Pool as Pool
from multiprocessing.pool import ThreadPool as ThreadPool

from .pool_workers import PoolTerminated as PoolTerminated
from .pool_workers import WorkerDied as WorkerDied
