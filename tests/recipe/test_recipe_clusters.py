"""The recipes of clusters: their commands are understood, and each is tried where its system is."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="no Slurm here")
def test_slurm_takes_the_job() -> None:
    script = CLUSTERS / "slurm.sbatch"
    subprocess.run(["sbatch", "--test-only", str(script), "runs/book", "book.txt"], check=True)


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
