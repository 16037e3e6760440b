"""Writes an injected pod as podman 4 understands it: podman.py, from YAML on standard input to YAML on standard output.

Podman knows neither native sidecars nor volumes of the downward API. The sidecar becomes the first of the containers, and its
file comes from a ConfigMap with the annotation's text. Everything else stays as injection has made it.
"""

import sys

import yaml

ANNOTATION = "metadata.annotations['"


def main():
    pod = yaml.safe_load(sys.stdin)
    spec = pod["spec"]
    sidecars = [it for it in spec["initContainers"] if it.get("restartPolicy") == "Always"]
    spec["initContainers"] = [it for it in spec["initContainers"] if it not in sidecars]
    for sidecar in sidecars:
        del sidecar["restartPolicy"]
    spec["containers"] = sidecars + spec["containers"]
    files = []
    for volume in spec["volumes"]:
        if "downwardAPI" in volume:
            [item] = volume.pop("downwardAPI")["items"]
            annotation = item["fieldRef"]["fieldPath"].removeprefix(ANNOTATION).removesuffix("']")
            text = pod["metadata"]["annotations"].pop(annotation)
            volume["configMap"] = {"name": volume["name"]}
            files.append(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": volume["name"]},
                    "data": {item["path"]: text},
                }
            )
    yaml.safe_dump_all(files + [pod], sys.stdout)


main()
