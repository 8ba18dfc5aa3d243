"""Writes files as a Debian package or a tarball, in which only their bytes, modes and one date matter: not who writes
them, in which order a folder lists them, or how long it takes."""

import io
import lzma
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path


def deb(path, files, control, epoch, level):
    with tempfile.TemporaryDirectory(prefix="rsp-deb.") as folder:
        tree = Path(folder)
        for name, file in (files | {f"DEBIAN/{name}": file for name, file in control.items()}).items():
            place(tree / name, file)
        # The deepest first: writing into a folder changes its date.
        for entry in sorted(tree.rglob("*"), reverse=True) + [tree]:
            if entry.is_dir():
                entry.chmod(0o755)
            os.utime(entry, (epoch, epoch))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", f"-z{level}", "--build", folder, str(path)], check=True,
                       capture_output=True, text=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)})


def place(path, file):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    path.chmod(file.mode)


def tarball(path, top, files, epoch, level):
    def entry(name, mode, size=None):
        info = tarfile.TarInfo(f"{top}/{name}" if name else top)
        info.mode, info.mtime, info.uname, info.gname = mode, epoch, "root", "root"
        info.type, info.size = (tarfile.DIRTYPE, 0) if size is None else (tarfile.REGTYPE, size)
        return info

    folders = {""} | {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
    with lzma.open(path, "wb", preset=level) as out, tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(folders | set(files)):
            if name in files:
                tar.addfile(entry(name, files[name].mode, len(files[name].data)), io.BytesIO(files[name].data))
            else:
                tar.addfile(entry(name, 0o755))
