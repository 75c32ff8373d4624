"""
Become a command that ends when the process that started it ends.

Run as a script: `leash.py PARENT_PID SIGNAL USER_ID GROUP_ID COMMAND...`. A supervisor that is
killed cannot stop its children, so the kernel is asked to send them SIGNAL instead. It is a program
of its own, not a hook between fork and exec, because Python code must not run there when the parent
has threads. USER_ID is -1 where the command keeps the account of its parent.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(signal_number: int) -> None:
    """Ask Linux to signal this process when its parent ends; elsewhere there is no such thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number)


def main(arguments: list[str]) -> None:
    parent, signal_number, user, group = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if user >= 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    # After the change of account, which would clear it.
    die_with_parent(signal_number)
    if os.getppid() != parent:
        sys.exit("the process that asked for this one has ended")
    os.execvp(command[0], command)  # noqa: S606 - the command is the supervisor's own


if __name__ == "__main__":
    main(sys.argv[1:])
