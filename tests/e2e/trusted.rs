//! The client's address behind other proxies: only those in `trusted` are believed, and the script, the log and the
//! servers all see the same one.

use crate::support::*;

/// Answers every request with what the script knows about the client.
const WHO: &str = "rsp.on_request(function(req)
  return rsp.respond { status = 200, body = table.concat({ req.client_ip, req.client_port, req.scheme }, ' ') } end)\n";

fn trusting(networks: &str) -> Rsp {
    Rsp::start(&on_any_port(&format!("{WHO} rsp.settings {{ trusted = {{ {networks} }} }}")))
}

/// What the script knows about a request with these fields.
fn asked(client: &mut Client, fields: &str) -> String {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).response().text()
}

fn known(rsp: &Rsp, fields: &str) -> String {
    asked(&mut Client::connect(rsp.address()), fields)
}

#[test]
fn the_client_is_the_last_forwarded_address_that_is_not_trusted() {
    let rsp = trusting("'127.0.0.0/8', '10.0.0.0/8', '2001:db8::/32'");
    for (fields, client) in [
        ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7 0 http"),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.1.1\r\n", "192.0.2.7 0 http"),
        (
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.1.1.1\r\n",
            "192.0.2.7 0 http",
        ),
        ("X-Forwarded-For: 192.0.2.7:4711, [2001:db8::5]:80\r\n", "192.0.2.7 4711 http"),
        ("X-Forwarded-For: [2001:db9::5]:80\r\n", "2001:db9::5 80 http"),
        ("X-Forwarded-For: ::ffff:192.0.2.7\r\n", "192.0.2.7 0 http"),
        ("X-Forwarded-For: 10.0.0.2, 10.0.0.1\r\n", "10.0.0.2 0 http"),
        ("X-Forwarded-For: 192.0.2.7, unknown, 10.0.0.1\r\n", "10.0.0.1 0 http"),
    ] {
        assert_eq!(known(&rsp, fields), client, "{fields}");
    }
}

#[test]
fn each_request_of_a_connection_has_its_own_client() {
    let rsp = trusting("'127.0.0.1'");
    let mut client = Client::connect(rsp.address());
    let own = format!("127.0.0.1 {} http", client.address().port());
    assert_eq!(
        asked(&mut client, "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"),
        "192.0.2.7 0 https"
    );
    assert_eq!(asked(&mut client, "X-Forwarded-For: 192.0.2.8\r\n"), "192.0.2.8 0 http");
    assert_eq!(asked(&mut client, ""), own);
    assert_eq!(asked(&mut client, "X-Forwarded-For: nonsense\r\n"), own);
}

#[test]
fn untrusted_forwarding_fields_are_ignored() {
    let rsp = trusting("'127.0.0.1'");
    let mut stranger = Client::connect_from("127.0.0.9", rsp.address());
    let own = format!("127.0.0.9 {} http", stranger.address().port());
    assert_eq!(asked(&mut stranger, "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"), own);
    let nobody = Rsp::start(&on_any_port(WHO));
    let mut client = Client::connect(nobody.address());
    let own = format!("127.0.0.1 {} http", client.address().port());
    assert_eq!(asked(&mut client, "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"), own);
}

#[test]
fn the_scheme_is_taken_from_a_trusted_proxy_if_unambiguous() {
    let rsp = trusting("'127.0.0.1'");
    for (value, scheme) in [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("https, http", "http"),
        ("gopher", "http"),
    ] {
        let said = known(&rsp, &format!("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: {value}\r\n"));
        assert_eq!(said, format!("192.0.2.7 0 {scheme}"), "{value}");
    }
}

#[test]
fn ipv6_proxies_are_trusted_by_their_network() {
    let config = format!("rsp.listen '[::1]:0'\n{WHO} rsp.settings {{ trusted = {{ '::/64' }} }}");
    let rsp = Rsp::start(&config);
    assert_eq!(known(&rsp, "X-Forwarded-For: 2001:db8::7\r\n"), "2001:db8::7 0 http");
}

#[test]
fn unix_sockets_are_trusted_with_unix() {
    for (settings, client) in [
        ("trusted = { 'unix:' }", "192.0.2.7 0 https"),
        ("trusted = { '0.0.0.0/0', '::/0' }", "unix: 0 http"),
    ] {
        let directory = Directory::new();
        let socket = format!("unix:{}", directory.join("rsp.sock").display());
        let config = format!("rsp.listen '{socket}'\n{WHO} rsp.settings {{ {settings} }}");
        let rsp = Rsp::start_in(directory, &config);
        assert_eq!(known(&rsp, "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"), client);
    }
}

#[test]
fn handlers_logs_and_servers_see_the_same_client() {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ '{}' }}, balance = function(req, servers)
           assert(req.client_ip == '192.0.2.7' and req.scheme == 'https') return servers[1] end }}
         rsp.on_response(function(req, res) res.headers['X-Who'] = req.client_ip .. ' ' .. req.scheme end)
         rsp.settings {{ trusted = {{ '127.0.0.1' }}, access_log = {{ '-', format = 'rsp' }} }}",
        origin.address
    )));
    let mut client = Client::connect(rsp.address());
    client
        .send("GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(client.response().get("x-who"), Some("192.0.2.7 https"));
    assert_eq!(origin.last().get("x-forwarded-for"), Some("192.0.2.7, 127.0.0.1"));
    assert_eq!(origin.last().get("x-forwarded-proto"), Some("https"));
    rsp.wait_for_output("client=192.0.2.7 request=\"GET /x\"");
}

#[test]
fn the_combined_log_begins_with_the_client() {
    let settings = "rsp.settings { trusted = { '127.0.0.1' }, access_log = '-' }";
    let rsp = Rsp::start(&on_any_port(&format!("{WHO}{settings}")));
    known(&rsp, "X-Forwarded-For: 2001:db8::7\r\n");
    rsp.wait_for_output("2001:db8::7 - - [");
    // A malformed request is logged with the address of its connection.
    Client::connect(rsp.address()).send("nonsense\r\n\r\n").response();
    rsp.wait_for_output("127.0.0.1 - - [");
}

#[test]
fn an_empty_request_id_of_a_trusted_proxy_is_replaced() {
    let origin = Origin::named("ok");
    let rsp = Rsp::start(&format!(
        "{}rsp.settings {{ trusted = {{ '127.0.0.1' }} }}",
        balanced(&[&origin.address])
    ));
    asked(&mut Client::connect(rsp.address()), "X-Request-ID: \r\n");
    let ids: Vec<usize> = origin.last().head.all("x-request-id").iter().map(|id| id.len()).collect();
    assert_eq!(ids, [32]);
}
