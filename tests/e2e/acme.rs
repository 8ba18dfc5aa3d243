//! `acme_challenge_dir`: files answer the challenges of who issues certificates, on listeners without TLS.

use std::time::{Duration, Instant};

use crate::support::*;

const PREFIX: &str = "/.well-known/acme-challenge/";

fn config(origin: &Origin, settings: &str) -> String {
    format!(
        "rsp.listen '127.0.0.1:0' rsp.listen {{ '127.0.0.1:0', redirect = 'https' }}
         rsp.listen {{ '127.0.0.1:0', tls = {{ cert = 'site.crt', key = 'site.key' }} }}
         rsp.pool {{ servers = {{ {:?} }} }} rsp.settings {{ {settings} }}",
        origin.address
    )
}

const ON: &str = "acme_challenge_dir = 'acme', access_log = { '-', format = 'rsp' }";

fn started(settings: &str) -> (Rsp, Origin, Authority) {
    let (directory, authority) = secured();
    std::fs::create_dir_all(directory.join("acme/.well-known/acme-challenge")).expect("a directory");
    let origin = Origin::named("web");
    (Rsp::start_in(directory, &config(&origin, settings)), origin, authority)
}

#[test]
fn a_token_is_answered_at_once_on_plain_listeners_before_redirects() {
    let (rsp, origin, authority) = started(ON);
    let mut clients = [0, 1].map(|at| Client::connect(&rsp.addresses()[at]));
    for number in 0..50 {
        // Below the root that certbot and lego are told of, or in the directory itself.
        let folder = ["acme/.well-known/acme-challenge", "acme"][number % 2];
        rsp.directory.write(&format!("{folder}/token-{number}"), format!("token-{number}.key"));
        for client in &mut clients {
            let answer = client.get(&format!("{PREFIX}token-{number}"));
            assert_eq!((answer.status(), answer.text()), (200, format!("token-{number}.key")));
            assert_eq!(answer.get("Content-Type"), Some("text/plain"));
        }
    }
    let head = clients[1].send(format!("HEAD {PREFIX}token-1 HTTP/1.1\r\nHost: a\r\n\r\n")).head();
    assert_eq!((head.status(), head.get("Content-Length")), (200, Some("11")));
    assert_eq!(origin.connection_count(), 0);
    rsp.wait_for_output("end=answered");
    let mut tls = TlsClient::new(&authority).connect(&rsp.addresses()[2]);
    assert_eq!(tls.get(&format!("{PREFIX}token-1")).text(), "web", "plain listeners only");
}

#[test]
fn what_has_no_file_goes_on_as_usual() {
    let (rsp, origin, _) = started(ON);
    rsp.directory.write("acme/token", "token.key");
    let mut client = Client::connect(rsp.address());
    let before = Instant::now();
    for path in ["none", "", "to/ken", "../token", "%74oken", &"a".repeat(129)] {
        assert_eq!(client.get(&format!("{PREFIX}{path}")).text(), "web", "{path}");
        assert_eq!(origin.last().head.target(), format!("{PREFIX}{path}"));
    }
    assert!(before.elapsed() < Duration::from_secs(1), "as soon as it is known: {:?}", before.elapsed());
    assert_eq!(client.post(&format!("{PREFIX}token"), "body").text(), "web");
    let redirected = Client::connect(&rsp.addresses()[1]).get(&format!("{PREFIX}none"));
    assert_eq!(redirected.status(), 301);
    std::fs::remove_dir_all(rsp.directory.join("acme")).expect("removed");
    assert_eq!(client.get(&format!("{PREFIX}token")).text(), "web");
    // Pipelined ones are answered in order.
    rsp.directory.write("acme/token", "token.key");
    let one = |path: &str| format!("GET {PREFIX}{path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(["token", "none", "token"].map(one).concat());
    assert_eq!([(); 3].map(|()| client.response().text()), ["token.key", "web", "token.key"]);
}

#[test]
fn many_at_once_are_all_answered_and_whoever_leaves_is_forgotten() {
    let (rsp, _origin, _) = started(ON);
    rsp.directory.write("acme/token", "token.key");
    let request = format!("GET {PREFIX}token HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.send(&request));
    let staying: Vec<Client> =
        clients.into_iter().enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, c)| c).collect();
    for mut client in staying {
        assert_eq!(client.response().text(), "token.key");
    }
    assert_eq!(Client::connect(rsp.address()).get(&format!("{PREFIX}token")).text(), "token.key");
    rsp.stop();
}

#[test]
fn it_is_off_until_a_reload_turns_it_on() {
    let (rsp, origin, _) = started("");
    rsp.directory.write("acme/token", "token.key");
    let ask = || Client::connect(rsp.address()).get(&format!("{PREFIX}token")).text();
    assert_eq!(ask(), "web");
    rsp.directory.write("rsp.lua", config(&origin, ON));
    rsp.signal(libc::SIGHUP);
    rsp.wait_for_log("Reloaded: config 2");
    assert_eq!(ask(), "token.key");
}
