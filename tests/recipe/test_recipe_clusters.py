"""The recipes of clusters: their commands are understood, and each is tried where its system is."""

import copy
import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import TIMES
from stories import story

import pellucid
from pellucid.cli import parser
from pellucid.training.mesh import Mesh


ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "recipes" / "clusters"
SCRIPTS = ["two_hosts.sh", "slurm.sbatch"]


def ranks_of(command: list[str]) -> int:
    """How many ranks a torchrun command starts, that its hosts all have."""
    flags = dict(word.removeprefix("--").split("=") for word in command if re.fullmatch(r"--n[a-z-]+=\d+", word))
    return int(flags["nnodes"]) * int(flags["nproc-per-node"])


def test_the_job_of_kubernetes_starts_a_command_of_its_mesh() -> None:
    text = (CLUSTERS / "kubernetes.yaml").read_text(encoding="utf-8")
    block = re.search(r"command:\n((?: +- .*\n)+)", text)
    assert block is not None
    command = [line.strip().removeprefix("- ") for line in block[1].splitlines()]
    args = parser().parse_args(command[command.index("pellucid") + 1 :])
    assert command[0] == "torchrun" and args.resume
    assert Mesh.parse(args.mesh).size == ranks_of(command)
    pods = re.search(r"completions: (\d+)\n +parallelism: (\d+)", text)
    assert pods is not None and pods[1] == pods[2] and f"--nnodes={pods[1]}" in command
    head = next(word for word in command if "endpoint" in word)
    service, subdomain = re.search(r"kind: Service\nmetadata:\n +name: (\w+)", text), re.search(r"subdomain: (\w+)", text)
    assert service is not None and subdomain is not None and service[1] == subdomain[1]
    assert head.partition("=")[2].startswith(f"pellucid-0.{subdomain[1]}:")


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_bash_and_their_examples_are_understood(name: str) -> None:
    subprocess.run(["bash", "-n", str(CLUSTERS / name)], check=True)
    text = (CLUSTERS / name).read_text(encoding="utf-8")
    example = re.search(rf"^# .*{re.escape(name)} (.*)$", text, re.MULTILINE)
    assert example is not None
    run, *rest = shlex.split(example[1])
    args = parser().parse_args(["train", *rest, "--out", run, "--resume"])
    assert Mesh.parse(args.mesh).size % 2 == 0


@pytest.mark.long
def test_the_manifests_of_kubernetes_follow_its_published_schema() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    yaml = pytest.importorskip("yaml", reason="kubernetes-validate is not installed")
    manifests = list(yaml.safe_load_all((CLUSTERS / "kubernetes.yaml").read_text(encoding="utf-8")))
    assert [one["kind"] for one in manifests] == ["Service", "Job"]
    for one in manifests:
        kubernetes.validate(one, kubernetes.latest_version(), strict=True)
    for path in mappings(manifests[1]["spec"], ()):  # a name that the schema does not know is found wherever it stands
        forged = copy.deepcopy(manifests[1])
        place = forged["spec"]
        for key in path:
            place = place[key]
        place["unknownName"] = 1
        with pytest.raises(kubernetes.ValidationError):
            kubernetes.validate(forged, kubernetes.latest_version(), strict=True)


def mappings(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The paths to all mappings with names of the schema (quantities such as `requests` have names of their own)."""
    if isinstance(value, dict):
        if path[-1:] != ("requests",):
            yield path
        for key, one in value.items():
            yield from mappings(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from mappings(one, (*path, index))


SLURM = """ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/pid
SlurmctldLogFile={folder}/log
SelectType=select/cons_tres
ProctrackType=proctrack/linuxproc
MailProg=/bin/true
SuspendProgram=/bin/true
ResumeProgram=/bin/true
SuspendTime=600
NodeName=n[1-2] CPUs=4 RealMemory=8000 State=CLOUD
PartitionName=all Nodes=ALL Default=YES State=UP
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A controller of Slurm with two nodes that are started when a job needs them: the environment of its clients."""
    if shutil.which("sbatch") is None or shutil.which("slurmctld") is None:
        pytest.skip("no Slurm here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "state").mkdir()
    (tmp_path / "slurm.conf").write_text(
        SLURM.format(host=socket.gethostname().partition(".")[0], port=port, user=getpass.getuser(), folder=tmp_path),
        encoding="utf-8",
    )
    environment = os.environ | {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    with subprocess.Popen(["slurmctld", "-D", "-c", "-f", environment["SLURM_CONF"]], stderr=subprocess.DEVNULL) as controller:
        try:
            for _ in range(300):
                if not subprocess.run(["scontrol", "ping"], env=environment, capture_output=True, check=False).returncode:
                    break
                time.sleep(0.2)
            yield environment
        finally:
            controller.terminate()


@pytest.mark.long
def test_slurm_takes_the_job(slurm: dict[str, str]) -> None:
    command = ["sbatch", "--test-only", str(CLUSTERS / "slurm.sbatch"), "runs/book", "book.txt"]
    told = subprocess.run(command, env=slurm, capture_output=True, encoding="utf-8", check=True).stderr
    assert re.search(r"using 8 processors on nodes n\[1-2\]", told)
    refused = subprocess.run([*command[:2], "--nodes=3", *command[2:]], env=slurm, capture_output=True, check=False)
    assert refused.returncode  # the controller decides


@pytest.fixture
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces that reach each other: the words before a command that run it in one."""
    names = [f"pellucid-{os.getpid()}-{i}" for i in range(2)]
    steps = [f"ip netns add {name}" for name in names]
    steps += [f"ip link add ve0 netns {names[0]} type veth peer name ve1 netns {names[1]}"]
    for i, name in enumerate(names):
        steps += [f"ip -n {name} addr add 10.77.0.{i + 1}/24 dev ve{i}"]
        steps += [f"ip -n {name} link set {device} up" for device in ("lo", f"ve{i}")]
    try:
        for step in steps:
            if subprocess.run(shlex.split(step), capture_output=True, check=False).returncode:
                pytest.skip("network namespaces are not permitted here")
        yield [f"ip netns exec {name}" for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.long
@pytest.mark.skipif(TIMES == 1, reason="in .ci/full")
@pytest.mark.skipif(shutil.which("ip") is None, reason="network namespaces are not permitted here")
def test_two_hosts_train_one_run(two_hosts: list[str], tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("\n\n".join(story(2000, seed) for seed in range(4)), encoding="utf-8")
    options = "--preset tiny --steps 6 --batch-tokens 2048 --dtype float32 --mesh dp=2 --no-record"
    variables = os.environ | {"HEAD": "10.77.0.1", "RANKS": "1", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [*shlex.split(host), "bash", str(CLUSTERS / "two_hosts.sh"), "run", "book.txt", *shlex.split(options)],
            cwd=tmp_path, env=variables | {"GLOO_SOCKET_IFNAME": f"ve{i}"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for i, host in enumerate(two_hosts)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=240)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    run = pellucid.open_run(tmp_path / "run")
    assert run.finished
    assert sorted(path.name for path in (run.path / "checkpoints").glob("*/shard-*"))[-2:] == [
        "shard-00001.safetensors", "shard-00001.safetensors",
    ]  # fmt: skip
