//! TLS of listeners and servers: keys, files and what is wrong with them.

use std::sync::Arc;

use super::Files;
use crate::config::{Address, CertificateFiles, Config, SniId};
use crate::script::{Source, load};
use crate::tls::tests::{Kind, pem};

/// A directory with `site.lua` and certificates for a.example and b.example.
fn files(text: &str) -> Files {
    let files = Files::new(&[("site.lua", text)]);
    for name in ["a", "b"] {
        let (cert, key) = pem(&[&format!("{name}.example")], Kind::Ecdsa, None);
        files.write(&format!("{name}.crt"), cert.as_bytes());
        files.write(&format!("{name}.key"), key.as_bytes());
        files.write(&format!("all/{name}.pem"), format!("{key}{cert}").as_bytes());
    }
    files.write("broken.pem", b"nothing");
    files.write("one/broken.pem", b"nothing");
    files
}

fn listener(keys: &str) -> Result<Config, String> {
    files(&format!("rsp.listen {{ '127.0.0.1:0',\n {keys} }}\nrsp.pool {{ servers = {{ '127.0.0.1:1' }} }}"))
        .load()
}

#[test]
fn tls_passes_through_where_a_listener_has_a_function_and_nothing_else_to_do() {
    let config = listener("sni = function(name) return nil end").unwrap();
    assert!(config.listeners[0].sni.is_some() && config.listeners[0].tls.is_none());
    for (keys, message) in [
        ("sni = 'web'", "sni: got \"web\", expected a function(name) that returns a pool"),
        (
            "tls = { cert = 'all/a.pem' }, sni = print",
            "sni: it has tls, which is not passed through, expected one of both",
        ),
        (
            "redirect = 'https', sni = print",
            "sni: it has redirect, which takes requests, expected one of both",
        ),
    ] {
        assert_eq!(listener(keys).unwrap_err(), format!("site.lua:2: {message}"));
    }
}

#[test]
fn a_site_that_only_passes_tls_through_needs_no_on_request() {
    let pools = "for i = 1, 2 do rsp.pool { servers = { '127.0.0.1:1' } } end";
    let sni = "rsp.listen { '127.0.0.1:0', sni = function() end }";
    assert!(files(&format!("{pools} {sni}")).load().is_ok());
    let plain = files(&format!("{pools} {sni} rsp.listen '127.0.0.1:0'")).load().unwrap_err();
    assert!(plain.starts_with("site.lua:1: rsp.on_request: missing"), "{plain}");
    let none = files(sni).load().unwrap_err();
    assert!(none.starts_with("site.lua:1: rsp.pool: missing"), "{none}");
}

#[test]
fn the_function_of_a_listener_is_found_in_the_next_config() {
    let config = |listeners: &str| {
        files(&format!("{listeners} rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}")).load().unwrap()
    };
    let one = |port, sni| format!("rsp.listen {{ '127.0.0.1:{port}', {sni} }} ");
    let (before, sni) = (config(&[one(1, "sni = print"), one(2, "sni = print")].concat()), "sni = print");
    let after = config(&[one(2, sni), one(3, sni), one(4, "")].concat());
    assert_eq!(after.sni_of(&before.listeners[0]), None, "gone");
    assert_eq!(after.sni_of(&before.listeners[1]), Some(SniId(0)));
    assert_eq!(config(&one(1, "")).sni_of(&before.listeners[0]), None, "takes requests now");
    let alike = config(&[one(0, sni), one(0, sni)].concat());
    assert_eq!(alike.sni_of(&alike.listeners[1]), Some(SniId(1)));
}

fn server(item: &str) -> Result<Config, String> {
    files(&format!("rsp.listen '127.0.0.1:0'\nrsp.pool {{ servers = {{ {item} }} }}")).load()
}

#[test]
fn certificates_are_one_pair_a_list_or_a_directory() {
    let tls =
        |keys: &str| listener(&format!("tls = {{ {keys} }}")).unwrap().listeners[0].tls.clone().unwrap();
    let names = |keys: &str| {
        tls(keys).server.certificates().expiries().into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(names("cert = 'a.crt', key = 'a.key'"), ["a.example"]);
    assert_eq!(names("cert = 'all/b.pem'"), ["b.example"]);
    assert_eq!(names("dir = 'all'"), ["a.example", "b.example"]);
    let list = "certs = { { cert = 'b.crt', key = 'b.key' }, { cert = 'all/a.pem' } }";
    assert_eq!(names(list), ["b.example", "a.example"]);
    assert!(matches!(&tls("dir = 'all'").certificates[..], [CertificateFiles::Dir(_)]));
    let all = tls(
        "cert = 'all/a.pem', hsts = 60, watch = true, client_ca = 'a.crt', client_header = 'X-Client-Subject'",
    );
    assert_eq!(
        (all.hsts, all.watch, all.client_header.as_deref()),
        (Some(60), true, Some("X-Client-Subject"))
    );
}

#[test]
fn the_same_files_are_the_same_config_and_others_are_not() {
    let text = |path: &str| {
        format!(
            "rsp.listen {{ '127.0.0.1:0', tls = {{ cert = '{path}' }} }} rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}"
        )
    };
    let files = files(&text("all/a.pem"));
    let one = files.load().unwrap();
    assert!(files.load().unwrap() == one);
    files.write("all/a.pem", &std::fs::read(files.0.join("all/b.pem")).unwrap());
    assert!(files.load().unwrap() != one);
}

#[test]
fn what_was_made_of_the_files_is_shared_by_all_vms_and_read_once() {
    let text = "rsp.listen { '127.0.0.1:0', tls = { dir = 'all', client_ca = 'a.crt', tickets = 'tickets' } }
        rsp.pool { servers = { { 'https://127.0.0.1:1', ca = 'a.crt', cert = 'a.crt', key = 'a.key' } } }";
    let files = files(text);
    files.write("tickets", "A".repeat(64).as_bytes());
    let mut source = Source::file(&files.0.join("site.lua"));
    let load = |source: &mut Source| load(source).map_err(|error| error.0).unwrap().0;
    let first = load(&mut source);
    for file in ["all/a.pem", "a.crt", "a.key", "tickets"] {
        std::fs::remove_file(files.0.join(file)).unwrap();
    }
    let second = load(&mut source.clone());
    let sides = |config: &Config| {
        let listener = config.listeners[0].tls.clone().unwrap().server.clone();
        (listener, config.pools[0].servers[0].tls.clone().unwrap())
    };
    let (one, two) = (sides(&first), sides(&second));
    assert!(Arc::ptr_eq(&one.0, &two.0) && Arc::ptr_eq(&one.1, &two.1));
}

#[test]
fn what_is_wrong_with_tls_names_the_line_and_the_key() {
    let said = |keys: &str| listener(&format!("tls = {{ {keys} }}")).unwrap_err();
    for (keys, wanted) in [
        ("", "tls: no certificate, expected one of cert, certs and dir"),
        ("key = 'a.key'", "tls: no cert, expected one beside key and ocsp"),
        (
            "dir = 'all', ocsp = 'a.ocsp'",
            "tls.ocsp: it belongs to cert, and there is dir, whose files are found by their names, expected none",
        ),
        (
            "certs = { { cert = 'all/a.pem' } }, key = 'a.key'",
            "tls.key: it belongs to cert, and there is certs, expected it beside its cert in there",
        ),
        ("cert = 'all/a.pem', ocsp = 'a.key'", "tls.ocsp: a.key: no OCSP response, expected one in DER"),
        (
            "cert = 'all/a.pem', dir = 'all'",
            "tls: certificates in two ways, expected one of cert, certs and dir",
        ),
        ("certs = {}", "tls.certs: no certificate, expected at least one"),
        ("certs = { { key = 'a.key' } }", "tls.certs[1]: no cert, expected the path of a PEM file"),
        ("cert = 'none.pem'", "tls.cert: none.pem: No such file or directory"),
        (
            "cert = 'a.crt', key = 'b.key'",
            "tls.key: b.key: does not fit the first certificate of cert, expected its own key",
        ),
        (
            "certs = { { cert = 'all/a.pem' }, { cert = 'broken.pem' } }",
            "tls.certs[2].cert: broken.pem: no certificate in it, expected PEM (BEGIN CERTIFICATE)",
        ),
        ("dir = 'one'", "tls.dir: one/broken.pem: no certificate in it, expected PEM (BEGIN CERTIFICATE)"),
        (
            "cert = 'all/a.pem', client_auth = 'optional'",
            "tls.client_auth: nobody could verify them, expected client_ca beside it",
        ),
        (
            "cert = 'all/a.pem', client_ca = 'a.key'",
            "tls.client_ca: a.key: no certificate in it, expected PEM (BEGIN CERTIFICATE)",
        ),
        (
            "cert = 'all/a.pem', client_ca = 'a.crt', client_header = 'Host'",
            "tls.client_header: got \"Host\", expected the name of a header of its own, such as \"X-Client-Subject\"",
        ),
        (
            "cert = 'all/a.pem', tickets = 'a.key'",
            "tls.tickets: a.key: line 1 is no key, expected 48 or 80 bytes in base64",
        ),
        (
            "cert = 'all/a.pem', min_version = '1.1'",
            "tls.min_version: got \"1.1\", expected \"1.2\" or \"1.3\"",
        ),
        ("crt = 'a.crt'", "tls.crt: unknown tls key, did you mean cert?"),
    ] {
        assert_eq!(said(keys), format!("site.lua:2: {wanted}"), "{keys}");
    }
}

#[test]
fn tls_is_a_table() {
    let wanted = "tls: got true, expected a table such as { cert = \"site.pem\", key = \"site.key\" }";
    assert_eq!(listener("tls = true").unwrap_err(), format!("site.lua:2: {wanted}"));
}

#[test]
fn names_of_listeners_are_their_own_and_redirects_go_to_the_one_with_tls_that_others_reach() {
    let pool = "rsp.pool { servers = { '127.0.0.1:1' } }";
    let twice = format!(
        "rsp.listen {{ '127.0.0.1:1', name = 'a' }} rsp.listen {{ '127.0.0.1:2', name = 'a' }} {pool}"
    );
    assert_eq!(
        files(&twice).load().unwrap_err(),
        "site.lua:1: name: \"a\" is taken, expected a name that no other listener has"
    );
    let redirect = "rsp.listen { '127.0.0.1:80', redirect = 'https' }";
    let tls = "rsp.listen { '127.0.0.1:8443', tls = { cert = 'all/a.pem' } }";
    let to = |text: &str| files(&format!("{text} {pool}")).load().map(|config| config.listeners[0].redirect);
    assert_eq!(to(&format!("{redirect} {tls}")), Ok(Some(8443)));
    let more = |addresses: &[&str]| {
        let tls = |address: &&str| format!("rsp.listen {{ '{address}', tls = {{ cert = 'all/a.pem' }} }}");
        to(&format!("{redirect} {}", addresses.iter().map(tls).collect::<String>())).unwrap().unwrap()
    };
    assert_eq!(more(&["127.0.0.1:9443", "0.0.0.0:8443", "0.0.0.0:443"]), 443);
    assert_eq!(more(&["127.0.0.1:9443", "[::1]:9444", "0.0.0.0:8443"]), 8443);
    assert_eq!(more(&["127.0.0.1:9443", "127.0.0.1:9444"]), 9443);
    assert_eq!(to(redirect), Ok(Some(443)));
    assert_eq!(to(tls), Ok(None));
    let both = "rsp.listen { '127.0.0.1:1', redirect = 'https', tls = { cert = 'all/a.pem' } }";
    assert!(to(both).unwrap_err().contains("redirect: it has tls itself"));
}

#[test]
fn challenges_are_answered_by_listeners_without_tls_from_beside_the_config() {
    let text = "rsp.settings { acme_challenge_dir = 'acme' } rsp.listen '127.0.0.1:1'
        rsp.listen { '127.0.0.1:2', redirect = 'https' }
        rsp.listen { '127.0.0.1:3', tls = { cert = 'all/a.pem' } } rsp.pool { servers = { '127.0.0.1:1' } }";
    let files = files(text);
    let listeners = files.load().unwrap().listeners;
    let directories: Vec<_> = listeners.iter().map(|listener| listener.challenges.as_deref()).collect();
    let beside = files.0.join("acme");
    assert_eq!(directories, [Some(&*beside), Some(&*beside), None]);
}

#[test]
fn servers_with_https_have_a_port_and_a_name() {
    let server = |item: &str| server(item).unwrap().pools[0].servers[0].clone();
    let one = server("{ 'https://10.0.0.5:8443', ca = 'a.crt' }");
    assert_eq!((one.name.as_str(), one.written.as_str()), ("https://10.0.0.5:8443", "10.0.0.5:8443"));
    assert!(one.tls.is_some());
    assert_eq!(
        server("{ 'https://[::1]', ca = 'a.crt' }").address,
        Address::Ip("[::1]:443".parse().unwrap())
    );
    let name = Address::Name { host: "app.internal".into(), port: 443 };
    assert_eq!(server("{ 'https://app.internal', verify = false }").address, name);
    let whole =
        "{ 'https://app.internal', ca = 'a.crt', sni = 'b', cert = 'b.crt', key = 'b.key', verify = true }";
    assert_ne!(server(whole).tls, server("{ 'https://app.internal', ca = 'a.crt', sni = 'b' }").tls);
    assert_eq!(server("'127.0.0.1:1'").tls, None);
}

#[test]
fn what_is_wrong_with_a_server_names_the_line_and_the_key() {
    for (item, wanted) in [
        (
            "{ '127.0.0.1:1', ca = 'a.crt' }",
            "servers[1].ca: \"127.0.0.1:1\" has no TLS, expected an address such as \"https://app.internal:8443\"",
        ),
        (
            "'https://app.internal/up'",
            "servers[1]: more than a host and a port in \"https://app.internal/up\", expected https://HOST or https://HOST:PORT",
        ),
        ("'https://'", "servers[1]: missing address in \"https://\", expected HOST:PORT or unix:PATH"),
        (
            "'http://app.internal'",
            "servers[1]: URL scheme in \"http://app.internal\", expected HOST:PORT or unix:PATH",
        ),
        ("{ 'https://a:1', ca = 'none.pem' }", "servers[1].ca: none.pem: No such file or directory"),
        (
            "{ 'https://a:1', ca = 'broken.pem' }",
            "servers[1].ca: broken.pem: no certificate in it, expected PEM (BEGIN CERTIFICATE)",
        ),
        (
            "{ 'https://a:1', ca = 'a.crt', verify = false }",
            "servers[1].ca: nothing is verified with verify = false, expected no ca",
        ),
        (
            "{ 'https://a:1', verify = false, key = 'a.key' }",
            "servers[1].key: a key without a cert, expected cert beside it",
        ),
        (
            "{ 'https://a:1', verify = false, cert = 'a.crt', key = 'b.key' }",
            "servers[1].key: b.key: does not fit the first certificate of cert, expected its own key",
        ),
        (
            "{ 'https://a:1', verify = false, sni = 'a b' }",
            "servers[1].sni: got \"a b\", expected a host name or an IP address",
        ),
    ] {
        assert_eq!(server(item).unwrap_err(), format!("site.lua:2: {wanted}"), "{item}");
    }
}
