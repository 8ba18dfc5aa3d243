"""Whose work is in the binary: the crates that are linked into it, from cargo, with their licences. A binary has to
bring the notices of those whose code it contains.
"""

import json
import re
import subprocess
from pathlib import Path

FILES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
# Where a crate offers several licences, the first of these that it has.
CHOICES = ("MIT", "ISC", "Apache-2.0", "Zlib")
# A build dependency whose C sources are compiled into the binary.
COMPILED_IN = ("lua-src",)
WHERE = "/usr/share/doc/rsp/licences.gz"


def crates(root, binary_target):
    """The packages as `cargo metadata` describes them, by name."""
    cargo = lambda *words: subprocess.run(["cargo", *words], cwd=root, check=True, capture_output=True, text=True).stdout
    about = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", binary_target))
    # Unlike the metadata, the tree knows the features of the binary alone, and not those of its tests.
    tree = cargo("tree", "--locked", "--edges", "normal,no-proc-macro", "--target", binary_target, "--prefix", "none",
                 "--format", "{p}")
    linked = {tuple(text.split(" ")[:2]) for text in tree.splitlines() if text}
    is_in = lambda package: (package["name"], "v" + package["version"]) in linked or package["name"] in COMPILED_IN
    found = [package for package in about["packages"] if is_in(package) and package["source"]]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def chosen(expression):
    """The licence of a crate in the words of the copyright file."""
    # A sum of parts: of each, which may be in parentheses, one.
    parts = re.split(r" AND (?![^(]*\))", expression.replace("/", " OR "))
    alternatives = (part.strip("()").split(" OR ") for part in parts)
    names = (next((choice for choice in CHOICES if choice in offered), offered[0]) for offered in alternatives)
    return " and ".join(dict.fromkeys(names))


def texts(packages):
    """All notices, one crate after the other."""
    out = []
    for package in packages:
        folder = Path(package["manifest_path"]).parent
        files = sorted(path for path in folder.iterdir() if path.name.upper().startswith(FILES) and path.is_file())
        out.append(f"==== {package['name']} {package['version']}: {package['license']}")
        out += [f"-- {path.name}\n\n{path.read_text(errors='replace').strip()}" for path in files]
        if not files:
            out.append("(no file of its own)")
    return "\n\n".join(out) + "\n"


def copyright_file(own, packages):
    """The machine-readable format of Debian (DEP-5), one paragraph a crate; the texts are in a file beside it."""
    first, *rest = own.strip().split("\n")
    holder = next(text for text in rest if text.startswith("Copyright ")).removeprefix("Copyright (c) ")
    body = "\n".join(rest).split("\n\n", 2)[-1] if rest else first
    out = ["Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: rsp\n"
           f"Comment:\n The binary contains the crates below. Their notices are in {WHERE}.",
           f"Files: *\nCopyright: {holder}\nLicense: MIT"]
    used = {"MIT"}
    for package in packages:
        licence = chosen(package["license"])
        used |= set(licence.split(" and "))
        authors = ", ".join(re.sub(r" *<.*?>", "", author) for author in package["authors"])
        out.append(f"Files: {package['name']}-{package['version']}/*\n"
                   f"Copyright: {authors or 'the authors of ' + package['name']}\nLicense: {licence}")
    for name in sorted(used):
        text = {"MIT": deb_text(body), "Apache-2.0": " See /usr/share/common-licenses/Apache-2.0."}
        out.append(f"License: {name}\n{text.get(name, f' Its text is with the crates that have it, in {WHERE}.')}")
    return "\n\n".join(out) + "\n"


def deb_text(text):
    return "\n".join(f" {part}" if part.strip() else " ." for part in text.strip().split("\n"))
