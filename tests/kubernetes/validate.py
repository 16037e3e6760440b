"""Validates manifests against the OpenAPI schemas of Kubernetes: validate.py VERSION..., with YAML on standard input.

Strictly: a field that the schema does not know is an error. Prints one line per finding, and at last how many objects were
looked at. Kinds that come with somebody's custom resources have no schema here; they are named, for the caller to judge.
"""

import sys

import kubernetes_validate
import yaml


def items(document):
    if document is None:
        return []
    if document.get("kind") == "List":
        return document["items"]
    return [document]


def main():
    objects = [item for document in yaml.safe_load_all(sys.stdin) for item in items(document)]
    validated = 0
    for version in sys.argv[1:]:
        for resource in objects:
            name = f"{resource['kind']} {resource['metadata'].get('name')}"
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                print(f"unknown: {resource['apiVersion']} {resource['kind']}")
                continue
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(step) for step in error.path)
                print(f"invalid: {version}: {name}: {path}: {error.message}")
            validated += 1
    print(f"validated: {validated}")


main()
