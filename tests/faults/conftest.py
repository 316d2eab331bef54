"""One chain of the tiny area for all tests of faults, and a folder for each of them."""

import pytest
from chain_steps import served, whole_chain, write_tiny


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """What the chain of the tiny area writes when nothing goes wrong."""
    with pytest.MonkeyPatch.context() as patch, served() as address:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        write_tiny(address)
        yield whole_chain()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder that a file of tests works in: the current one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("chain"))
        yield
