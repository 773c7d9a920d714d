"""Everything in infra/ against what will read it, without a cluster: CRD schemas, Ray's validators, hadolint."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.config.load import build
from pipelines.serve import proxy
from pipelines.serve.app import shutdown_s
from pipelines.serve.settings import ServeArgs
from tests.conftest import ROOT
from tests.support import tiny

INFRA = ROOT / "infra"
MANIFESTS = sorted((INFRA / "kubernetes").glob("*.yaml"))
PINS = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
RAY_VERSION = PINS["ray"]


def schemas() -> Path | None:
    """Folder of KubeRay's CRDs: named by KUBERAY_CRDS, or shared/data/kuberay beside this checkout or above it."""
    named = os.environ.get("KUBERAY_CRDS")
    places = [Path(named)] if named else [parent / "shared" / "data" / "kuberay" for parent in ROOT.parents]
    return next((place for place in places if place.is_dir()), None)


def documents(*paths: Path) -> Iterator[dict[str, Any]]:
    for path in paths:
        yield from yaml.safe_load_all(path.read_text())


def values(tree: Any, key: str) -> Iterator[Any]:
    """Every value under `key`, at any depth."""
    if isinstance(tree, dict):
        if key in tree:
            yield tree[key]
        for item in tree.values():
            yield from values(item, key)
    elif isinstance(tree, list):
        for item in tree:
            yield from values(item, key)


def strict(schema: Any) -> Any:
    """An OpenAPI schema of Kubernetes as JSON schema that refuses unknown fields."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    plain = {name: strict(item) for name, item in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        plain["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields", False))
    return plain


@pytest.fixture(scope="module")
def crds() -> dict[str, Any]:
    """Kind -> JSON schema of a whole object."""
    folder = schemas()
    if folder is None:
        pytest.skip("KubeRay's CRD schemas are not beside this checkout; set KUBERAY_CRDS to their folder")
    found = {}
    for file in folder.glob("*.yaml.gz"):
        crd = yaml.load(gzip.decompress(file.read_bytes()), Loader=yaml.CSafeLoader)
        version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[crd["spec"]["names"]["kind"]] = schema
    return found


def test_manifests_are_what_kuberay_knows(crds: dict[str, Any]) -> None:
    ours = [document for document in documents(*MANIFESTS) if document["apiVersion"] == "ray.io/v1"]
    assert sorted(document["kind"] for document in ours) == ["RayCluster", "RayJob", "RayService"]
    for document in ours:
        validator = jsonschema.Draft202012Validator(crds[document["kind"]])
        assert not [f"{e.json_path}: {e.message}" for e in validator.iter_errors(document)]
        # The schemas do catch a slip of the pen, however deep.
        group = next(iter(values(document, "workerGroupSpecs")))[0]
        group["template"]["spec"]["containers"][0]["resorces"] = {}
        assert len(list(validator.iter_errors(document))) == 1


def test_what_the_schemas_cannot_say() -> None:
    """Rules that KubeRay's operator checks in code: name lengths, token auth, deletion rules, autoscaler v2."""
    secrets = {"hf-token", "api-keys"}
    volumes = {document["metadata"]["name"] for document in documents(*MANIFESTS)}
    for document in documents(*MANIFESTS):
        if document["apiVersion"] != "ray.io/v1":
            continue
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", document["metadata"]["name"])
        assert next(values(document, "authOptions")) == {"mode": "token"}
        assert next(values(document, "autoscalerOptions"))["version"] == "v2"
        assert list(values(document, "rayVersion")) == [RAY_VERSION]
        for image in values(document, "image"):
            assert image.rpartition(":")[2] == RAY_VERSION
        head = next(values(document, "headGroupSpec"))
        assert head["rayStartParams"]["num-cpus"] == "0"
        for group in next(values(document, "workerGroupSpecs")):
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        for template in values(document, "template"):
            pod = template["spec"]
            assert pod["restartPolicy"] == "Never"  # the autoscaler replaces pods, Kubernetes must not restart them
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["serviceAccountName"] in volumes
            mounted = {mount["name"] for mount in values(pod["containers"], "volumeMounts") for mount in mount}
            assert mounted == {volume["name"] for volume in pod["volumes"]}
            for container in pod["containers"]:
                assert container["resources"]["requests"] == container["resources"]["limits"]
            for claim in values(pod, "claimName"):
                assert claim in volumes
            for reference in values(pod, "secretKeyRef"):
                assert reference["key"] in secrets
    (job,) = (d for d in documents(*MANIFESTS) if d["kind"] == "RayJob")
    assert "shutdownAfterJobFinishes" not in job["spec"]  # excluded by deletion rules
    rules = job["spec"]["deletionStrategy"]["deletionRules"]
    waits = [(rule["policy"], rule["condition"]["ttlSeconds"]) for rule in rules]
    assert dict(waits)["DeleteWorkers"] < dict(waits)["DeleteCluster"]
    assert job["spec"]["backoffLimit"] > 0


def test_the_jobs_config_is_one_of_ours() -> None:
    (job,) = (d for d in documents(INFRA / "kubernetes" / "rayjob.yaml") if d["kind"] == "RayJob")
    (stored,) = (d for d in documents(INFRA / "kubernetes" / "rayjob.yaml") if d["kind"] == "ConfigMap")
    assert "--config /etc/raydiance/run.toml" in job["spec"]["entrypoint"]
    settings = build(tomllib.loads(stored["data"]["run.toml"]), file="run.toml")
    groups = {group["groupName"]: group for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    gpus = groups["gpu-spot"]["maxReplicas"] + groups["gpu-on-demand"]["maxReplicas"]
    assert settings.ray.generators * settings.ray.gpus_per_generator <= gpus


def test_serve_config() -> None:
    from ray.serve.schema import ServeDeploySchema

    table = yaml.safe_load((INFRA / "serve.yaml").read_text())
    schema = ServeDeploySchema.model_validate(table)
    assert schema.http_options.host == "127.0.0.1"
    (service,) = (d for d in documents(INFRA / "kubernetes" / "rayservice.yaml") if d["kind"] == "RayService")
    inside = yaml.safe_load(service["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(inside)
    args = [app.pop("args", {}) for app in (*table["applications"], *inside["applications"])]
    assert inside["applications"] == table["applications"]
    given = [ServeArgs(**one) for one in args]
    cluster = service["spec"]["rayClusterConfig"]
    head, workers = cluster["headGroupSpec"]["template"]["spec"], cluster["workerGroupSpecs"][0]["template"]["spec"]
    for (container,) in (head["containers"], workers["containers"]):
        assert {"name": proxy.VARIABLE, "value": proxy.PLACE} in container["env"]
    assert workers["terminationGracePeriodSeconds"] >= shutdown_s(given[-1])


def test_cluster_launcher() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    table = yaml.safe_load((INFRA / "aws" / "cluster.yaml").read_text())
    validate_config(prepare_config(table))
    assert table["docker"]["image"].rpartition(":")[2] == RAY_VERSION
    nodes = table["available_node_types"]
    assert sum(node.get("max_workers", 0) for node in nodes.values()) <= table["max_workers"]
    for node in nodes.values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    ingress = table["provider"]["security_group"]["IpPermissions"]
    assert all(not source["CidrIp"].endswith("/0") for rule in ingress for source in rule["IpRanges"])
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**table, "max_wrokers": 3}))


def test_s3_policy_grants_no_more_than_the_job_does() -> None:
    statements = json.loads((INFRA / "aws" / "s3-policy.json").read_text())["Statement"]
    for statement in statements:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions)
        resource = statement["Resource"]
        if actions == ["s3:ListBucket"]:
            assert statement["Condition"]["StringLike"]["s3:prefix"]
        else:
            assert resource.endswith(("/prompts/*", "/runs/*"))
        if "s3:PutObject" in actions:
            assert resource.endswith("/runs/*")


def test_dockerfile() -> None:
    dockerfile = INFRA / "Dockerfile"
    done = subprocess.run([tiny.tool("hadolint"), str(dockerfile)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    text = dockerfile.read_text()
    assert re.search(r"^USER 1000$", text, re.MULTILINE)
    assert set(re.findall(r"raydiance:([\d.]+)", text)) == {RAY_VERSION}
    program = re.search(r'RUN python -c "(.+?)" \\\n', text, re.DOTALL)
    assert program
    code = [sys.executable, "-c", program[1].replace("\\\n", "")]
    listed = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"ray", "python-multipart", "av"} <= set(re.findall(r"^[\w-]+", listed, re.MULTILINE))
    ignored = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def test_prometheus() -> None:
    table = yaml.safe_load((INFRA / "prometheus.yaml").read_text())
    assert {job["job_name"] for job in table["scrape_configs"]} == {"ray", "kuberay"}
