# SPDX-License-Identifier: MIT
from multiprocessing.sharedctypes import Array as Array
from multiprocessing.sharedctypes import RawArray as RawArray
from multiprocessing.sharedctypes import RawValue as RawValue
from multiprocessing.sharedctypes import Synchronized as Synchronized
from multiprocessing.sharedctypes import SynchronizedArray as SynchronizedArray
from multiprocessing.sharedctypes import SynchronizedBase as SynchronizedBase
from multiprocessing.sharedctypes import SynchronizedString as SynchronizedString
from multiprocessing.sharedctypes import Value as Value
from multiprocessing.sharedctypes import copy as copy
from multiprocessing.sharedctypes import synchronized as synchronized
