//! SRV records and their targets.

use std::sync::{Arc, Mutex};

use simple_dns::{RCODE, TYPE};

use super::server::{Asked, Server};
use super::{PATIENT, Scratch, addresses};
use crate::control::resolve::{Answer, Query, ResolveError, resolve};

const NAME: &str = "_http._tcp.app";

fn ask(server: &Server, scratch: &Scratch) -> Result<Answer, ResolveError> {
    resolve(&Query::Srv(NAME.into()), &scratch.config(&[server.address], PATIENT))
}

/// `one` and `two` have an address each; `gone` does not exist, `down` cannot be told.
fn target(asked: &Asked) -> Vec<Vec<u8>> {
    match (&asked.name[..], asked.kind) {
        ("one", TYPE::A) => asked.reply().a("one", 20, [10, 0, 0, 1]).sent(),
        ("two", TYPE::AAAA) => asked.reply().aaaa("two", 60, "::2").sent(),
        ("one" | "two", _) => asked.reply().sent(),
        ("down", _) => asked.fails(RCODE::ServerFailure),
        _ => asked.fails(RCODE::NameError),
    }
}

#[test]
fn the_targets_of_services_are_resolved_with_port_weight_and_priority() {
    let server = Server::start(|asked| match asked.kind {
        TYPE::SRV => {
            let reply = asked.reply().srv(NAME, 60, [20, 1, 81], "two").srv(NAME, 60, [10, 5, 8080], "one");
            reply.srv(NAME, 60, [10, 0, 80], "gone").srv(NAME, 60, [0, 0, 0], "one").sent()
        }
        _ => target(asked),
    });
    let answer = ask(&server, &Scratch::new()).unwrap();
    assert_eq!(addresses(&answer), ["10.0.0.1:8080", "[::2]:81"]);
    let rest: Vec<_> = answer.servers.iter().map(|server| (server.priority, server.weight)).collect();
    assert_eq!(rest, [(10, Some(5)), (20, Some(1))]);
    assert_eq!(answer.ttl.unwrap().as_secs(), 20);
}

#[test]
fn addresses_that_came_along_are_not_asked_for() {
    let asked_for = Arc::new(Mutex::new(Vec::new()));
    let server = Server::start({
        let asked_for = asked_for.clone();
        move |asked| {
            asked_for.lock().unwrap().push(asked.name.clone());
            match asked.kind {
                TYPE::SRV => {
                    let reply =
                        asked.reply().srv(NAME, 60, [1, 1, 80], "One").srv(NAME, 60, [1, 1, 80], "two");
                    reply.additional_a("one", 5, [10, 0, 0, 9]).sent()
                }
                _ => target(asked),
            }
        }
    });
    let answer = ask(&server, &Scratch::new()).unwrap();
    assert_eq!(addresses(&answer), ["10.0.0.9:80", "[::2]:80"]);
    assert_eq!(answer.ttl.unwrap().as_secs(), 5);
    assert_eq!(*asked_for.lock().unwrap(), [NAME, "two", "two"]);
}

#[test]
fn the_hosts_file_counts_for_targets_too() {
    let scratch = Scratch::new();
    scratch.write("hosts", "10.9.9.9 one\n");
    let server = Server::start(|asked| asked.reply().srv(NAME, 60, [1, 1, 80], "one").sent());
    assert_eq!(addresses(&ask(&server, &scratch).unwrap()), ["10.9.9.9:80"]);
}

#[test]
fn one_address_of_several_services_is_one_server_of_the_first_priority() {
    let server = Server::start(|asked| match asked.kind {
        TYPE::SRV => {
            let reply = asked.reply().srv(NAME, 60, [9, 9, 80], "one").srv(NAME, 60, [1, 2, 80], "one");
            reply.srv(NAME, 60, [1, 2, 81], "one").sent()
        }
        _ => target(asked),
    });
    let answer = ask(&server, &Scratch::new()).unwrap();
    assert_eq!(addresses(&answer), ["10.0.0.1:80", "10.0.0.1:81"]);
    assert_eq!(answer.servers[0].priority, 1);
}

#[test]
fn a_target_that_cannot_be_told_fails_the_whole() {
    let server = Server::start(|asked| match asked.kind {
        TYPE::SRV => asked.reply().srv(NAME, 60, [1, 1, 80], "one").srv(NAME, 60, [1, 1, 80], "down").sent(),
        _ => target(asked),
    });
    let error = ResolveError::ServerFailure { server: server.address, code: 2 };
    assert_eq!(ask(&server, &Scratch::new()), Err(error));
}

#[test]
fn services_without_a_server_are_no_data() {
    for targets in [&["gone"][..], &["."], &[]] {
        let server = Server::start(move |asked| match asked.kind {
            TYPE::SRV => {
                let reply =
                    targets.iter().fold(asked.reply(), |reply, to| reply.srv(NAME, 60, [1, 1, 80], to));
                reply.sent()
            }
            _ => target(asked),
        });
        assert_eq!(ask(&server, &Scratch::new()), Err(ResolveError::NoData), "{targets:?}");
    }
    let server = Server::start(|asked| asked.fails(RCODE::NameError));
    assert_eq!(ask(&server, &Scratch::new()), Err(ResolveError::NoSuchName));
}
