"""What is in the package and in the tarball: each file with its path, mode and bytes. Nothing is written here."""

import gzip
import hashlib
import time
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from . import licences, manpage

ROOT = Path(__file__).resolve().parent.parent.parent
DEBIAN = Path(__file__).resolve().parent / "debian"
DOC = "share/doc/rsp"
# Examples that a package has in the places where they belong.
INSTALLED = ("systemd", "logrotate", "completion")


@dataclass
class Release:
    binary: Path
    said: str  # by --help
    version: str
    target: str  # as Rust names it
    revision: int
    epoch: int
    maintainer: str


@dataclass
class File:
    data: bytes
    mode: int = 0o644
    conffile: bool = False


def crates(release):
    return licences.crates(ROOT, release.target)


def text(path):
    return File(Path(path).read_bytes())


def zipped(data):
    return File(gzip.compress(data if isinstance(data, bytes) else data.encode(), 9, mtime=0))


def replaced(source, exchange):
    """A file of the project with other words in it, each of which has to be there."""
    data = (ROOT / source).read_text()
    for old, new in exchange:
        if old not in data:
            raise SystemExit(f"scripts/package: {source} has no {old!r} any more, which becomes {new!r}")
        data = data.replace(old, new)
    return File(data.encode())


def shared(release, packages):
    """What both have below /usr or /usr/local."""
    files = {"bin/rsp": File(release.binary.read_bytes(), 0o755)}
    chapters = {path.stem: path.read_text() for path in sorted((ROOT / "src/manual").glob("*.md"))}
    date = time.strftime("%Y-%m-%d", time.gmtime(release.epoch))
    for name, page in manpage.pages(release.said, chapters, release.version, date).items():
        files[f"share/man/man{name[-1]}/{name}.gz"] = zipped(page)
    files["share/bash-completion/completions/rsp"] = text(ROOT / "examples/completion/rsp.bash")
    files[f"{DOC}/licences.gz"] = zipped(licences.texts(packages))
    files[f"{DOC}/copyright"] = File(licences.copyright_file((ROOT / "LICENSE").read_text(), packages).encode())
    return files | examples()


def examples():
    files = {}
    for path in sorted((ROOT / "examples").rglob("*")):
        name = path.relative_to(ROOT / "examples")
        # The Rust program is built from the source alone.
        if path.is_file() and name.parts[0] not in INSTALLED and path.suffix != ".rs":
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            files[f"{DOC}/examples/{name}"] = File(path.read_bytes(), mode)
    return files


def tarball(release, packages):
    """Below /usr/local, which is where the units of the examples look for it."""
    files = shared(release, packages)
    for unit in ("rsp.service", "rsp.socket"):
        files[f"lib/systemd/system/{unit}"] = text(ROOT / "examples/systemd" / unit)
    files[f"{DOC}/examples/logrotate"] = text(ROOT / "examples/logrotate")
    files[f"{DOC}/examples/site.lua"] = text(DEBIAN / "site.lua")
    return files


def package(release, packages):
    files = {f"usr/{path}": file for path, file in shared(release, packages).items()}
    for unit, exchange in UNITS.items():
        files[f"usr/lib/systemd/system/{unit}"] = replaced(f"examples/systemd/{unit}", exchange)
    files[f"usr/{DOC}/changelog.Debian.gz"] = zipped(changelog(release))
    files["usr/share/lintian/overrides/rsp"] = text(DEBIAN / "lintian-overrides")
    files["etc/rsp/site.lua"] = text(DEBIAN / "site.lua")
    files["etc/logrotate.d/rsp"] = text(ROOT / "examples/logrotate")
    for path, file in files.items():
        file.conffile = path.startswith("etc/")
    return files


# The package has a user of its own, to whom keys and folders can be given, and who owns them while rsp does not run.
UNITS = {
    "rsp.service": [
        ("# /etc/systemd/system/", "# /usr/lib/systemd/system/"),
        ("/usr/local/bin", "/usr/bin"),
        ("# Its user exists only while it runs, so do not set user in site.lua.",
         "# The package has made the user, so do not set user in site.lua."),
        ("DynamicUser=yes", "User=rsp\nGroup=rsp"),
    ],
    "rsp.socket": [("# /etc/systemd/system/", "# /usr/lib/systemd/system/")],
}


def changelog(release):
    return (f"rsp ({release.version}-{release.revision}) unstable; urgency=medium\n\n  * Made by scripts/package.\n\n"
            f" -- {release.maintainer}  {formatdate(release.epoch)}\n")


def control(release, files, architecture, libraries):
    """The files of the control part."""
    size = sum(-(-len(file.data) // 1024) for file in files.values())
    fields = [
        ("Package", "rsp"), ("Version", f"{release.version}-{release.revision}"), ("Architecture", architecture),
        ("Maintainer", release.maintainer), ("Installed-Size", size), ("Depends", f"adduser, {libraries}"),
        ("Recommends", "logrotate"), ("Suggests", "bash-completion"), ("Section", "net"), ("Priority", "optional"),
        ("Description", (DEBIAN / "description").read_text().strip()),
    ]
    sums = (f"{hashlib.md5(file.data).hexdigest()}  {path}\n" for path, file in sorted(files.items()) if not file.conffile)
    conffiles = (f"/{path}\n" for path, file in sorted(files.items()) if file.conffile)
    made = {
        "control": File("".join(f"{name}: {value}\n" for name, value in fields).encode()),
        "md5sums": File("".join(sums).encode()),
        "conffiles": File("".join(conffiles).encode()),
    }
    for name in ("postinst", "prerm", "postrm"):
        made[name] = File((DEBIAN / name).read_bytes(), 0o755)
    return made
