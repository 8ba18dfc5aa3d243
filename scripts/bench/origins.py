"""The web servers behind the proxies: the same two nginx for every subject, never the bottleneck under measurement.

Small answers come from nginx's own memory, larger ones from the page cache, uploads are read to their last byte
before the answer. Each sends its name in X-Origin, so that a check sees that they alternate.
"""

import sys
from pathlib import Path

from .parts import AUTH_PATH, SEEN_PATH
from .running import descriptors, program

# Bodies of the origins by path; "/" comes from the configuration's own memory, the others from the page cache.
SMALL = "a small body from memory, of one hundred and twenty-eight bytes".ljust(127, ".") + "\n"
KIB, MIB = 1 << 10, 1 << 20
FILES = {"/1k": KIB, "/4k": 4 * KIB, "/16k": 16 * KIB, "/64k": 64 * KIB, "/256k": 256 * KIB, "/1m": MIB, "/16m": 16 * MIB}
SIZES = {"/": len(SMALL), **FILES}
UPLOAD = "/upload"
FRAMES, UPLOADS, SLOW = (Path(__file__).resolve().parent / name for name in ("frames.py", "uploads.py", "slow_clients.py"))


def content(path):
    """What a download must be, byte for byte."""
    if path == "/":
        return SMALL.encode()
    period = bytes(i * 7 % 251 for i in range(251))
    return (period * (SIZES[path] // 251 + 1))[: SIZES[path]]


def nginx_conf(folder, http, modules="", workers=1, log="off", formats=""):
    temps = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""daemon off;
{modules}worker_processes {workers};
worker_rlimit_nofile {descriptors()};
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections {descriptors()}; }}
http {{
{temps}
{formats}  access_log {log};
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
{http}
}}
"""


def start_nginx(house, name, port, http, cpus=None, **words):
    folder = house.folder(name)
    conf = house.write(f"{name}/nginx.conf", nginx_conf(folder, http, **words))
    command = [program("nginx"), "-e", folder / "error.log", "-p", folder, "-c", conf]
    return house.start(name, command, cpus).wait_for(port)


def publish(house):
    """The files of all origins, written once."""
    files = house.folder("files")
    for path in FILES:
        if not (files / path[1:]).exists():
            house.write(f"files{path}", content(path))
    return files


def start_origin(house, name, port, cpus=None, everywhere=False, workers=1):
    """A web server that says its name in X-Origin.

    `everywhere`: on all of 127.0.0.0/8, so that one port stands for thousands of servers; other networks are
    refused. An upload is passed on without its body to the small page: nginx reads all of it for that, and
    a bare `return` would answer before.
    """
    listen = f"0.0.0.0:{port}" if everywhere else f"127.0.0.1:{port}"
    http = f"""  sendfile on;
  tcp_nopush on;
  open_file_cache max=32 inactive=600s;
  client_body_buffer_size 17m;
  large_client_header_buffers 4 32k;
  upstream self {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {listen} backlog=4096;
    allow 127.0.0.0/8;
    deny all;
    root {publish(house)};
    add_header X-Origin {name};
    location = / {{ return 200 "{SMALL[:-1]}\\n"; }}
    location = {AUTH_PATH} {{ add_header X-User alice; return 200 "yes\\n"; }}
    location = {SEEN_PATH} {{ return 200 "$http_x_edge $http_x_user\\n"; }}
    location = {UPLOAD} {{
      proxy_pass http://self/;
      proxy_http_version 1.1;
      proxy_method GET;
      proxy_pass_request_body off;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_hide_header X-Origin;
      add_header X-Received $request_length;
      add_header X-Origin {name};
    }}
  }}"""
    return start_nginx(house, name, port, http, cpus, workers=workers)


def start_echo(house, port, cpus=None):
    """A WebSocket server that sends every message back."""
    return house.start("echo", [sys.executable, "-B", FRAMES, "serve", str(port)], cpus).wait_for(port)


def start_one_at_a_time(house, name, port, cpus=None):
    """A server that accepts the next connection when the last one is answered and closed."""
    command = [sys.executable, "-B", SLOW, "serve", str(port), name, publish(house), SMALL]
    return house.start(name, command, cpus).wait_for(port)


def addresses(ports, count):
    """`count` servers on these ports: 127.0.0.1 for the first of each, then 127.1.0.1 and on, no two alike."""
    hosts = ["127.0.0.1"] + [f"127.1.{i >> 8 & 255}.{i & 255}" for i in range(1, count // len(ports) + 1)]
    return [f"{host}:{port}" for host in hosts for port in ports][:count]
