"""A Slurm with accounting: slurmdbd before it, and before that a MariaDB that only a socket in the folder reaches."""

from __future__ import annotations

import getpass
import socket
import subprocess
from typing import ClassVar

from pools.pool import free_port
from pools.slurm import SlurmPool

# Names of settings: slurmdbd.conf(5) of Slurm 22.05.
CONFIGURATION = """
AuthType=auth/none
PluginDir={plugins}
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StoragePass=none
StorageLoc=accounting
"""
STORAGE = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStorageTRES=cpu,mem"""
# The library that slurmdbd speaks to the database with takes the socket from here.
SOCKET = "MYSQL_UNIX_PORT"


class SlurmPoolWithAccounting(SlurmPool):
    """A private Slurm that ``sacct`` can be asked about."""

    daemons: ClassVar[tuple[str, ...]] = ("mariadbd", "slurmdbd", *SlurmPool.daemons)

    @classmethod
    def obstacle(cls) -> str | None:
        if (obstacle := super().obstacle()) is not None:
            return obstacle
        database = cls.default_prefix().usr / "sbin" / "mariadbd"
        return None if database.exists() else f"there is no {database}: this machine's archive has no such package"

    def configure(self) -> None:
        port = free_port()
        self.accounting = STORAGE.format(port=port)
        super().configure()
        self.environment[SOCKET] = str(self.folder / "database.socket")
        file = self.folder / "slurmdbd.conf"
        file.touch(mode=0o600)  # it holds a password, so slurmdbd refuses one that others can read
        file.write_text(
            CONFIGURATION.format(
                plugins=self.libraries,
                host=socket.gethostname().partition(".")[0],
                port=port,
                user=getpass.getuser(),
                folder=self.folder,
            )
        )

    def command(self, daemon: str) -> list[str]:
        if daemon != "mariadbd":
            return super().command(daemon)
        usr = self.prefix.usr
        return [
            *(str(usr / "sbin" / "mariadbd"), "--no-defaults", f"--basedir={usr}"),
            *(f"--datadir={self.folder / 'database'}", f"--tmpdir={self.folder / 'state'}"),
            *(f"--socket={self.environment[SOCKET]}", "--skip-networking"),
            *(f"--pid-file={self.folder / 'mariadbd.pid'}", f"--log-error={self.folder / 'log' / 'mariadbd.log'}"),
            # Small, and not durable: the pool is thrown away.
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"),
            *("--innodb-lock-wait-timeout=900", "--skip-name-resolve"),
        ]

    def launch(self) -> None:
        self.install_database()
        self.start_daemon("mariadbd")
        self.wait_for(lambda: self.query("SELECT 1").returncode == 0, "the database")
        user = f"'{getpass.getuser()}'@'localhost'"
        self.query(
            f"CREATE DATABASE accounting; CREATE USER {user} IDENTIFIED BY 'none'; GRANT ALL ON accounting.* TO {user};"
        ).check_returncode()
        self.start_daemon("slurmdbd")
        self.wait_for(lambda: self.ask("sacctmgr", "-n", "show", "cluster").returncode == 0, "slurmdbd")
        super().launch()

    def install_database(self) -> None:
        """Make the tables that a MariaDB keeps about itself."""
        usr = self.prefix.usr
        self.run(
            *(str(usr / "bin" / "mariadb-install-db"), "--no-defaults", f"--basedir={usr}"),
            *(f"--datadir={self.folder / 'database'}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M"),
        )

    def query(self, sql: str) -> subprocess.CompletedProcess[str]:
        """Ask the database as its root."""
        client = str(self.prefix.usr / "bin" / "mariadb")
        return self.ask(client, "--no-defaults", "-uroot", f"--socket={self.environment[SOCKET]}", "-e", sql)
