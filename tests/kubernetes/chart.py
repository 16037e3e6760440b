"""Renders the chart with Helm's own engine: chart.py CHART, with a list of renderings as JSON on standard input.

Each rendering has values, and perhaps a release and a namespace. The answer is a list of the same length: files by the path
of their template, or the error. Lint findings come with `--lint`.
"""

import json
import sys

from helm_python import Chart, HelmError, lint


def rendered(chart, wanted):
    try:
        return {
            "files": chart.render(
                values=wanted["values"],
                name=wanted.get("release", "sidestep"),
                namespace=wanted.get("namespace", "sidestep-system"),
            )
        }
    except HelmError as error:
        return {"error": str(error)}


def main():
    path = sys.argv[1]
    if "--lint" in sys.argv:
        json.dump(lint(path, strict=True), sys.stdout)
        return
    with Chart.load(path) as chart:
        json.dump([rendered(chart, wanted) for wanted in json.load(sys.stdin)], sys.stdout)


main()
