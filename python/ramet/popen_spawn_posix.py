# SPDX-License-Identifier: MIT
"""Starting a process by spawn, under the standard library's name of the module."""

from .popen_spawn import Popen

__all__ = ["Popen"]
