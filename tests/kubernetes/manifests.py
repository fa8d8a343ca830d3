"""Reads manifests of Kubernetes, or a compose file, from standard input, checks them against their
published schema, and prints them as a JSON array of documents. Other YAML is printed unchecked.

    python3 manifests.py FOLDER kubernetes|compose|other

FOLDER is that of `kes_testkit::schemas`.
"""

import json
import pathlib
import sys
import zipfile

folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, str(folder / "python"))

import jsonschema  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

VERSION = "v1.35.0"
# Kinds that other projects define: their schemas are in no package.
FOREIGN = {"cert-manager.io", "monitoring.coreos.com"}


class Schemas(jsonschema.RefResolver):
    """The schemas of Kubernetes, strict: a field that does not exist is a mistake."""

    FOLDER = f"kubernetes_validate/kubernetes-json-schema/{VERSION}-local-strict/"

    def __init__(self):
        super().__init__("", {})
        [wheel] = folder.glob("kubernetes_validate-*.whl")
        self.archive = zipfile.ZipFile(wheel)
        self.definitions = self.read("_definitions.json")["$defs"]

    def read(self, name):
        return json.loads(self.archive.read(self.FOLDER + name))

    def resolve(self, ref):
        # All are in one file: /api/_definitions.json#/$defs/NAME. A search for it takes seconds.
        return ref, self.definitions[ref.rpartition("/")[2]]

    def check(self, document):
        group, _, version = document["apiVersion"].rpartition("/")
        if group in FOREIGN:
            return
        parts = [document["kind"].lower(), *group.split(".")[:1], version]
        name = "-".join(part for part in parts if part) + ".json"
        jsonschema.Draft202012Validator(self.read(name), resolver=self).validate(document)


def compose_schema():
    return json.loads((folder / "python/compose/config/compose_spec.json").read_text())


documents = [one for one in YAML(typ="safe", pure=True).load_all(sys.stdin) if one is not None]
try:
    schemas = Schemas() if kind == "kubernetes" else None
    for document in documents:
        if kind == "compose":
            jsonschema.Draft7Validator(compose_schema()).validate(document)
        elif kind == "kubernetes":
            schemas.check(document)
except jsonschema.ValidationError as error:
    where = "/".join(str(part) for part in error.absolute_path)
    sys.exit(f"{document.get('kind', kind)}: {where}: {error.message}")
json.dump(documents, sys.stdout)
