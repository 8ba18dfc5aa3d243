//! PROXY headers with real programs: nginx and Varnish as receivers, haproxy and curl as senders, and whole chains.

use std::process::Command;

use crate::support::*;

/// nginx with a second listener that expects PROXY headers; `/who` shows what nginx parsed.
fn nginx_taking_headers() -> (Nginx, String) {
    let port = free_port();
    let nginx = Nginx::start_with(&format!(
        "listen 127.0.0.1:{port} proxy_protocol; set_real_ip_from 127.0.0.0/8; real_ip_header proxy_protocol;
         location = /who {{ return 200 \"$remote_addr $remote_port > $proxy_protocol_server_addr $proxy_protocol_server_port\"; }}"
    ));
    (nginx, format!("127.0.0.1:{port}"))
}

/// Varnish that expects PROXY headers and answers with what it parsed.
fn varnish_taking_headers() -> Program {
    const VCL: &str = "vcl 4.1; import std; backend none none;
        sub vcl_recv { return (synth(200)); }
        sub vcl_synth { set resp.body = \"\" + client.ip + \" \" + std.port(client.ip) + \" > \" + server.ip + \" \"
          + std.port(server.ip); return (deliver); }\n";
    Program::start("varnishd", &|directory, port| {
        let (vcl, state) = (directory.write("proxy.vcl", VCL), directory.join("varnish"));
        let words = format!(
            "-F -j none -a 127.0.0.1:{port},PROXY -f {} -n {} -s malloc,32m -p thread_pool_min=20",
            vcl.display(),
            state.display()
        );
        words.split(' ').map(String::from).collect()
    })
}

/// haproxy in front of an address, with these options of its server.
fn haproxy_sending(mode: &str, backend: &str, words: &str) -> Program {
    let (mode, backend, words) = (mode.to_string(), backend.to_string(), words.to_string());
    Program::start("haproxy", &|directory, port| {
        let config = format!(
            "defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             listen proxy\n  bind 127.0.0.1:{port}\n  server one {backend} {words}\n"
        );
        vec!["-db".into(), "-f".into(), directory.write("haproxy.cfg", config).display().to_string()]
    })
}

/// rsp that expects PROXY headers and answers with what it parsed.
fn rsp_taking_headers() -> Rsp {
    Rsp::start(
        "rsp.listen { '127.0.0.1:0', proxy_protocol = true }
         rsp.on_request(function(req) return rsp.respond { status = 200,
           body = req.client_ip .. ' ' .. req.client_port } end)
         rsp.settings { trusted = { '127.0.0.1' }, access_log = { '-', format = 'rsp' } }",
    )
}

fn sending(version: &str, server: &str) -> String {
    format!("rsp.pool {{ servers = {{ '{server}' }}, send_proxy = '{version}' }}\n")
}

/// What a server should have parsed for a client of rsp.
fn seen_from(client: &Client, listener: &str) -> String {
    format!("{} > {}", spaced(&client.address().to_string()), spaced(listener))
}

/// `[::1]:80` → `::1 80`.
fn spaced(address: &str) -> String {
    let (ip, port) = address.rsplit_once(':').expect("an address");
    format!("{} {port}", ip.trim_matches(['[', ']']))
}

/// Both address families, a few clients at a time on kept connections, against a server that shows the client.
fn sees_the_clients(server: &str) {
    for version in ["v1", "v2"] {
        let rsp = Rsp::start(&format!(
            "rsp.listen '127.0.0.1:0' rsp.listen '[::1]:0'\n{}",
            sending(version, server)
        ));
        for listener in rsp.addresses() {
            let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(listener)).collect();
            for _ in 0..3 {
                for client in &mut clients {
                    assert_eq!(client.get("/who").text(), seen_from(client, listener), "{version}");
                }
            }
        }
    }
}

#[test]
fn nginx_sees_the_clients_of_rsp() {
    if !have(&["nginx"]) {
        return;
    }
    let (nginx, address) = nginx_taking_headers();
    sees_the_clients(&address);
    let log = || nginx.program.directory.read("access.log");
    until("nginx has logged a client of IPv6", || log().lines().any(|line| line.starts_with("::1 - - [")));
}

#[test]
fn varnish_sees_the_clients_of_rsp() {
    if !have(&["varnishd"]) {
        return;
    }
    let varnish = varnish_taking_headers();
    sees_the_clients(&varnish.address);
}

/// Clients that X-Forwarded-For names have no port; servers accept port 0.
#[test]
fn nginx_and_varnish_take_a_forwarded_client_without_a_port() {
    if !have(&["nginx", "varnishd"]) {
        return;
    }
    let ((_nginx, nginx), varnish) = (nginx_taking_headers(), varnish_taking_headers());
    for server in [&nginx, &varnish.address] {
        for version in ["v1", "v2"] {
            let trust = "rsp.settings { trusted = { '127.0.0.1' } }";
            let rsp = Rsp::start(&on_any_port(&format!("{}{trust}", sending(version, server))));
            let mut client = Client::connect(rsp.address());
            for ip in ["192.0.2.7", "2001:db8::7"] {
                client.send(format!("GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {ip}\r\n\r\n"));
                let text = client.response().text();
                // nginx writes nothing for port 0.
                assert!(
                    text.replace("  >", " 0 >").starts_with(&format!("{ip} 0 > ")),
                    "{server} {version}: {text}"
                );
            }
        }
    }
}

/// rsp has no address for a client on a Unix socket. Varnish accepts version 2's form of that and not version 1's.
#[test]
fn a_client_without_an_address_appears_as_rsp_itself() {
    if !have(&["nginx", "varnishd"]) {
        return;
    }
    let ((_nginx, nginx), varnish) = (nginx_taking_headers(), varnish_taking_headers());
    let through = |version: &str, server: &str| {
        let directory = Directory::new();
        let socket = format!("unix:{}", directory.join("rsp.sock").display());
        let rsp = Rsp::start_in(directory, &format!("rsp.listen '{socket}'\n{}", sending(version, server)));
        let answer = get(rsp.address(), "/who");
        (answer.status(), answer.text().starts_with("127.0.0.1 "))
    };
    assert_eq!((through("v1", &nginx), through("v2", &nginx)), ((200, true), (200, true)));
    assert_eq!(
        (through("v1", &varnish.address), through("v2", &varnish.address)),
        ((502, false), (200, true))
    );
}

#[test]
fn an_nginx_without_proxy_protocol_refuses_the_header_and_rsp_answers_502() {
    if !have(&["nginx"]) {
        return;
    }
    // nginx expects a header and gets a request: it closes. The other way round it answers 400.
    let (nginx, taking) = nginx_taking_headers();
    let rsp = Rsp::over(&[&taking]);
    assert_eq!(get(rsp.address(), "/who").status(), 502);
    let rsp = Rsp::start(&on_any_port(&sending("v1", nginx.address())));
    assert_eq!(get(rsp.address(), "/small").status(), 400);
}

#[test]
fn rsp_sees_the_clients_of_haproxy() {
    if !have(&["haproxy"]) {
        return;
    }
    let rsp = rsp_taking_headers();
    for words in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"]
    {
        for mode in ["tcp", "http"] {
            let haproxy = haproxy_sending(mode, rsp.address(), words);
            for _ in 0..3 {
                let mut client = Client::connect_from("127.0.0.5", &haproxy.address);
                let expected = spaced(&client.address().to_string());
                assert_eq!(client.get("/").text(), expected, "{mode} {words}");
                assert_eq!(client.get("/").text(), expected, "{mode} {words}");
            }
        }
    }
}

/// haproxy's health checks send LOCAL.
#[test]
fn haproxys_health_checks_pass() {
    if !have(&["haproxy"]) {
        return;
    }
    let rsp = rsp_taking_headers();
    let words = "check inter 100ms rise 1 fall 1 check-send-proxy send-proxy-v2\n  option httpchk GET /check";
    let haproxy = haproxy_sending("http", rsp.address(), words);
    rsp.wait_for_output("request=\"GET /check\"");
    let line = rsp.output();
    assert!(line.lines().next().is_some_and(|line| line.contains(" client=127.0.0.1:")), "{line}");
    assert_eq!(get(&haproxy.address, "/").status(), 200);
}

#[test]
fn curl_begins_with_a_header_too() {
    if !have(&["curl"]) {
        return;
    }
    let rsp = rsp_taking_headers();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--haproxy-protocol", "-w", " %{local_port}", &format!("http://{}/", rsp.address())]);
    let finished = run_with_input(curl, b"");
    let words: Vec<&str> = finished.stdout.split(' ').collect();
    assert_eq!((words.len(), words[0], words[1]), (3, "127.0.0.1", words[2]), "{finished:?}");
}

#[test]
fn the_client_is_known_at_the_end_of_a_chain_of_haproxy_rsp_varnish_and_nginx() {
    if !have(&["haproxy", "varnishd", "nginx"]) {
        return;
    }
    let (_nginx, nginx) = nginx_taking_headers();
    let varnish = varnish_taking_headers();
    for server in [&nginx, &varnish.address] {
        let rsp = Rsp::start(&format!(
            "rsp.listen {{ '127.0.0.1:0', proxy_protocol = true }}\n{}rsp.settings {{ trusted = {{ '127.0.0.1' }} }}",
            sending("v2", server)
        ));
        let haproxy = haproxy_sending("tcp", rsp.address(), "send-proxy-v2");
        let mut client = Client::connect_from("127.0.0.5", &haproxy.address);
        for _ in 0..3 {
            assert_eq!(client.get("/who").text(), seen_from(&client, &haproxy.address));
        }
    }
}
