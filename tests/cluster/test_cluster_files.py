"""`cluster/*.yaml`, as Ray's own code reads them, without a cloud: schema, defaults, options of `ray start`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = ("local", "aws", "gcp")
LOOPBACK = "127.0.0.1"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    return found


def prepared(name: str) -> dict[str, Any]:
    """A file as `ray up` understands it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(read(name))
    validate_config(config)
    return config


def starts(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The options of the `ray start` of the head or the workers, read by Ray's own command line."""
    from ray.scripts.scripts import start

    line = config[f"{where}_start_ray_commands"][-1]
    words = shlex.split(line.replace("$RAY_HEAD_IP", "192.0.2.10"))
    options = words[words.index("start") + 1 :]
    return dict(start.make_context("start", options).params)


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str) -> None:
    config = prepared(name)
    types = config["available_node_types"]
    assert all(0 <= kind["min_workers"] <= kind["max_workers"] for kind in types.values())
    assert sum(kind["max_workers"] for kind in types.values()) <= config["max_workers"] + (name == "local")
    assert config["idle_timeout_minutes"] > 0


@pytest.mark.parametrize("name", FILES)
def test_the_head_runs_no_work_and_its_dashboard_listens_on_loopback(name: str) -> None:
    config = read(name)
    head, worker = starts(config, "head"), starts(config, "worker")
    assert head["head"]
    assert (head["num_cpus"], head["num_gpus"]) == (0, 0)
    assert head["dashboard_host"] == LOOPBACK
    assert not worker["head"]
    assert worker["address"].endswith(f":{head['port']}")
    same = ("object_manager_port", "node_manager_port", "min_worker_port", "max_worker_port", "metrics_export_port",
            "dashboard_agent_grpc_port", "runtime_env_agent_port")  # fmt: skip
    assert [head[key] for key in same] == [worker[key] for key in same]


@pytest.mark.parametrize("name", FILES)
def test_every_node_asks_for_the_token_which_travels_over_ssh(name: str) -> None:
    config = read(name)
    for where in ("head", "worker"):
        assert "RAY_AUTH_MODE=token" in config[f"{where}_start_ray_commands"][-1]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    text = (ROOT / "cluster" / f"{name}.yaml").read_text()
    assert not re.search(r"(?i)(secret|password|auth_token)\s*[:=]\s*[^\s#~]", text)


@pytest.mark.parametrize("name", FILES)
def test_what_is_mounted_is_in_the_repository_and_enough_to_install(name: str) -> None:
    mounts = read(name)["file_mounts"]
    ours = {remote: local for remote, local in mounts.items() if remote.startswith("~/mocap_ray/")}
    assert all((ROOT / local).exists() for local in ours.values())
    needed = {
        "mocap_ray",
        "configs",
        "cluster",
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
        "README.md",
        "LICENSE",
    }
    assert needed <= set(ours.values())  # hatchling reads the last two


def test_every_locked_version_but_torchs_has_hashes() -> None:
    lock, hashes = ((ROOT / f"requirements.{name}").read_text() for name in ("lock", "hashes"))
    locked = {line for line in lock.splitlines() if re.match(r"\S+==", line)}
    hashed = set(re.findall(r"(?m)^(\S+==\S+) \\\n    --hash=sha256:[0-9a-f]{64}", hashes))
    assert locked - hashed == {line for line in locked if line.startswith("torch==")}, "run `make hashes`"
    assert hashed <= locked, "run `make hashes`"


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_extraction_runs_on_spot_machines_and_training_does_not(name: str) -> None:
    config = prepared(name)
    types = config["available_node_types"]
    spot = {kind for kind, value in types.items() if re.search(r"(?i)spot", str(value["node_config"]))}
    assert spot == {"extraction"}
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["head"]["max_workers"] == 0
    assert types["training"]["resources"]["GPU"] > 0
    assert {kind for kind, value in types.items() if value["min_workers"]} == set()


def test_amazon_would_start_every_kind_of_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray's own preparation and node provider for AWS, against a server on loopback that behaves like EC2 (moto)."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    (tmp_path / ".ssh").mkdir()
    try:
        host, port = server.get_host_and_port()
        settings = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(tmp_path),  # Ray writes the key pair that it makes into ~/.ssh
        }  # fmt: skip
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
        _start_on_amazon(boto3)
    finally:
        server.stop()


def _start_on_amazon(boto3: Any) -> None:
    from ray.autoscaler._private.aws import config as aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = prepared("aws")
    region = config["provider"]["region"]
    iam, ec2 = (boto3.client(name, region_name=region) for name in ("iam", "ec2"))
    for name in ("mocap-ray-head", "mocap-ray-worker"):
        iam.create_instance_profile(InstanceProfileName=name)
    network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="mocap-ray", Description="cluster", VpcId=network)["GroupId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for kind in config["available_node_types"].values():
        assert kind["node_config"]["ImageId"].startswith("resolve:ssm:/aws/service/")
        # What stands for the reader's own, and an image that the server has.
        kind["node_config"] |= {"SecurityGroupIds": [group], "ImageId": image}
        kind["node_config"]["IamInstanceProfile"] = {
            "Arn": kind["node_config"]["IamInstanceProfile"]["Arn"].replace("111122223333", "123456789012")
        }
    config = aws.bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        tags = {"ray-node-type": "head" if name == "head" else "worker", "ray-user-node-type": name}
        provider.create_node(kind["node_config"], tags, 1)
    made = [one for found in ec2.describe_instances()["Reservations"] for one in found["Instances"]]
    expected = {kind["node_config"]["InstanceType"] for kind in config["available_node_types"].values()}
    assert {one["InstanceType"] for one in made} == expected
    assert {one["InstanceType"] for one in made if one.get("InstanceLifecycle") == "spot"} == {"c7i.4xlarge"}
    groups = [one["GroupId"] for one in ec2.describe_security_groups()["SecurityGroups"]]
    assert {one["SecurityGroups"][0]["GroupId"] for one in made} == {group}
    assert len(groups) == 2, "Ray made a group of its own, which allows SSH from everywhere"


def test_google_knows_every_field_of_its_machines() -> None:
    """The fields of `node_config` in the published description of Google's interface (in its Python client)."""
    client = pytest.importorskip(
        "googleapiclient", reason="cluster/tools.sh installs google-api-python-client"
    )
    import json

    folder = Path(client.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((folder / "compute.v1.json").read_text())["schemas"]
    for name, kind in prepared("gcp")["available_node_types"].items():
        _check(kind["node_config"], {"$ref": "Instance"}, schemas, name)
    with pytest.raises(AssertionError, match="preemptable"):
        _check({"scheduling": {"preemptable": True}}, {"$ref": "Instance"}, schemas, "typo")


def _check(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    """Whether a value has the types, the fields and the words of a schema of a discovery document."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kind = schema["type"]
    if kind == "object":
        assert isinstance(value, dict), where
        for key, inner in value.items():
            assert key in schema.get("properties", {}), f"{where}.{key}"
            _check(inner, schema["properties"][key], schemas, f"{where}.{key}")
    elif kind == "array":
        assert isinstance(value, list), where
        for number, inner in enumerate(value):
            _check(inner, schema["items"], schemas, f"{where}[{number}]")
    else:
        types = {"string": (str, int), "boolean": bool, "integer": int, "number": (int, float)}
        assert isinstance(value, types[kind]), f"{where}: {value!r} is no {kind}"
        assert value in schema.get("enum", [value]), f"{where}: {value!r}"
