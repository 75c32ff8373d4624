import socket
import subprocess
import sys

import pytest

from deploy.local.ports import FREE_PORT_RANGE, HOST, free_ports
from tests.support.infrastructure import REPOSITORY

MANY = [str(number) for number in range(300)]
CHOOSER = """
import sys
from deploy.local.ports import free_ports
print(*(port.number for port in free_ports(map(str, range(300))).values()), flush=True)
sys.stdin.read()
"""


def chosen() -> set[int]:
    return {port.number for port in free_ports(MANY).values()}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that end with whoever bears them")
class TestFreePorts:
    def test_are_given_away_once_though_nothing_listens_there_yet(self) -> None:
        first, second = chosen(), chosen()

        assert len(first) == len(second) == len(MANY)
        assert not first & second

    def test_are_not_those_that_another_process_has_chosen(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", CHOOSER], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            theirs = {int(number) for number in other.stdout.readline().split()}
            ours = chosen()

        assert len(theirs) == len(MANY)
        assert not ours & theirs


def test_a_chosen_port_can_be_listened_on() -> None:
    [port] = free_ports(["one"]).values()

    with socket.create_server((HOST, port.number)):
        assert port.number in FREE_PORT_RANGE
