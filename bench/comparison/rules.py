"""Writes as many different Sigma rules as are asked for, of the kinds that people write.

The same seed gives the same rules. They ask about what clusters are full of, but for names that
are theirs alone, so that most of them have to be told from what is in the log by more than a verb.
"""

import random
import uuid

READ = ["get", "list", "watch"]
WRITTEN = ["create", "update", "patch"]
RESOURCES = [
    "pods", "secrets", "configmaps", "serviceaccounts", "deployments", "daemonsets", "statefulsets", "jobs",
    "cronjobs", "services", "ingresses", "nodes", "roles", "rolebindings", "clusterroles", "clusterrolebindings",
    "networkpolicies", "persistentvolumeclaims", "namespaces", "events", "leases", "endpoints", "replicasets",
]
TEAMS = ["payments", "search", "billing", "identity", "mobile", "logistics", "pricing", "ledger", "media", "fraud"]
STAGES = ["prod", "staging", "canary", "batch", "edge", "dr"]
PARTS = ["api", "worker", "cache", "gateway", "store", "queue", "proxy", "sync", "index", "export", "vault", "ci"]
PEOPLE = ["ana", "bo", "chen", "dara", "emil", "fay", "goran", "hana", "ivo", "june", "kofi", "lena"]
IMAGES = ["toolbox", "netshoot", "scanner", "tunnel", "miner", "shell", "proxychain", "dumper", "forwarder"]
CLIENTS = ["curl", "python-requests", "kubectl", "okhttp", "axios", "Go-http-client", "hyper"]


class Author:
    """Makes up what rules look for."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, words):
        return self.random.choice(words)

    def some(self, words):
        return sorted(self.random.sample(words, self.random.randint(1, min(3, len(words)))))

    def number(self):
        return self.random.randint(1, 9999)

    def namespace(self):
        return f"{self.one(TEAMS)}-{self.one(STAGES)}-{self.number()}"

    def name(self):
        return f"{self.one(PARTS)}-{self.one(PARTS)}-{self.number()}"

    def person(self):
        return f"{self.one(PEOPLE)}{self.number()}@corp.example"

    def account(self):
        return f"system:serviceaccount:{self.namespace()}:{self.one(PARTS)}"

    def image(self):
        return f"{self.one(IMAGES)}-{self.number()}"


def reads_of_names(author):
    return (
        "Guarded objects read",
        {
            "verb": author.some(READ),
            "objectRef.resource": author.one(["secrets", "configmaps"]),
            "objectRef.name": [author.name() for _ in range(author.random.randint(1, 6))],
        },
        {"user.username": [author.account(), author.person()]},
    )


def writes_in_namespaces(author):
    return (
        "Change in a frozen namespace",
        {
            "verb": author.some(WRITTEN + ["delete"]),
            "objectRef.resource": author.some(RESOURCES),
            "objectRef.namespace|startswith": author.namespace(),
        },
        {"user.username|startswith": f"system:serviceaccount:{author.namespace()}:"},
    )


def acts_of_people(author):
    return (
        "Former member of a team at work",
        {"verb": author.some(READ + WRITTEN), "user.username": [author.person() for _ in range(3)]},
        None,
    )


def images_started(author):
    return (
        "Unwanted image started",
        {
            "verb": "create",
            "objectRef.resource": author.one(["pods", "deployments", "jobs", "daemonsets"]),
            "container.image|contains": [author.image() for _ in range(author.random.randint(1, 4))],
        },
        None,
    )


def commands_in_containers(author):
    return (
        "Suspicious program in a container",
        {
            "verb": author.some(WRITTEN),
            "container.command_line|contains": [f"{author.image()} --{author.one(PARTS)}" for _ in range(3)],
        },
        {"objectRef.namespace": author.namespace()},
    )


def paths_mounted(author):
    return (
        "Path of a node mounted",
        {
            "verb": author.some(["create", "update", "patch"]),
            "objectRef.resource": author.some(["pods", "deployments", "daemonsets"]),
            "requestObject.spec.template.spec.volumes.hostPath.path|startswith": f"/srv/{author.name()}",
        },
        None,
    )


def rights_bound(author):
    return (
        "Right given to an outsider",
        {
            "verb": ["create", "update", "patch"],
            "objectRef.resource": ["rolebindings", "clusterrolebindings"],
            "requestObject.roleRef.name": [author.name(), author.name()],
        },
        {"requestObject.subjects.name|endswith": "@corp.example"},
    )


def clients_seen(author):
    return (
        "Client of an odd version",
        {
            "userAgent|startswith": f"{author.one(CLIENTS)}/{author.number()}.{author.number()}",
            "objectRef.resource": author.some(RESOURCES),
        },
        {"user.groups": f"team:{author.one(TEAMS)}-{author.number()}"},
    )


def labels_set(author):
    return (
        "Label of another team set",
        {
            "verb": author.some(["patch", "update"]),
            "objectRef.resource": author.one(["namespaces", "nodes", "deployments"]),
            "requestObject.metadata.labels.team": f"{author.one(TEAMS)}-{author.number()}",
        },
        None,
    )


def addresses_seen(author):
    return (
        "Request from a network that was given up",
        {
            "verb": author.some(READ + WRITTEN),
            "sourceIPs|cidr": f"203.0.{author.random.randint(0, 255)}.{author.random.randrange(0, 256, 16)}/28",
        },
        None,
    )


KINDS = [
    reads_of_names, writes_in_namespaces, acts_of_people, images_started, commands_in_containers,
    paths_mounted, rights_bound, clients_seen, labels_set, addresses_seen,
]  # fmt: skip


def scalar(value):
    return "'" + str(value).replace("'", "''") + "'"


def selection(name, items):
    lines = [f"  {name}:"]
    for key, value in items.items():
        text = ", ".join(map(scalar, value)) if isinstance(value, list) else None
        lines.append(f"    {key}: [{text}]" if text is not None else f"    {key}: {scalar(value)}")
    return lines


def rule(author, kind):
    """One rule as text."""
    title, wanted, excepted = kind(author)
    lines = [
        f"title: {title} {author.number()}",
        f"id: {uuid.UUID(int=author.random.getrandbits(128), version=4)}",
        "status: test",
        "logsource: { product: kubernetes, service: audit }",
        "detection:",
        *selection("wanted", wanted),
        *(selection("excepted", excepted) if excepted else []),
        f"  condition: wanted{' and not excepted' if excepted else ''}",
        f"level: {author.one(['low', 'medium', 'high'])}",
    ]
    return "\n".join(lines) + "\n"


def write(folder, count, seed):
    """Writes so many rules into a folder, one a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.yml"):
        old.unlink()
    author = Author(seed)
    for number in range(count):
        text = rule(author, KINDS[number % len(KINDS)])
        (folder / f"{number:05}.yml").write_text(text, encoding="utf-8")
    return folder
