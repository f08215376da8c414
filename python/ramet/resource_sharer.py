# SPDX-License-Identifier: MIT
"""Sending descriptors at any time: the standard library's sharer, one per process for both."""

from multiprocessing.resource_sharer import DupFd, stop

__all__ = ["DupFd", "stop"]
