"""The peers: haproxy, nginx, Varnish and, for TLS, hitch, each set up for the least work it can do for the same job.

By the settings its own manual names for speed: as many workers as rsp has, keep-alive on both sides without a
request limit and with room for all connections of the scenario, no log (unless the log is the scenario), no
forwarding headers.
"""

import os
from pathlib import Path

from . import parts
from .certificates import certificate
from .origins import start_nginx
from .running import descriptors, free_ports, program, version

CURVES = "X25519"  # Debian's OpenSSL has nothing post-quantum
NGINX_MODULES = Path("/usr/lib/nginx/modules")


class Haproxy:
    name = "haproxy"
    splice = ""

    def find(self):
        return version([program("haproxy"), "-v"])

    def can(self, scenario):
        return scenario.handshake != "pq" and not scenario.has("auth")  # nothing of its own can ask another server

    def label(self, _scenario):
        return self.name

    def tls(self, house, job):
        both = certificate(house)[2] if job.scenario.tls else None
        return f" ssl crt {both} curves {CURVES} alpn http/1.1 ssl-min-ver TLSv1.2" if both else ""

    def config(self, house, job):
        scenario = job.scenario
        rule = parts.haproxy_lua(scenario)
        load = f"  lua-load {house.write(f'{self.name}/rule.lua', rule)}\n" if rule else ""
        # Descriptors follow from maxconn, two a connection, and by default a quarter of them may be idle ones of
        # servers: too few for thousands of servers.
        room = min(8192, (descriptors() - 1000) // 2)
        idle = "  tune.pool-low-fd-ratio 80\n  tune.pool-high-fd-ratio 90\n" if len(job.servers) > 1000 else ""
        conf = f"""global
  nbthread {scenario.workers}
  maxconn {room}
  maxpipes 256
{idle}{load}defaults
  mode http
{self.splice}  timeout connect 3s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout http-request 10s
  timeout http-keep-alive 60s
frontend front
  bind 127.0.0.1:{job.port} backlog 4096{self.tls(house, job)}
{parts.haproxy_front(scenario)}"""
        conf += parts.haproxy_metrics(free_ports(1)[0]) if scenario.has("metrics") else ""
        return conf + "".join(parts.haproxy_backend(scenario, p, job.servers, job.check_every) for p in job.pools())

    def start(self, house, job):
        path = house.write(f"{self.name}/haproxy.cfg", self.config(house, job))
        return house.start(self.name, [program("haproxy"), "-db", "-f", path], job.cpus).wait_for(job.port)


class HaproxySplice(Haproxy):
    """For large bodies, which it then moves without copying them. `splice-auto` alone did not splice once in 2.6
    under this load (strace says so): it is told to, for both directions, which is the best it can do."""

    name = "haproxy+splice"
    splice = "  option splice-auto\n  option splice-request\n  option splice-response\n"

    def can(self, scenario):
        return scenario.large and not scenario.tls and scenario.kind != "slow"


class Nginx:
    name = "nginx"

    def find(self):
        return version([program("nginx"), "-v"])

    def lacks(self):
        """A missing part of nginx, and what is measured without it."""
        module = NGINX_MODULES / "ngx_http_lua_module.so"
        return "" if module.exists() else f"the rule: {module} is missing: apt-get install libnginx-mod-http-lua"

    def can(self, scenario):
        return scenario.handshake != "pq" and not (scenario.chooses and self.lacks())

    def label(self, scenario):
        return "nginx+lua" if scenario.chooses else self.name

    UNBUFFERED = """      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
"""
    UPGRADE = """      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
"""

    def tls(self, house, job):
        cert, key, _ = certificate(house)
        return f"""    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve {CURVES};
    ssl_session_cache shared:tls:10m;
"""

    def http(self, house, job):
        scenario = job.scenario
        servers = " ".join(f"server {s};" for s in job.servers)
        idle = max(64, scenario.connections, len(job.servers))
        keep = f"keepalive {idle}; keepalive_requests 1000000000; keepalive_timeout 600s;"
        reuse = " reuseport" if scenario.workers > 1 else ""
        least = "least_conn; " if scenario.has("least") else ""
        http = parts.nginx_http(scenario, free_ports(1)[0])
        http += "".join(f"  upstream {p} {{ {least}{servers} {keep} }}\n" for p in job.pools())
        return f"""{http}  server {{
    listen 127.0.0.1:{job.port} backlog=4096{reuse}{" ssl" if scenario.tls else ""};
{self.tls(house, job) if scenario.tls else ""}{parts.NGINX_AUTH_LOCATION if scenario.has("auth") else ""}    location / {{
{parts.nginx_location(scenario)}      proxy_pass http://{"$pool" if scenario.chooses else "web"};
      proxy_http_version 1.1;
{self.UPGRADE if scenario.kind == "frames" else '      proxy_set_header Connection "";'}
{"" if scenario.kind == "slow" else self.UNBUFFERED}    }}
  }}"""

    def start(self, house, job):
        scenario = job.scenario
        names = ("ndk_http", "ngx_http_lua") if scenario.chooses else ()
        modules = "".join(f"load_module {NGINX_MODULES}/{m}_module.so;\n" for m in names)
        style = "lines" if scenario.has("json") else "combined"
        writes = scenario.log or scenario.has("json")
        log = f"{house.folder('logs')}/nginx.log {style} buffer=64k flush=1s" if writes else "off"
        formats = parts.NGINX_JSON if scenario.has("json") else ""
        words = {"modules": modules, "workers": scenario.workers, "log": log, "formats": formats}
        return start_nginx(house, "nginx", job.port, self.http(house, job), job.cpus, **words)


class Hitch:
    """Ends TLS and relays to one server; it does not parse HTTP."""

    name = "hitch"
    one_server = True

    def find(self):
        return version([program("hitch"), "-V"])

    def can(self, scenario):
        return scenario.tls and scenario.handshake != "pq" and scenario.workers == 1

    def label(self, _scenario):
        return self.name

    def start(self, house, job):
        host, port = job.servers[0].rsplit(":", 1)
        conf = f"""frontend = "[127.0.0.1]:{job.port}"
backend = "[{host}]:{port}"
pem-file = "{certificate(house)[2]}"
workers = 1
daemon = off
backlog = 4096
tls-protos = TLSv1.2 TLSv1.3
ecdh-curve = "{CURVES}"
user = "{"nobody" if os.geteuid() == 0 else ""}"
write-proxy-v2 = off
"""
        command = [program("hitch"), f"--config={house.write('hitch/hitch.conf', conf)}"]
        return house.start("hitch", command, job.cpus).wait_for(job.port)


class Varnish:
    """In pass mode: every request goes to a server, nothing is cached, as a proxy that only forwards."""

    name = "varnish"
    MOST = 100  # its configuration is compiled as C: thousands of servers take minutes

    def find(self):
        return version([program("varnishd"), "-V"])

    def can(self, scenario):
        if scenario.rule or scenario.parts or scenario.tls or scenario.kind == "slow":
            return False
        return scenario.servers <= self.MOST and scenario.workers == 1

    def label(self, _scenario):
        return self.name

    def vcl(self, job):
        backends = ""
        for i, server in enumerate(job.servers):
            host, port = server.rsplit(":", 1)
            backends += f'backend s{i} {{ .host = "{host}"; .port = "{port}"; }}\n'
        adds = "".join(f"  turns.add_backend(s{i});\n" for i in range(len(job.servers)))
        return f"""vcl 4.1;
import directors;
{backends}sub vcl_init {{
  new turns = directors.round_robin();
{adds}}}
sub vcl_recv {{
  set req.backend_hint = turns.backend();
  if (req.http.Upgrade) {{ return (pipe); }}
  return (pass);
}}
sub vcl_pipe {{
  if (req.http.Upgrade) {{
    set bereq.http.Upgrade = req.http.Upgrade;
    set bereq.http.Connection = req.http.Connection;
  }}
}}
"""

    def start(self, house, job):
        folder = house.fresh("varnish")
        vcl = house.write("varnish.vcl", self.vcl(job))
        command = [program("varnishd"), "-F", "-j", "none", "-n", folder, "-a", f"127.0.0.1:{job.port}", "-f", vcl]
        command += ["-s", "default,64m", "-s", "Transient=malloc,512m"]
        settings = ("thread_pool_min=100", "thread_pool_max=5000", "timeout_idle=600", "listen_depth=4096")
        command += [word for s in (*settings, "http_max_hdr=128") for word in ("-p", s)]
        running = house.start("varnish", command, job.cpus).wait_for(job.port)
        if job.scenario.log:  # another process writes its log, and counts
            write = [program("varnishncsa"), "-n", folder, "-F", COMBINED, "-w", house.folder("logs") / "varnish.log"]
            running.beside.append(house.start("varnishncsa", write, job.cpus))
        return running


COMBINED = '%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i"'
