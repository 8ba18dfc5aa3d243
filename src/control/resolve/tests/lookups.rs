//! Addresses of host names, asked for once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use simple_dns::{RCODE, TYPE};

use super::server::{Asked, Reply, Server};
use super::{PATIENT, SHORT, Scratch, addresses, host, silent};
use crate::control::resolve::{Answer, ResolveError, ResolverConfig, resolve};

fn ask(server: &Server, name: &str) -> Result<Answer, ResolveError> {
    resolve(&host(name), &Scratch::new().config(&[server.address], PATIENT))
}

fn seconds(answer: &Answer) -> Option<u64> {
    answer.ttl.map(|ttl| ttl.as_secs())
}

/// `app` has one address of each family.
fn app(asked: &Asked) -> Vec<Vec<u8>> {
    match asked.kind {
        TYPE::A => asked.reply().a(&asked.name, 60, [10, 0, 0, 1]).sent(),
        _ => asked.reply().aaaa(&asked.name, 30, "2001:db8::1").sent(),
    }
}

#[test]
fn both_families_are_asked_for_and_the_least_ttl_counts() {
    let server = Server::start(app);
    let answer = ask(&server, "app").unwrap();
    assert_eq!(addresses(&answer), ["10.0.0.1:80", "[2001:db8::1]:80"]);
    assert_eq!(seconds(&answer), Some(30));
    assert!(answer.servers.iter().all(|server| server.weight.is_none() && server.priority == 0));
}

#[test]
fn addresses_are_sorted_and_unique_and_what_is_none_of_a_server_is_left_out() {
    let server = Server::start(|asked| match asked.kind {
        TYPE::A => {
            let reply = asked.reply().a("app", 60, [10, 0, 0, 2]).a("app", 60, [0, 0, 0, 0]);
            reply.a("APP", 60, [10, 0, 0, 1]).a("app", 60, [10, 0, 0, 2]).a("other", 1, [10, 0, 0, 9]).sent()
        }
        _ => asked.reply().sent(),
    });
    let answer = ask(&server, "App.").unwrap();
    assert_eq!(addresses(&answer), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(seconds(&answer), Some(60));
}

#[test]
fn a_chain_of_aliases_is_followed_within_the_answer() {
    let server = Server::start(|asked| {
        let reply = asked.reply().cname("app", 300, "x.cdn").cname("x.cdn", 7, "y.cdn");
        match asked.kind {
            TYPE::A => reply.a("y.cdn", 60, [10, 0, 0, 1]).sent(),
            _ => reply.sent(),
        }
    });
    let answer = ask(&server, "app").unwrap();
    assert_eq!((addresses(&answer), seconds(&answer)), (vec!["10.0.0.1:80".to_string()], Some(7)));
}

#[test]
fn aliases_that_lead_in_a_circle_are_no_address() {
    let server = Server::start(|asked| asked.reply().cname("app", 9, "b").cname("b", 9, "app").sent());
    assert_eq!(ask(&server, "app"), Err(ResolveError::NoData));
}

#[test]
fn what_udp_does_not_hold_comes_over_tcp() {
    let server = Server::start(|asked| match (asked.kind, asked.tcp) {
        (TYPE::A, false) => {
            // Cut within a record.
            let mut bytes = asked.reply().truncated().a("app", 60, [10, 0, 0, 1]).bytes();
            bytes.truncate(bytes.len() - 3);
            vec![bytes]
        }
        (TYPE::A, true) => (0..300u16)
            .fold(asked.reply(), |reply, n| reply.a("app", 60, [10, 1, (n / 256) as u8, n as u8]))
            .sent(),
        _ => asked.reply().sent(),
    });
    let answer = ask(&server, "app").unwrap();
    assert_eq!(answer.servers.len(), 256);
    assert_eq!(addresses(&answer)[255], "10.1.0.255:80");
}

#[test]
fn answers_to_other_questions_are_ignored() {
    let server = Server::start(|asked| {
        let forged =
            |id: u16, name: &str, kind| Reply::new(id, name, kind).a("app", 60, [6, 6, 6, 6]).bytes();
        let mut query = forged(asked.id, "app", asked.kind);
        query[2] &= 0x7f;
        let wrong = vec![
            forged(asked.id.wrapping_add(1), "app", asked.kind),
            forged(asked.id, "other", asked.kind),
            forged(asked.id, "app", TYPE::TXT),
            Reply::new(asked.id, "app", asked.kind).bare().a("app", 60, [6, 6, 6, 6]).bytes(),
            query,
            vec![1],
            Vec::new(),
        ];
        wrong.into_iter().chain(app(asked)).collect()
    });
    assert_eq!(addresses(&ask(&server, "app").unwrap()), ["10.0.0.1:80", "[2001:db8::1]:80"]);
}

#[test]
fn a_flood_of_answers_to_other_questions_does_not_prolong_the_wait() {
    let server =
        Server::start(|asked| vec![Reply::new(asked.id.wrapping_add(1), "app", asked.kind).bytes(); 50]);
    let outcome = resolve(&host("app"), &Scratch::new().config(&[server.address], SHORT));
    assert_eq!(outcome, Err(ResolveError::Timeout { server: server.address }));
}

#[test]
fn no_such_name_and_no_address_are_errors_of_their_own() {
    let server = Server::start(|asked| match &asked.name[..] {
        "gone" => asked.fails(RCODE::NameError),
        _ => asked.reply().sent(),
    });
    assert_eq!(ask(&server, "gone"), Err(ResolveError::NoSuchName));
    assert_eq!(ask(&server, "empty"), Err(ResolveError::NoData));
    assert_eq!(ask(&server, "not a name"), Err(ResolveError::BadName));
}

#[test]
fn one_family_without_an_answer_is_a_success_that_says_so() {
    let server = Server::start(|asked| match asked.kind {
        TYPE::A => app(asked),
        _ => asked.fails(RCODE::ServerFailure),
    });
    let answer = ask(&server, "app").unwrap();
    assert_eq!(
        (addresses(&answer), answer.v4_failed, answer.v6_failed),
        (vec!["10.0.0.1:80".into()], false, true)
    );
}

#[test]
fn a_server_that_fails_is_followed_by_the_next() {
    for code in [RCODE::ServerFailure, RCODE::Refused] {
        let (bad, good) = (Server::start(move |asked| asked.fails(code)), Server::start(app));
        let config = Scratch::new().config(&[bad.address, good.address], PATIENT);
        assert_eq!(resolve(&host("app"), &config).unwrap().servers.len(), 2);
        let config = Scratch::new().config(&[bad.address], PATIENT);
        let error = ResolveError::ServerFailure { server: bad.address, code: code as u16 };
        assert_eq!(resolve(&host("app"), &config), Err(error));
    }
}

#[test]
fn a_server_that_does_not_answer_is_followed_by_the_next() {
    let ((_socket, dead), good) = (silent(), Server::start(app));
    let config = Scratch::new().config(&[dead, good.address], SHORT);
    assert!(resolve(&host("app"), &config).is_ok());
    let config = Scratch::new().config(&[dead], SHORT);
    assert_eq!(resolve(&host("app"), &config), Err(ResolveError::Timeout { server: dead }));
}

#[test]
fn a_port_that_nobody_listens_at_is_an_error_at_once() {
    // Connected to another, the socket takes nothing from us, and keeps its port from other tests.
    let ((socket, gone), (_other, other)) = (silent(), silent());
    socket.connect(other).unwrap();
    let outcome = resolve(&host("app"), &Scratch::new().config(&[gone], PATIENT));
    assert_eq!(outcome, Err(ResolveError::Io { server: gone, error: "Connection refused".into() }));
}

#[test]
fn a_server_that_does_not_know_edns_is_asked_without() {
    let server = Server::start(|asked| match asked.edns {
        true => Reply::new(asked.id, "app", asked.kind).bare().code(RCODE::FormatError).sent(),
        false => app(asked),
    });
    assert_eq!(ask(&server, "app").unwrap().servers.len(), 2);
}

#[test]
fn ttls_are_kept_between_a_second_and_an_hour() {
    for (ttl, kept) in [(0, 1), (1, 1), (60, 60), (86_400, 3600), (u32::MAX, 3600)] {
        let server = Server::start(move |asked| match asked.kind {
            TYPE::A => asked.reply().a("app", ttl, [10, 0, 0, 1]).sent(),
            _ => asked.reply().sent(),
        });
        assert_eq!(seconds(&ask(&server, "app").unwrap()), Some(kept));
    }
}

#[test]
fn the_hosts_file_comes_before_name_servers_and_has_no_ttl() {
    let scratch = Scratch::new();
    scratch.write("hosts", "10.0.0.7 app\n::7 app\n");
    let (_socket, dead) = silent();
    let answer = resolve(&host("App."), &scratch.config(&[dead], PATIENT)).unwrap();
    assert_eq!((addresses(&answer), answer.ttl), (vec!["10.0.0.7:80".into(), "[::7]:80".into()], None));
}

#[test]
fn an_address_is_its_own_answer() {
    let (_socket, dead) = silent();
    let config = Scratch::new().config(&[dead], PATIENT);
    assert_eq!(addresses(&resolve(&host("10.0.0.7"), &config).unwrap()), ["10.0.0.7:80"]);
    assert_eq!(addresses(&resolve(&host("::7"), &config).unwrap()), ["[::7]:80"]);
}

#[test]
fn short_names_are_looked_for_in_the_search_list() {
    let server = Server::start(|asked| match &asked.name[..] {
        "app.b" | "long.name" => app(asked),
        "down.a" => asked.fails(RCODE::ServerFailure),
        _ => asked.fails(RCODE::NameError),
    });
    let scratch = Scratch::new();
    scratch.write("resolv.conf", "nameserver 192.0.2.1\nsearch a b\noptions ndots:1 attempts:1\n");
    let ask = |name| resolve(&host(name), &scratch.config(&[server.address], PATIENT));
    assert_eq!(ask("app").unwrap().servers.len(), 2);
    assert_eq!(ask("long.name").unwrap().servers.len(), 2);
    assert_eq!(ask("app."), Err(ResolveError::NoSuchName));
    // `down.b` may not be taken for `down.a`, which exists perhaps.
    assert_eq!(ask("down"), Err(ResolveError::ServerFailure { server: server.address, code: 2 }));
}

#[test]
fn each_question_has_an_id_and_a_port_of_its_own() {
    let ids = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = Server::start({
        let ids = ids.clone();
        move |asked| {
            ids.lock().unwrap().push(asked.id);
            app(asked)
        }
    });
    for _ in 0..20 {
        ask(&server, "app").unwrap();
    }
    let mut ids = ids.lock().unwrap().clone();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() > 30, "40 random ids of 65,536: {ids:?}");
}

#[test]
fn the_one_family_that_is_missing_is_asked_for_only_once_more() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let count = asked.clone();
        move |asked| match asked.kind {
            TYPE::A => app(asked),
            _ => {
                count.fetch_add(1, Ordering::Relaxed);
                asked.fails(RCODE::ServerFailure)
            }
        }
    });
    let scratch = Scratch::new();
    scratch.write("resolv.conf", "options attempts:5\n");
    assert!(resolve(&host("app"), &scratch.config(&[server.address], PATIENT)).is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_tcp_answer_that_never_ends_is_waited_for_only_so_long() {
    // Its length says more than comes; the connection is closed, or cut by the deadline.
    let server = Server::start(|asked| match asked.tcp {
        false => asked.reply().truncated().sent(),
        true => Vec::new(),
    });
    let config = ResolverConfig {
        timeout: Some(Duration::from_secs(1)),
        ..Scratch::new().config(&[server.address], SHORT)
    };
    assert!(matches!(resolve(&host("app"), &config), Err(ResolveError::Io { .. })));
}
