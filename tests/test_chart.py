"""The Helm chart, rendered by Helm itself: manifests that Kubernetes takes, in which a gateway finds what it needs."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config, load
from tests import peers
from tests.helm import HelmError, Rendered
from tests.rows import by_row

pytestmark = pytest.mark.wall

ROOT = Path(__file__).parent.parent
CHART = ROOT / "deploy/helm/sip-webrtc-gateway"
VERSIONS = ("1.27", "1.37")
SECRET = {
    "GATEWAY_CLUSTER__KEY": "the-key-of-the-cluster-in-these-tests",
    "GATEWAY_IDENTITY__STORE": "redis://192.0.2.3/0",
}
HOSTS = ("192.0.2.11", "2001:db8::11")
PAGE = (ROOT / "docs/deployment.md").read_text().partition("\nhelm install ")[2].partition("\n")[0]

GOOD: dict[str, Any] = {
    "as it is": {},
    "the command of the page": ",".join(re.findall(r" --set (\S+)", PAGE)),
    "two of a cluster": {"replicas": 2, "existingSecret": "phones", "node": "sip:$(HOST_IP):5060"},
    "one that is left of them": {"existingSecret": "phones", "node": "sip:$(HOST_IP):5060"},
    "two by TLS and IPv6": {
        "replicas": 2,
        "existingSecret": "phones",
        "node": "sip:[$(HOST_IP)]:5061;transport=tls",
        "config": {
            "sip": {"listen": ["tls:[::]:5061"], "tls": {"cert": "/var/lib/gateway/c", "key": "/var/lib/gateway/k"}}
        },
    },
    "a page with a certificate": {"tlsSecret": "page", "config": {"web": {"listen": "0.0.0.0:8443"}}},
    "everything else": {
        "drainTimeout": 1_200,
        "service": {"type": "LoadBalancer"},
        "persistence": {"size": "5Gi", "storageClass": "fast"},
        "nodeSelector": {"phones": "yes"},
        "tolerations": [{"key": "phones", "operator": "Exists", "effect": "NoSchedule"}],
        "image": {"repository": "registry.example.com/gateway", "tag": "7", "pullPolicy": "Always"},
        "config": {"limits": {"max_calls": 1_000_000}},
    },
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt value": ({"replica": 2}, "replica"),
    "a misspelt value of a section": ({"persistence": {"sise": "5Gi"}}, "sise"),
    "a number of replicas in words": ({"replicas": "two"}, "replicas"),
    "several without names": ({"replicas": 2, "existingSecret": "phones"}, "node"),
    "several without a key": ({"replicas": 2, "node": "sip:$(HOST_IP):5060"}, "GATEWAY_CLUSTER__KEY"),
    "several at one address": ({"replicas": 2, "existingSecret": "phones", "node": "sip:192.0.2.1:5060"}, "node"),
    "a page where no probe comes": ({"config": {"web": {"listen": "127.0.0.1:8080"}}}, "loopback"),
}


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return Rendered(CHART, [*GOOD.values(), *(values for values, _ in BAD.values())])


@pytest.fixture(params=GOOD)
def manifests(request: pytest.FixtureRequest, rendered: Rendered) -> list[dict[str, Any]]:
    return rendered[list(GOOD).index(request.param)]


def one(manifests: list[dict[str, Any]], kind: str) -> Any:
    [found] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def containers(manifests: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
    """The pod, the gateway in it, and its plane."""
    pod = one(manifests, "StatefulSet")["spec"]["template"]["spec"]
    named = {each["name"]: each for each in pod["containers"]}
    return pod, named["gateway"], named["plane"]


def configuration(manifests: list[dict[str, Any]], folder: Path) -> Config:
    """What the gateway makes of its file and its environment, with what Kubernetes puts in."""
    pod, gateway, _ = containers(manifests)
    [kept] = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    config = one(manifests, "ConfigMap")
    assert config["metadata"]["name"] == kept
    environ: dict[str, str] = {}
    for each in gateway["env"]:
        if "valueFrom" in each:
            assert each["valueFrom"] == {"fieldRef": {"fieldPath": "status.hostIP"}}
            environ[each["name"]] = HOSTS["[$(" in str(gateway["env"])]
        else:
            # Only what stands before it is put in place.
            environ[each["name"]] = re.sub(r"\$\((\w+)\)", lambda found: environ[found[1]], each["value"])
    if "GATEWAY_CLUSTER__NODE" in environ:
        assert gateway["envFrom"] == [{"secretRef": {"name": "phones"}}]
        environ |= SECRET
    path = folder / "gateway.yaml"
    path.write_text(config["data"]["gateway.yaml"])
    ours = {name: value for name, value in environ.items() if name.startswith("GATEWAY_")}
    return load(path, ours)


@by_row("version", VERSIONS)
def test_kubernetes_takes_every_manifest(manifests: list[dict[str, Any]], version: str) -> None:
    """By its own schemas, old and new, which know every key; a key that they do not know would be seen."""
    try:
        import kubernetes_validate
    except ImportError:
        peers.missing("kubernetes-validate", "the extra `test`")
    assert sorted(manifest["kind"] for manifest in manifests) == ["ConfigMap", "Service", "StatefulSet"]
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)
    wrong = copy.deepcopy(one(manifests, "StatefulSet"))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_gateway_takes_its_configuration_and_is_asked_where_it_listens(
    manifests: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Liveness is not readiness, since a gateway that drains must not be killed for it; with a certificate by HTTPS."""
    config = configuration(manifests, tmp_path)
    _, gateway, _ = containers(manifests)
    [port] = gateway["ports"]
    assert port == {"name": "web", "containerPort": config.web.listen.port, "protocol": "TCP"}
    probes = {name: gateway[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness", "startup")}
    assert {name: asked["path"] for name, asked in probes.items()} == {
        "liveness": "/healthz",
        "readiness": "/readyz",
        "startup": "/healthz",
    }
    scheme = "HTTP" if config.web.tls.cert is None else "HTTPS"
    assert {(asked["port"], asked["scheme"]) for asked in probes.values()} == {("web", scheme)}
    service = one(manifests, "Service")
    assert service["spec"]["ports"] == [
        {"name": "web", "port": config.web.listen.port, "targetPort": "web", "protocol": "TCP"}
    ]
    told = service["metadata"]["annotations"]
    assert (told["prometheus.io/port"], told["prometheus.io/scheme"]) == (str(config.web.listen.port), scheme.lower())
    assert (
        service["spec"]["selector"].items()
        <= one(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    )


def test_a_pod_has_more_patience_than_its_calls_are_given(manifests: list[dict[str, Any]], tmp_path: Path) -> None:
    """A supervisor that kills a gateway that drains would end them."""
    pod, _, _ = containers(manifests)
    drained = configuration(manifests, tmp_path).limits.drain_timeout
    assert drained in (300, 1_200)
    assert pod["terminationGracePeriodSeconds"] == drained + 30


def test_gateway_and_plane_meet_in_the_state_folder(manifests: list[dict[str, Any]], tmp_path: Path) -> None:
    """Every mount has its volume; both containers are of one image and of the user that the image has made."""
    statefulset = one(manifests, "StatefulSet")["spec"]
    pod, gateway, plane = containers(manifests)
    claims = [claim["metadata"]["name"] for claim in statefulset["volumeClaimTemplates"]]
    there = [*claims, *(volume["name"] for volume in pod["volumes"])]
    mounts = {each["mountPath"]: each["name"] for each in gateway["volumeMounts"]}
    assert len(set(there)) == len(there)
    assert set(there) == set(mounts.values())
    assert claims == [mounts["/var/lib/gateway"]]
    assert plane["volumeMounts"] == [{"name": claims[0], "mountPath": "/var/lib/gateway"}]
    assert plane["image"] == gateway["image"]
    assert not configuration(manifests, tmp_path).media.plane_start
    assert pod["enableServiceLinks"] is False, "a Service called gateway-web would set GATEWAY_WEB_PORT"
    image = (ROOT / "deploy/Dockerfile").read_text()
    assert f"--uid {pod['securityContext']['runAsUser']} " in image
    assert "/etc/gateway/gateway.yaml" in image.rpartition("CMD")[2]
    assert "/etc/gateway" in mounts
    for container in (gateway, plane):
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_gateways_of_a_cluster_are_alone_on_their_machine_and_called_by_its_address(
    rendered: Rendered, tmp_path: Path
) -> None:
    """One gateway alone has no name among others; the last of several keeps its own, and so their key."""
    names = list(GOOD)
    nodes = {
        "as it is": None,
        "two of a cluster": f"sip:{HOSTS[0]}:5060",
        "one that is left of them": f"sip:{HOSTS[0]}:5060",
        "two by TLS and IPv6": f"sip:[{HOSTS[1]}]:5061;transport=tls",
    }
    for name, node in nodes.items():
        manifests = rendered[names.index(name)]
        pod, _, _ = containers(manifests)
        assert configuration(manifests, tmp_path).cluster.node == node
        [apart] = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert apart["topologyKey"] == "kubernetes.io/hostname"
        labels = one(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
        assert apart["labelSelector"]["matchLabels"].items() <= labels.items()
        assert pod["hostNetwork"]


def test_the_certificate_of_the_page_is_where_the_gateway_reads_it(rendered: Rendered, tmp_path: Path) -> None:
    """For the group of the pod, by the names that a Secret of type kubernetes.io/tls has."""
    manifests = rendered[list(GOOD).index("a page with a certificate")]
    tls = configuration(manifests, tmp_path).web.tls
    pod, gateway, _ = containers(manifests)
    [(volume, secret)] = [(each["name"], each["secret"]) for each in pod["volumes"] if "secret" in each]
    assert secret == {"secretName": "page", "defaultMode": 0o440}
    [folder] = [each["mountPath"] for each in gateway["volumeMounts"] if each["name"] == volume]
    assert (str(tls.cert), str(tls.key)) == (f"{folder}/tls.crt", f"{folder}/tls.key")
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_everything_else_that_can_be_said_is_said_to_kubernetes(rendered: Rendered, tmp_path: Path) -> None:
    """Values of each kind, and a number that is none of YAML's floats."""
    manifests = rendered[list(GOOD).index("everything else")]
    pod, gateway, _ = containers(manifests)
    assert configuration(manifests, tmp_path).limits.max_calls == 1_000_000
    assert (gateway["image"], gateway["imagePullPolicy"]) == ("registry.example.com/gateway:7", "Always")
    assert pod["nodeSelector"] == {"phones": "yes"}
    assert pod["tolerations"] == GOOD["everything else"]["tolerations"]
    [claim] = one(manifests, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"] == {"storage": "5Gi"}
    assert one(manifests, "Service")["spec"]["type"] == "LoadBalancer"


def test_a_changed_configuration_restarts_the_pods_and_another_value_does_not(rendered: Rendered) -> None:
    """By a sum over it that stands in the pods' template."""
    sums = {
        name: one(rendered[number], "StatefulSet")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for number, name in enumerate(GOOD)
    }
    assert sums["as it is"] == sums["two of a cluster"] != sums["everything else"]


@by_row("name", BAD)
def test_values_that_make_no_gateway_are_refused_with_a_word(rendered: Rendered, name: str) -> None:
    """Before anything is installed."""
    with pytest.raises(HelmError, match=BAD[name][1]):
        rendered[len(GOOD) + list(BAD).index(name)]


def test_helm_has_nothing_to_say_against_the_chart(rendered: Rendered) -> None:
    """`helm lint --strict`, but for a picture."""
    assert rendered.lint["errors"] == []
    assert [message["error"] for message in rendered.lint["messages"]] == ["icon is recommended"]


def test_the_chart_is_of_this_version() -> None:
    """The image that it asks for by default is this gateway's."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert chart["appVersion"] == version[1]
