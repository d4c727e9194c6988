"""What tests of storages and of workers share."""

import pytest
from private_postgres import PrivatePostgres, binaries


@pytest.fixture(scope="module")
def postgres():
    if binaries() is None:
        pytest.skip("PostgreSQL's initdb is not on this machine (Debian: apt-get install postgresql)")
    server = PrivatePostgres()
    yield server
    server.close()
