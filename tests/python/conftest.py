# SPDX-License-Identifier: MIT
"""What pytest finds here for all Python tests; see fixtures.py."""

from fixtures import last_resort, method, pytest_configure

__all__ = ["last_resort", "method", "pytest_configure"]
