"""The recipes in `configs/deploy/`: each one checked by its own tool, and its command run for real.

The commands are taken from the files as they stand. They run against a PostgreSQL and an emulator;
no container is built here, and no Kubernetes takes a pod.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fluxbatch.errors import ExitCode
from fluxbatch.ledger.operations.runs import ENDS
from tests.kills.killing import PHOTO, SCALED, wait_for_creates
from tests.support.emulator import EmulatorProcess, emulator_process
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "configs" / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
_FLAGS = ("--speed", "10", "--image-size", "64", "--duration", "20")
_EXAMPLE = "postgresql://flux@db.example.com/pictures/NIGHTLY"
_PROGRAM = "/opt/fluxbatch/bin/fluxbatch"
_KEY = "sk-of-a-recipe-51d2"
_UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@dataclass(frozen=True, slots=True)
class Site:
    """What a recipe takes for granted: a config, a database, a provider, a file of keys."""

    folder: Path
    emulator: EmulatorProcess
    dataset: str

    def set_up(self, rows: int = 6) -> None:
        (self.folder / "images").mkdir()
        (self.folder / "keys").write_text(f"{_KEY}\n")
        table = "".join(f"a lighthouse {n},{PHOTO}\n" for n in range(rows))
        (self.folder / "night.csv").write_text(f"prompt,control_image\n{table}")
        store = f"file://{self.folder}/images"
        (self.folder / "night.yaml").write_text(f"manifest: night.csv\nsink: {{store: '{store}'}}")

    def environment(self, **more: str) -> dict[str, str]:
        """Of a machine without a key: that comes by the recipe."""
        program = self.folder / "bin"
        program.mkdir(exist_ok=True)
        if not (program / "fluxbatch").exists():
            (program / "fluxbatch").symlink_to(Path(sys.executable).parent / "fluxbatch")
        return {
            **os.environ,
            **SCALED,
            "EACHLABS_BASE_URL": self.emulator.base_url,
            "PATH": f"{program}:{os.environ['PATH']}",
            **more,
        }

    def run(
        self, command: Sequence[str], env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=90,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture(scope="module")
def provider() -> Iterator[EmulatorProcess]:
    with emulator_process(*_FLAGS) as running:
        yield running


@pytest.fixture
def site(
    request: pytest.FixtureRequest,
    server: PostgresServer,
    provider: EmulatorProcess,
    tmp_path: Path,
) -> Site:
    provider.reset()
    made = Site(tmp_path, provider, f"{server.url}/{request.node.name[:50]}")
    made.set_up()
    return made


# The container


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's lines, continued ones joined, each as its word and the rest."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    words = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    return [(word, " ".join(rest.split())) for word, rest in words]


def last_stage() -> dict[str, str]:
    """What holds for the image that is run; a later line wins."""
    said = instructions()
    begins = max(n for n, (word, _) in enumerate(said) if word == "FROM")
    return dict(said[begins:])


def test_the_container_is_slim_not_root_and_stopped_as_by_ctrl_c() -> None:
    image = last_stage()
    assert re.fullmatch(r"python:3\.\d+-slim", image["FROM"])
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", image["USER"])
    assert image["STOPSIGNAL"] == "SIGINT"


def test_the_container_keeps_the_state_folder_in_a_volume() -> None:
    image = last_stage()
    assert yaml.safe_load(image["VOLUME"]) == ["/state"]
    assert "XDG_STATE_HOME=/state" in image["ENV"].split()
    assert f"--owner {image['USER'].partition(':')[0]}" in image["RUN"]


def test_the_container_s_program_extras_and_files_are_there() -> None:
    """
    A container is built where nobody tries these lines.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (program,) = yaml.safe_load(last_stage()["ENTRYPOINT"])
    assert program in project["scripts"]
    extras = re.findall(r"\[([a-z,]+)\]", " ".join(rest for word, rest in instructions()
                                                  if word == "RUN"))  # fmt: skip
    assert len(extras) == 2
    assert set(",".join(extras).split(",")) <= set(project["optional-dependencies"])
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    assert all((ROOT / name).exists() for names in copied for name in names)


@pytest.mark.skipif(
    subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="this machine makes no process namespaces",
)
def test_the_container_s_signal_ends_the_first_process_and_the_run_goes_on_later(
    site: Site,
) -> None:
    """
    As process 1, which no signal ends unless it is handled; again, and nothing is paid twice.
    """
    (site.folder / "images").rmdir()
    site.set_up(rows=30)
    command = ["fluxbatch", "run", "night.csv", "--out", "dataset", "--yes"]
    env = site.environment(EACHLABS_API_KEY=_KEY, XDG_STATE_HOME=str(site.folder / "state"))
    with subprocess.Popen(
        [*_UNSHARE, *command], cwd=site.folder, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_for_creates(site.emulator, 5)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), getattr(signal, last_stage()["STOPSIGNAL"]))
        _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, said
    again = site.run(command, env)
    assert again.returncode == 0, again.stderr
    assert site.emulator.stats()["billed"] == 30
    assert site.emulator.stats()["double_billed"] == 0


# Kubernetes


def objects() -> dict[str, Any]:
    """What the file makes, by kind."""
    text = (DEPLOY / "kubernetes.yaml").read_text()
    return {one["kind"]: one for one in yaml.safe_load(text)["items"]}


def job() -> dict[str, Any]:
    spec: dict[str, Any] = objects()["Job"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (only,) = job()["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("kind", ["ConfigMap", "Job", "CronJob"])
def test_kubernetes_knows_every_field(kind: str, version: str) -> None:
    """
    From the version on in which failure policies are stable.
    """
    assert kubernetes_validate.validate(objects()[kind], version, strict=True) == version


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    wrong = objects()["Job"] | {"spec": job() | {"paralelism": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="paralelism"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_kubernetes_takes_the_ends_of_a_run_for_ends_and_tries_the_rest_again() -> None:
    """
    Exit 3 and 4 are no failures of a pod: one more would only be told so again.
    """
    rules = {rule["action"]: rule for rule in job()["podFailurePolicy"]["rules"]}
    codes = rules["FailJob"]["onExitCodes"]
    assert set(codes["values"]) == {*ENDS, ExitCode.USAGE} - {ExitCode.DONE}
    assert {ExitCode.SOME_FAILED, ExitCode.STOPPED} <= set(codes["values"])
    assert codes["containerName"] == container()["name"]
    assert job()["template"]["spec"]["restartPolicy"] == "Never"
    assert "completions" not in job()


def test_kubernetes_starts_the_same_every_night_and_never_two_nights_at_once() -> None:
    nightly = objects()["CronJob"]["spec"]
    assert nightly["jobTemplate"]["spec"] == job()
    assert nightly["concurrencyPolicy"] == "Forbid"


def test_kubernetes_has_keys_and_password_from_a_secret_alone() -> None:
    secret = [
        one["name"] for one in container()["env"] if "secretKeyRef" in one.get("valueFrom", {})
    ]
    assert sorted(secret) == ["EACHLABS_API_KEYS", "PGPASSWORD"]
    assert not [one for one in container()["env"] if "value" in one]


def test_a_pod_is_not_root_and_writes_where_the_container_has_its_state() -> None:
    pod = job()["template"]["spec"]
    user = last_stage()["USER"].partition(":")[0]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {m["mountPath"] for m in container()["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/state", "/tmp"}


def test_the_pods_of_a_job_make_one_run(site: Site) -> None:
    """
    Its arguments and its config, the addresses apart; a pod that comes late buys nothing.
    """
    data = objects()["ConfigMap"]["data"]
    config = data["night.yaml"].replace("s3://BUCKET/pictures", f"file://{site.folder}/images")
    (site.folder / "night.yaml").write_text(config)
    header, _ = data["night.csv"].split("\n", 1)
    assert (site.folder / "night.csv").read_text().startswith(f"{header}\n")
    told = {"/config/": f"{site.folder}/", _EXAMPLE: site.dataset, "$(RUN_NAME)": "night-2893"}
    command = shlex.join(["fluxbatch", *container()["args"]])
    for shown, meant in told.items():
        assert shown in command
        command = command.replace(shown, meant)
    env = site.environment(EACHLABS_API_KEYS=_KEY, PGPASSWORD="p")
    pods = [
        subprocess.Popen(
            shlex.split(command), env=env | {"XDG_STATE_HOME": str(site.folder / f"state-{n}")},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for n in range(2)
    ]  # fmt: skip
    assert [pod.wait(90) for pod in pods] == [0, 0]
    late = site.run(shlex.split(command), env)
    assert late.returncode == 0, late.stderr
    assert site.emulator.stats()["billed"] == 6


# systemd


def settings_of(unit: Path) -> list[tuple[str, str]]:
    lines = [line for line in unit.read_text().splitlines() if re.match(r"[A-Za-z]+=", line)]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def one_setting(unit: Path, name: str) -> str:
    (value,) = [value for key, value in settings_of(unit) if key == name]
    return value


SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    """
    But for the program's place, which is another one here.
    """
    for one in UNITS:
        (tmp_path / one.name).write_text(
            one.read_text().replace(_PROGRAM, shutil.which("true") or "")
        )
    name = unit.name.replace("@.", "@night.")
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_takes_the_ends_of_a_run_for_ends(unit: Path) -> None:
    said = dict(settings_of(unit))
    assert said["SuccessExitStatus"].split() == ["3", "4"]
    assert said["KillSignal"] == "SIGINT"
    if "Restart" in said:
        never = {int(code) for code in said["RestartPreventExitStatus"].split()}
        assert never == {*ENDS, ExitCode.USAGE} - {ExitCode.DONE}


def test_the_timer_starts_the_service_of_its_name() -> None:
    timer = DEPLOY / "systemd" / "fluxbatch-nightly.timer"
    assert one_setting(timer, "Persistent") == "true"
    assert "Unit" not in dict(settings_of(timer))
    assert timer.with_suffix(".service") in UNITS


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_command_of_a_service_makes_the_jobs(unit: Path, site: Site) -> None:
    """
    With the environment that the unit gives it: keys by file, a home of its own.
    """
    shutil.copy(site.folder / "night.yaml", site.folder / "nightly.yaml")
    (site.folder / "pgpass").touch(mode=0o600)
    told = {
        _PROGRAM: "fluxbatch", "/etc/fluxbatch": str(site.folder), _EXAMPLE: site.dataset,
        "%i": "2026-11-27", "%d": str(site.folder), "%S": str(site.folder / "S"),
    }  # fmt: skip
    if _EXAMPLE not in one_setting(unit, "ExecStart"):
        (site.folder / "nightly.yaml").write_text("manifest: night.csv\n")
    texts = [one_setting(unit, "ExecStart")]
    texts += [value for name, value in settings_of(unit) if name == "Environment"]
    for shown, meant in told.items():
        texts = [text.replace(shown, meant) for text in texts]
    given = dict(pair.split("=", 1) for text in texts[1:] for pair in text.split())
    # By day the deadline is as far off as it gets.
    command = texts[0].replace("--deadline 06:00", "--max-duration 12h")
    ended = site.run(shlex.split(command), site.environment(**given))
    assert ended.returncode == 0, ended.stderr
    assert site.emulator.stats()["billed"] == 6


# Slurm


def test_the_slurm_script_is_bash_and_its_options_stand_before_its_commands() -> None:
    """
    sbatch reads no option behind the first command.
    """
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    options = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    commands = [n for n, line in enumerate(lines) if line and not line.startswith("#")]
    assert max(options) < min(commands)
    assert "#SBATCH --export=NONE" in lines
    assert os.access(script, os.X_OK)


def slurm_environment(site: Site) -> dict[str, str]:
    return site.environment(
        CONFIG=str(site.folder / "night.yaml"),
        DATASET=site.dataset,
        EACHLABS_API_KEY_FILE=str(site.folder / "keys"),
        PGPASSFILE=str(site.folder / "pgpass"),
        XDG_STATE_HOME=str(site.folder / "state"),
    )


def test_the_slurm_script_gives_every_node_the_same_run(site: Site) -> None:
    """
    A program in the place of `srun` starts what it is given three times, as three nodes would.
    """
    env = slurm_environment(site) | {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "3"}
    srun = site.folder / "bin" / "srun"
    srun.write_text(
        '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\n'
        "pids=()\n"
        'for n in 1 2 3; do XDG_STATE_HOME="$XDG_STATE_HOME-$n" "$@" & pids+=($!); done\n'
        'code=0; for pid in "${pids[@]}"; do wait "$pid" || code=$?; done; exit $code\n'
    )  # fmt: skip
    srun.chmod(0o755)
    for _ in range(2):  # again: as a job that is requeued
        ended = site.run([str(DEPLOY / "slurm.sh")], env)
        assert ended.returncode == 0, ended.stderr
    assert "slurm-4711" in site.run(["fluxbatch", "status", site.dataset], env).stdout
    assert site.emulator.stats()["billed"] == 6


@pytest.mark.skipif(
    shutil.which("sbatch") is None
    or subprocess.run(["sinfo"], capture_output=True, check=False).returncode != 0,
    reason="no Slurm answers here",
)
def test_slurm_runs_the_script_on_three_nodes(site: Site) -> None:
    env = slurm_environment(site)
    names = [*SCALED, "EACHLABS_BASE_URL", "CONFIG", "DATASET", "EACHLABS_API_KEY_FILE", "PATH",
             "PGPASSFILE", "XDG_STATE_HOME", "SLURM_CONF", "LD_LIBRARY_PATH"]  # fmt: skip
    exported = ",".join(f"{name}={env[name]}" for name in names if name in env)
    ended = site.run(
        ["sbatch", "--wait", f"--export={exported}", "--cpus-per-task=1", "--output=job.txt",
         str(DEPLOY / "slurm.sh")],
        env,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr + (site.folder / "job.txt").read_text()
    assert site.emulator.stats()["billed"] == 6
    assert "6 of 6 jobs done" in (site.folder / "job.txt").read_text()
