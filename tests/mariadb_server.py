"""Run a command with a MariaDB server beside it: `python tests/mariadb_server.py COMMAND...`.

The server listens on a free port of 127.0.0.1 alone, keeps its data in a temporary directory of its own, and has ended,
and its data with it, when the command has. The command finds it by the variable ASYNCGEN_TOOLS_MARIADB, a URL with a
password made for this run. Where mariadbd is not installed the command runs without the variable, and the tests say
that they are skipped. Standard library only: CI calls it before any environment exists.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import IO

VARIABLE = "ASYNCGEN_TOOLS_MARIADB"
NAME = "asyncgen_tools"  # of the database, and of its user
SECONDS_TO_START = 60
SECONDS_TO_STOP = 30
ATTEMPTS = 3


def main() -> int:
    """Run the command of the command line, and give its exit status."""
    signal.signal(signal.SIGTERM, leave)
    environment = dict(os.environ)
    # Debian keeps daemons where only root's PATH leads.
    where = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    daemon, installer = shutil.which("mariadbd", path=where), shutil.which("mariadb-install-db", path=where)
    if daemon is None or installer is None:
        sys.stderr.write("mariadbd is not installed: running without it\n")
        return subprocess.run(sys.argv[1:], check=False).returncode
    with temporary_server(daemon, installer) as environment[VARIABLE]:
        return subprocess.run(sys.argv[1:], check=False, env=environment).returncode


def leave(number: int, _frame: object) -> NoReturn:
    """Unwind on SIGTERM as on Ctrl-C, so that the server is stopped."""
    sys.exit(128 + number)


@contextmanager
def temporary_server(daemon: str, installer: str) -> Generator[str]:
    """A running server, as the URL by which to reach it; it has ended when the block is left."""
    with tempfile.TemporaryDirectory(prefix="asyncgen_tools-mariadb-") as folder:
        home = Path(folder)
        # Not in /tmp: a server that starts removes temporary tables that it finds, which may be those of another one.
        options = ["--no-defaults", f"--datadir={home / 'data'}", f"--tmpdir={home}"]
        if os.geteuid() == 0:  # mariadbd refuses to run as root unless it is told as whom
            options.append(f"--user={daemon_user()}")
            shutil.chown(home, daemon_user())
        make_data(installer, options)
        password = secrets.token_hex(16)
        start_up = home / "start_up.sql"
        start_up.write_text(
            f"CREATE DATABASE {NAME};\n"
            f"CREATE USER {NAME}@127.0.0.1 IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON {NAME}.* TO {NAME}@127.0.0.1;\n",
            encoding="utf-8",
        )
        options += [f"--init-file={start_up}", f"--socket={home / 'socket'}", f"--pid-file={home / 'pid'}"]
        options += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=32M"]
        server, port = start([daemon, *options])
        try:
            yield f"mysql://{NAME}:{password}@127.0.0.1:{port}/{NAME}"
        finally:
            stop(server)


def make_data(installer: str, options: list[str]) -> None:
    """Fill a new data directory.

    Raises:
        RuntimeError: it could not be done; what the installer wrote is in the message.
    """
    # root can log in by the socket alone, which lies in a directory that nobody else can enter.
    command = [installer, *options, "--auth-root-authentication-method=socket", "--skip-test-db"]
    completed = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_TO_START,
    )
    if completed.returncode != 0:
        raise RuntimeError(f"{installer} gave {completed.returncode}:\n{completed.stdout}")


def daemon_user() -> str:
    """The user that Debian's package made for the daemon, or root where there is none."""
    try:
        return pwd.getpwnam("mysql").pw_name
    except KeyError:
        return "root"


def start(command: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the daemon on a free port, and wait until it says that it is ready.

    Raises:
        RuntimeError: it ended instead, or took too long; what it wrote is in the message.
    """
    log = b""
    for _ in range(ATTEMPTS):  # somebody else may take the port between its choice and its use
        port = free_port()
        # In a session of its own, so that Ctrl-C at the terminal does not end it before the command that uses it.
        server = subprocess.Popen(
            [*command, f"--port={port}"], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
        )
        assert server.stderr is not None
        killer = threading.Timer(SECONDS_TO_START, server.kill)
        killer.start()
        try:
            for line in server.stderr:
                log += line
                if b"ready for connections" in line:
                    # What nobody reads would fill the pipe and stop the server.
                    threading.Thread(target=drain, args=[server.stderr], daemon=True).start()
                    return server, port
        except BaseException:
            stop(server)
            raise
        finally:
            killer.cancel()
        server.stderr.close()
        server.wait()
    raise RuntimeError(f"mariadbd did not start:\n{log.decode(errors='replace')}")


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def drain(log: IO[bytes]) -> None:
    """Read a log to its end."""
    with log:
        for _ in log:
            pass


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the daemon, and wait for its end."""
    server.terminate()
    try:
        server.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
