"""Language, files and base images -> a Dockerfile that a careful person would have written; pure.

No step needs a shell, so that base images without one will do. The service runs as a user that owns nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from hms_nomad.build.errors import BuildError
from hms_nomad.build.language import Found

BASES: Mapping[str, str] = {
    "python": "docker.io/library/python:3.13-slim",
    "node": "docker.io/library/node:24-slim",
    "go": "docker.io/library/golang:1.26",
    "java": "docker.io/library/eclipse-temurin:25-jdk",
    "java-run": "docker.io/library/eclipse-temurin:25-jre",
    "static": "scratch",
}
"""Base images where the platform names none."""

_HEAD = "# Made by hms-nomad for {language} ({because}). To keep and change it: hms-nomad build --eject\n"
_USER = "USER 10001:10001"


def made_dockerfile(found: Found, entry: tuple[str, ...], files: tuple[str, ...], bases: Mapping[str, str]) -> str:
    """The text of a Dockerfile; ``entry`` overrules how the service is started.

    Raises BuildError where nothing says how that is.
    """
    chosen = {**BASES, **bases}
    command = entry or found.entry
    if not command:
        raise BuildError(
            f"the sources are {found.language} ({found.because}), but nothing says how the service is started; say it: "
            "build: {entry: [program, argument]}"
        )
    lines = _STAGES[found.language](frozenset(files), chosen)
    head = _HEAD.format(language=found.language, because=found.because)
    return head + "\n".join([*lines, _USER, f"ENTRYPOINT {json.dumps(list(command))}", ""])


def bases_of(dockerfile: str) -> tuple[str, ...]:
    """The images that a Dockerfile begins its stages with, without its own stages and ``scratch``."""
    found: list[str] = []
    stages: set[str] = {"scratch"}
    for line in dockerfile.splitlines():
        words = [word for word in line.split() if not word.startswith("--")]
        if len(words) >= 2 and words[0].upper() == "FROM":
            if words[1] not in stages:
                found.append(words[1])
            if len(words) >= 4 and words[2].upper() == "AS":
                stages.add(words[3])
    return tuple(dict.fromkeys(found))


def _python(files: frozenset[str], bases: Mapping[str, str]) -> list[str]:
    lines = [f"FROM {bases['python']}", "WORKDIR /app", "ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1"]
    if "requirements.txt" in files:
        pip = ["python3", "-m", "pip", "install", "--no-cache-dir", "--requirement", "requirements.txt"]
        lines += ["COPY requirements.txt ./", f"RUN {json.dumps(pip)}"]
    lines.append("COPY . .")
    if "requirements.txt" not in files and "pyproject.toml" in files:
        lines.append(f"RUN {json.dumps(['python3', '-m', 'pip', 'install', '--no-cache-dir', '.'])}")
    return lines


def _node(files: frozenset[str], bases: Mapping[str, str]) -> list[str]:
    lines = [f"FROM {bases['node']}", "WORKDIR /app", "ENV NODE_ENV=production"]
    carried = any(PurePosixPath(name).parts[0] == "node_modules" for name in files)
    if "package.json" in files and not carried:
        locked = "package-lock.json" in files
        install = ["npm", "ci", "--omit=dev"] if locked else ["npm", "install", "--omit=dev"]
        lines += [f"COPY package.json {'package-lock.json ' if locked else ''}./", f"RUN {json.dumps(install)}"]
    return [*lines, "COPY . ."]


def _go(files: frozenset[str], bases: Mapping[str, str]) -> list[str]:
    lines = [f"FROM {bases['go']} AS build", "WORKDIR /src", "ENV CGO_ENABLED=0"]
    if "go.sum" in files:
        lines += ["COPY go.mod go.sum ./", f"RUN {json.dumps(['go', 'mod', 'download'])}"]
    build = ["go", "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", "/out/app", "."]
    return [
        *lines,
        "COPY . .",
        f"RUN {json.dumps(build)}",
        f"FROM {bases['static']}",
        "COPY --from=build /out/app /app",
    ]


def _java(files: frozenset[str], bases: Mapping[str, str]) -> list[str]:
    if "pom.xml" in files or any(name.startswith("build.gradle") for name in files):
        maven = "pom.xml" in files
        wrapper, name = ("./mvnw", "mvn") if maven else ("./gradlew", "gradle")
        tool = wrapper if wrapper.removeprefix("./") in files else name
        run = [tool, "-q", "package", "-DskipTests"] if maven else [tool, "--no-daemon", "bootJar"]
        made = "target/*.jar" if maven else "build/libs/*.jar"
        first = [f"FROM {bases['java']} AS build", "WORKDIR /src", "COPY . .", f"RUN {json.dumps(run)}"]
        return [*first, f"FROM {bases['java-run']}", "WORKDIR /app", f"COPY --from=build /src/{made} /app/app.jar"]
    runs_sources = any(name.endswith(".java") for name in files)
    return [f"FROM {bases['java' if runs_sources else 'java-run']}", "WORKDIR /app", "COPY . ."]


def _static(files: frozenset[str], bases: Mapping[str, str]) -> list[str]:
    del files
    return [f"FROM {bases['static']}", "COPY . /"]


_STAGES = {"python": _python, "node": _node, "go": _go, "java": _java, "static": _static}
