"""The two proxies: their configurations, one core each, and how they are started."""

from pathlib import Path
from typing import Final

from tests.bench.stage import Net, Stage

CONNECTIONS: Final = 4_000

HAPROXY: Final = """\
global
    nbthread 1
    maxconn {connections}
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend vip
    bind {vip}
    default_backend servers
backend servers
    balance roundrobin
{servers}
"""

NGINX: Final = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {files}; multi_accept on; }}
stream {{
    upstream servers {{
{servers}
    }}
    server {{ listen {vip} backlog=8192; proxy_pass servers; }}
}}
"""


def haproxy(stage: Stage, net: Net) -> list[str]:
    servers = "\n".join(
        f"    server {name} {net.end(address)}"
        for name, address in zip("abc", net.servers, strict=True)
    )
    text = HAPROXY.format(connections=CONNECTIONS, vip=net.end(net.vip), servers=servers)
    return ["haproxy", "-db", "-f", str(_write(stage, "haproxy.cfg", text))]


def nginx(stage: Stage, net: Net) -> list[str]:
    servers = "\n".join(f"        server {net.end(address)};" for address in net.servers)
    file = stage.file("nginx.conf")
    text = NGINX.format(
        files=2 * CONNECTIONS + 100, folder=file.parent, vip=net.end(net.vip), servers=servers
    )
    return ["nginx", "-c", str(_write(stage, "nginx.conf", text))]


def _write(stage: Stage, name: str, text: str) -> Path:
    file = stage.file(name)
    file.write_text(text)
    return file
