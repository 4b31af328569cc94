"""A real Slurm for the tests: a controller, and a node of eight tasks, whatever the cores, on loopback and free ports."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.loopback import free_port

PROGRAMS = ("slurmctld", "slurmd", "salloc", "srun", "sinfo")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SwitchType=switch/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def obstacle() -> str:
    """Why no Slurm can be started here; "" where it can."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=SEARCHED)]
    return f"there is no {', '.join(missing)} (Debian: slurm-wlm)" if missing else ""


class Slurm:
    """A controller and a node that run: `environment` is what Slurm's commands need to find them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.environment = folder, {"SLURM_CONF": str(folder / "slurm.conf")}
        values = {"host": socket.gethostname().partition(".")[0], "user": pwd.getpwuid(os.geteuid()).pw_name}
        ports = {"controller": free_port(), "node": free_port()}
        conf = CONF.format(folder=folder, **values, **ports)
        (folder / "slurm.conf").write_text(conf)
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        self.processes = [self._popen("slurmctld", "-D", "-i"), self._popen("slurmd", "-D")]
        self._wait_until_idle()

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def _wait_until_idle(self) -> None:
        end = time.monotonic() + 60
        while "idle" not in self._states():
            assert time.monotonic() < end, self._logs()
            assert all(process.poll() is None for process in self.processes), self._logs()
            time.sleep(0.2)

    def _states(self) -> str:
        command = ["sinfo", "--noheader", "--format=%T"]
        return subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True).stdout

    def _logs(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("*.log"))

    def _popen(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        program = shutil.which(name, path=SEARCHED)
        assert program
        with (self.folder / f"{name}.out.log").open("ab") as log:
            return subprocess.Popen([program, *words], env=os.environ | self.environment, stdout=log, stderr=log)


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Start Slurm, and end it."""
    cluster = Slurm(folder)
    try:
        yield cluster
    finally:
        cluster.stop()
