"""The examples for clusters, as far as they run without one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser

from fiber_mmdet.engine.restarts import OWN_STORE
from fiber_mmdet.weights.configs import config_file
from tool_parser import check_mmdet_arguments

FOLDER = Path(__file__).resolve().parents[2] / 'docs/clusters'
CONFIG = 'coco/fiber_swin-b_16xb2-24e_coco'
PROGRAMS = dict(
    # writes down what it was asked to start, and ends as it is told, or when it is stopped
    srun="""
printf '%s\\n' "$@" > "$RECORD/srun.part"; mv "$RECORD/srun.part" "$RECORD/srun"
trap 'echo stopped > "$RECORD/stopped"; exit 143' TERM
[ -z "$CODE" ] || exit "$CODE"
while true; do sleep 0.05; done
""",
    scontrol="""
[ "$1" = requeue ] && echo "$2" > "$RECORD/requeue"
[ "$1" = show ] && printf 'node7\\nnode8\\n'
""",
    torchrun="""
printf '%s\\n' torchrun "$@"
""",
)


@pytest.fixture
def environment(tmp_path):
    """Variables with which a job finds programs that only write down what they are told."""
    programs = tmp_path / 'programs'
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f'#!/bin/bash\n{text}\n')
        (programs / name).chmod(0o755)
    slurm = dict(SLURM_JOB_ID='42', SLURM_JOB_NUM_NODES='2', SLURM_JOB_NODELIST='node[7-8]')
    path = os.pathsep.join([str(programs), os.environ['PATH']])
    return dict(os.environ, PATH=path, RECORD=str(tmp_path), CODE='', **slurm)


def parse(command, monkeypatch):
    """torchrun's options; its tool and arguments are checked with what they name."""
    assert command[0] == 'torchrun'
    options = get_args_parser().parse_args(command[1:])
    tool, name, *rest = options.training_script_args
    assert (options.module, options.training_script, tool) == (True, 'fiber_command', 'train')
    monkeypatch.setattr(sys, 'argv', ['train.py', name, *rest])
    check_mmdet_arguments('train.py', 'Train.')
    assert '--resume' in rest and rest[rest.index('--launcher') + 1] == 'pytorch'
    assert config_file(name).is_file() and int(options.max_restarts) > 0
    return options


def start_slurm(environment, folder):
    return subprocess.Popen(
        ['bash', str(FOLDER / 'slurm.sh'), CONFIG, 'work', '--cfg-options', 'a.b=1'],
        env=environment,
        cwd=folder,
    )


def test_a_slurm_job_ends_as_its_training(environment, tmp_path, monkeypatch):
    job = start_slurm(dict(environment, CODE='7'), tmp_path)
    assert job.wait(60) == 7 and not (tmp_path / 'requeue').exists()
    command = (tmp_path / 'srun').read_text().splitlines()
    options = parse(command[command.index('torchrun') :], monkeypatch)
    assert (options.nnodes, options.rdzv_endpoint) == ('2', 'node7:29500')
    assert options.rdzv_id == '42-0' and options.training_script_args[-1] == 'a.b=1'
    header = (FOLDER / 'slurm.sh').read_text().splitlines()
    assert '#SBATCH --signal=B:USR1@180' in header and '#SBATCH --requeue' in header
    assert any(line.startswith(f'export {OWN_STORE}=1') for line in header)


def test_a_slurm_job_is_queued_again_before_its_limit(environment, tmp_path):
    job = start_slurm(environment, tmp_path)
    end = time.monotonic() + 60
    while not (tmp_path / 'srun').exists() and time.monotonic() < end:
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(60) == 0
    assert (tmp_path / 'stopped').exists() and (tmp_path / 'requeue').read_text() == '42\n'


def test_the_job_of_kubernetes(environment, tmp_path, monkeypatch):
    service, job = yaml.safe_load_all((FOLDER / 'kubernetes.yaml').read_text())
    pod, name = job['spec']['template']['spec'], job['metadata']['name']
    (container,) = pod['containers']
    assert (service['kind'], job['kind']) == ('Service', 'Job')
    assert service['spec']['selector'] == {'job-name': name}
    assert pod['subdomain'] == service['metadata']['name']
    assert dict(name=OWN_STORE, value='1') in container['env']
    assert {m['name'] for m in container['volumeMounts']} == {v['name'] for v in pod['volumes']}
    for index, host in (('0', '1'), ('1', '0')):
        said = subprocess.run(
            container['command'],
            env=dict(environment, JOB_COMPLETION_INDEX=index),
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        options = parse(said.stdout.splitlines(), monkeypatch)
        assert options.rdzv_conf == f'is_host={host},join_timeout=3600'
        assert options.rdzv_endpoint == f'{name}-0.{pod["subdomain"]}:29500'
        assert int(options.nnodes) == job['spec']['completions'] == job['spec']['parallelism']
