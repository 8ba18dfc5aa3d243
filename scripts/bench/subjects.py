"""The proxies that are compared and the origins behind them: how each is configured and started.

Each peer is set up for the least work it can do for the same job, by the settings its own manual names for
speed: one worker, keep-alive on both sides without a request limit, no log, no forwarding headers. (rsp writes
its forwarding headers and runs its Lua `on_request` in every scenario; that is the product as shipped.)
A subject is a class with `name`, `find()` (raises CannotStart) and `start(house, ports, rule, cpus)`.
A new peer is one more class in SUBJECTS.
"""

import os
import shutil
import subprocess
from pathlib import Path

from .running import CannotStart, program, version

ROOT = Path(__file__).resolve().parent.parent.parent
NGINX_MODULES = Path("/usr/lib/nginx/modules")

# Bodies of the origins by path; "/" comes from the configuration's own memory, the others from the page cache.
SMALL = "a small body from memory, of one hundred and twenty-eight bytes".ljust(127, ".") + "\n"
SIZES = {"/": len(SMALL), "/16k": 16 << 10, "/1m": 1 << 20}


def nginx_conf(folder, http, modules="", workers=1):
    temps = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""daemon off;
{modules}worker_processes {workers};
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
{temps}
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
{http}
}}
"""


def start_nginx(house, name, port, http, cpus=None, modules=""):
    folder = house.folder(name)
    conf = house.write(f"{name}/nginx.conf", nginx_conf(folder, http, modules))
    command = [program("nginx"), "-e", folder / "error.log", "-p", folder, "-c", conf]
    return house.start(name, command, cpus).wait_for(port)


def start_origin(house, name, port, cpus=None):
    """A web server with one small answer from memory and two files; it says its name in X-Origin."""
    files = house.folder("files")
    for path, size in SIZES.items():
        if path != "/" and not (files / path[1:]).exists():
            house.write(f"files{path}", bytes(i * 7 % 251 for i in range(size)))
    http = f"""  sendfile on;
  tcp_nopush on;
  open_file_cache max=16 inactive=600s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {files};
    add_header X-Origin {name};
    location = / {{ return 200 "{SMALL[:-1]}\\n"; }}
  }}"""
    return start_nginx(house, name, port, http, cpus)


def target_dir():
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


class Rsp:
    name = "rsp"

    def __init__(self, binary=None):
        self.binary = Path(binary) if binary else None

    def find(self):
        """The release binary, built if it is not there; an existing one is taken as it is."""
        binary = self.binary or target_dir() / "release" / "rsp"
        if not binary.exists() and not self.binary:
            if not shutil.which("cargo"):
                raise CannotStart(f"{binary} is not there and cargo is not installed")
            print("building rsp: cargo build --release", flush=True)
            subprocess.run(["cargo", "build", "--release", "--bin", "rsp"], cwd=ROOT, check=False)
        if not binary.exists():
            raise CannotStart(f"{binary} is not there: cargo build --release")
        self.binary = binary
        return version([binary, "-v"])

    def label(self, _rule):
        return self.name

    def start(self, house, port, origins, rule, cpus):
        servers = ", ".join(f'"127.0.0.1:{o}"' for o in origins)
        lines = [f'rsp.listen "127.0.0.1:{port}"', f'local web = rsp.pool {{ name = "web", servers = {{ {servers} }} }}']
        if rule:
            lines += [f'local api = rsp.pool {{ name = "api", servers = {{ {servers} }} }}']
            lines += [f'local static = rsp.pool {{ name = "static", servers = {{ {servers} }} }}']
            lines += ["rsp.on_request(function(req)"]
            lines += ['  if req.host == "api.example.com" then return api end']
            lines += ['  if req.path:sub(1, 8) == "/static/" then return static end']
            lines += ["  return web", "end)"]
        else:
            lines += ["rsp.on_request(function(req) return web end)"]
        conf = house.write("rsp/site.lua", "\n".join(lines) + "\n")
        return house.start("rsp", [self.binary, conf], cpus).wait_for(port)


class Haproxy:
    name = "haproxy"

    def find(self):
        return version([program("haproxy"), "-v"])

    def label(self, _rule):
        return self.name

    RULE = """core.register_fetches("pool", function(txn)
  local host = txn.sf:req_hdr("host"):lower():match("^[^:]*")
  local path = txn.sf:path()
  if host == "api.example.com" then return "api" end
  if path:sub(1, 8) == "/static/" then return "static" end
  return "web"
end)
"""

    def start(self, house, port, origins, rule, cpus):
        load = f"  lua-load {house.write('haproxy/rule.lua', self.RULE)}\n" if rule else ""
        conf = f"""global
  nbthread 1
  maxconn 8192
{load}defaults
  mode http
  timeout connect 3s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 60s
frontend front
  bind 127.0.0.1:{port} backlog 4096
  {"use_backend %[lua.pool]" if rule else "default_backend web"}
"""
        for pool in ("web", "api", "static") if rule else ("web",):
            conf += f"backend {pool}\n  balance roundrobin\n  http-reuse always\n"
            conf += "".join(f"  server s{i} 127.0.0.1:{o}\n" for i, o in enumerate(origins))
        path = house.write("haproxy/haproxy.cfg", conf)
        return house.start("haproxy", [program("haproxy"), "-db", "-f", path], cpus).wait_for(port)


class Nginx:
    name = "nginx"

    def find(self):
        return version([program("nginx"), "-v"])

    def lua(self):
        return (NGINX_MODULES / "ngx_http_lua_module.so").exists()

    def label(self, rule):
        return "nginx+lua" if rule and self.lua() else "nginx (no rule)" if rule else self.name

    RULE = """      set_by_lua_block $pool {
        local var = ngx.var
        if var.host == "api.example.com" then return "api" end
        if var.uri:sub(1, 8) == "/static/" then return "static" end
        return "web"
      }
"""

    def start(self, house, port, origins, rule, cpus):
        rule = rule and self.lua()
        modules = "".join(f"load_module {NGINX_MODULES}/{m}_module.so;\n" for m in ("ndk_http", "ngx_http_lua")) if rule else ""
        servers = " ".join(f"server 127.0.0.1:{o};" for o in origins)
        keep = "keepalive 64; keepalive_requests 1000000000; keepalive_timeout 600s;"
        http = "".join(f"  upstream {p} {{ {servers} {keep} }}\n" for p in (("web", "api", "static") if rule else ("web",)))
        http += f"""  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
{self.RULE if rule else ""}      proxy_pass http://{"$pool" if rule else "web"};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_max_temp_file_size 0;
    }}
  }}"""
        return start_nginx(house, "nginx", port, http, cpus, modules)


SUBJECTS = {subject.name: subject for subject in (Rsp, Haproxy, Nginx)}
