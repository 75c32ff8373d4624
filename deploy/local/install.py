"""
Make the virtual environment and install one locked set of packages into it.

`python -m deploy.local.install GROUP`, run by make with the machine's own Python: this module and
all it imports use nothing but the standard library. Pip follows the user's own configuration.
"""

import subprocess
import sys
from pathlib import Path
from time import monotonic

from deploy.local.environment import REPOSITORY, LocalSettings, settings_from_environment
from deploy.local.preflight import check_disk, check_infrastructure_tools, disk_is_full
from deploy.local.refusal import Refusal

VIRTUAL_ENVIRONMENT = REPOSITORY / ".venv"
REQUIREMENTS = REPOSITORY / "requirements"
# The set for running the stack: what else that needs is checked before half a minute of installing.
LOCAL_GROUP = "local"


def install(group: str, settings: LocalSettings) -> None:
    """
    Install the set and leave a stamp, which make compares with the lock.

    :raises Refusal: if the environment or a package cannot be had.
    """
    check_disk(settings.state)
    if group == LOCAL_GROUP:
        check_infrastructure_tools(settings)
    logs = settings.state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    started_at = monotonic()
    make_virtual_environment(logs / "venv.log")
    say("installing Python packages, about half a minute on the first run")
    install_packages(REQUIREMENTS / f"{group}.txt", logs / "pip.log")
    (VIRTUAL_ENVIRONMENT / f"{group}.installed").touch()
    say(f"Python packages: {monotonic() - started_at:.1f} s")


def make_virtual_environment(log: Path) -> None:
    if (VIRTUAL_ENVIRONMENT / "bin" / "pip").exists():
        return
    command = [sys.executable, "-m", "venv", "--clear", str(VIRTUAL_ENVIRONMENT)]
    if not succeeds(command, log):
        raise Refusal(
            "the virtual environment could not be made: install Python's venv module"
            f" (Debian: python3-venv); the reason is in {log}"
        )


def install_packages(lock: Path, log: Path) -> None:
    log.unlink(missing_ok=True)
    command = [
        str(VIRTUAL_ENVIRONMENT / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--require-hashes",
        f"--requirement={lock}",
        f"--log={log}",
    ]
    if not succeeds(command, log.with_suffix(".output.log")):
        raise Refusal(
            "pip could not install the packages: check the network and that the index pip is"
            f" configured for answers, then try again; pip's log is {log}"
        )


def succeeds(command: list[str], log: Path) -> bool:
    with log.open("wb") as output:
        completed = subprocess.run(command, stdout=output, stderr=output, check=False)
    return completed.returncode == 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    settings = settings_from_environment()
    try:
        install(sys.argv[1], settings)
    except (Refusal, OSError) as error:
        reason = str(error)
        if disk_is_full(settings.state):
            reason = f"the disk that holds {settings.state} is full: free some of it"
        sys.stderr.write(f"quayside: {reason}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
