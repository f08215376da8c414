# SPDX-License-Identifier: MIT
from multiprocessing.connection import Client as Client
from multiprocessing.connection import Connection as Connection
from multiprocessing.connection import Listener as Listener
from multiprocessing.connection import Pipe as Pipe
from multiprocessing.connection import wait as wait
