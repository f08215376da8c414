# SPDX-License-Identifier: MIT
"""What pytest finds here for the tests with other packages; see tests/python/fixtures.py."""

from fixtures import last_resort, method, pytest_configure

__all__ = ["last_resort", "method", "pytest_configure"]
