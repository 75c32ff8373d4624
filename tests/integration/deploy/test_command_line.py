import socket
import subprocess
import sys
from pathlib import Path

from tests.support.infrastructure import REPOSITORY, without_external_servers


def deploy_local(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *arguments],
        env={**without_external_servers(), **variables},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


class TestRun:
    def test_says_in_one_line_which_port_is_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            ended = deploy_local("run", QUAYSIDE_STATE=str(tmp_path), QUAYSIDE_POSTGRES_PORT=port)

        assert ended.returncode == 1
        assert ended.stdout == ""
        assert ended.stderr == (
            f"quayside: port {port} (postgres) is in use: stop what listens on it,"
            " or set QUAYSIDE_POSTGRES_PORT to another port\n"
        )

    def test_refuses_a_port_that_is_no_number(self, tmp_path: Path) -> None:
        ended = deploy_local("run", QUAYSIDE_STATE=str(tmp_path), ORDERS_PORT="eighty")

        assert ended.stderr == "quayside: ORDERS_PORT=eighty is no port number\n"


class TestReplay:
    def test_needs_a_stack_that_runs(self, tmp_path: Path) -> None:
        ended = deploy_local("replay", QUAYSIDE_STATE=str(tmp_path))

        assert ended.returncode == 1
        assert ended.stderr.startswith("quayside: nothing to replay against: start the stack")


class TestClean:
    def test_forgets_everything_but_the_jars(self, tmp_path: Path) -> None:
        (tmp_path / "jars" / "a1b2c3").mkdir(parents=True)
        (tmp_path / "postgres" / "data").mkdir(parents=True)
        (tmp_path / "database-passwords.json").touch()

        ended = deploy_local("clean", QUAYSIDE_STATE=str(tmp_path))

        assert ended.returncode == 0
        assert [entry.name for entry in tmp_path.iterdir()] == ["jars"]
