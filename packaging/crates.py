#!/usr/bin/env python3
"""Says what a program is made of: its licences (`copyright`, and the notices in `third-party`) and its parts (CycloneDX 1.5).

crates.py PROGRAM METADATA LOCK DIRECTORY: `cargo metadata` for one platform, Cargo.lock, and where the three files go. The same input
gives the same bytes. A crate that only builds or tests is no part; one that Cargo would link in any of the workspace's programs is.
"""

import hashlib
import json
import os
import re
import sys
import uuid

NOTICE = re.compile(r"^(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)", re.IGNORECASE)
# Sources of others inside a crate have notices of their own, not deeper than this.
DEPTH = 3
# Of no crate.
BESIDE = """\
Rust's standard library: MIT or Apache-2.0.
Start-up code and run-time support of LLVM (compiler-rt, libunwind): Apache-2.0 with LLVM exceptions.
Start-up code of the GNU C library: LGPL-2.1 or later, with the exception that it may be linked into any program.
SQLite (in libsqlite3-sys): in the public domain.
"""


def parts(program, metadata):
    """The crates that are linked into the program, itself apart, sorted."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    macro = {key for key, package in packages.items() if any("proc-macro" in target["kind"] for target in package["targets"])}
    root = next(key for key, package in packages.items() if package["name"] == program and package["source"] is None)
    edges, ahead = {}, [root]
    while ahead:
        key = ahead.pop()
        if key in edges:
            continue
        linked = [dep["pkg"] for dep in nodes[key]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        edges[key] = sorted(set(linked) - macro)
        ahead += edges[key]
    order = sorted(edges, key=lambda key: (packages[key]["name"], packages[key]["version"]))
    others = [packages[key] for key in order if key != root]
    return packages[root], others, {purl(packages[key]): [purl(packages[other]) for other in edges[key]] for key in order}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def licence(package):
    """As SPDX has it: some still write `/` for `OR`."""
    return re.sub(r"\s*/\s*", " OR ", package["license"] or "NOASSERTION")


def checksums(lock):
    found = re.finditer(r'name = "(.+)"\nversion = "(.+)"\nsource = .+\nchecksum = "(.+)"', lock)
    return {(name, version): checksum for name, version, checksum in (match.groups() for match in found)}


def notices(package):
    """(where in the crate, text), sorted."""
    top = os.path.dirname(package["manifest_path"])
    for directory, below, names in sorted(os.walk(top)):
        inside = os.path.relpath(directory, top)
        if inside.count(os.sep) >= DEPTH or "test" in inside:
            below.clear()
            continue
        for name in sorted(filter(NOTICE.match, names)):
            with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
                text = "\n".join(line.rstrip() for line in file.read().splitlines()).strip()
            if text and not name.endswith((".rs", ".c", ".h", ".py")):
                yield os.path.normpath(os.path.join(inside, name)), text


def third_party(packages):
    """Each notice once, with the crates that have it."""
    holders = {}
    for package in packages:
        found = list(notices(package))
        for where, text in found:
            holders.setdefault(text, []).append(f"{package['name']} {package['version']} ({where})")
        if not found:
            authors = ", ".join(package["authors"]) or "its authors"
            text = f"{licence(package)}, by {authors}; the crate brings no text of it."
            holders.setdefault(text, []).append(f"{package['name']} {package['version']}")
    rule = "-" * 78
    blocks = [f"{rule}\n" + "\n".join(names) + f"\n{rule}\n{text}\n" for text, names in holders.items()]
    return f"{rule}\nbeside the crates\n{rule}\n{BESIDE}" + "".join(blocks)


def copyright(program, packages):
    """As in copyright-format/1.0; the crates' sources are no files of this package, so they stand in a comment."""
    lines = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
        "Upstream-Name: flytt",
        "Comment:",
        f" The program is linked with the crates below, each under its own licence. Their notices are in third-party.gz,",
        f" and the list is in {program}.cdx.json.gz for machines.",
        " .",
    ]
    lines += [f" {package['name']} {package['version']}: {licence(package)}" for package in packages]
    lines += [
        "",
        "Files: *",
        "Copyright: 2026 the flytt contributors",
        "License: Apache-2.0",
        " On Debian systems the full text of the Apache License, Version 2.0, is in /usr/share/common-licenses/Apache-2.0.",
        "",
    ]
    return "\n".join(lines)


def bill(root, packages, edges, sums):
    """CycloneDX 1.5. Its number is a digest of the rest: no clock, no chance."""
    def component(package, kind):
        about = {
            "type": kind,
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "licenses": [{"expression": licence(package)}],
            "purl": purl(package),
        }
        checksum = sums.get((package["name"], package["version"]))
        if checksum:
            about["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return about

    whole = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, "application")},
        "components": [component(package, "library") for package in packages],
        "dependencies": [{"ref": ref, "dependsOn": on} for ref, on in edges.items()],
    }
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).digest()
    return {**whole, "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}"}


def main():
    program, metadata, lock, directory = sys.argv[1:]
    with open(metadata, encoding="utf-8") as file:
        root, packages, edges = parts(program, json.load(file))
    with open(lock, encoding="utf-8") as file:
        sums = checksums(file.read())
    of_others = [package for package in packages if package["source"]]
    files = {
        "copyright": copyright(program, of_others),
        "third-party": third_party(of_others),
        f"{program}.cdx.json": json.dumps(bill(root, packages, edges, sums), indent=1, sort_keys=True) + "\n",
    }
    for name, text in files.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
    print(f"packages: {program} is made of {len(of_others)} crates", file=sys.stderr)


main()
