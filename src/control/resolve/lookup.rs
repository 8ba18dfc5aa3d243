//! From a query to its servers: what files know, the names that a short name may mean, both kinds of addresses, and
//! the targets of SRV records.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::control::resolve::files::Files;
use crate::control::resolve::hosts::Hosts;
use crate::control::resolve::message::{Data, Found, Kind, Question, Reply};
use crate::control::resolve::name_servers::NameServers;
use crate::control::resolve::resolv_conf::ResolvConf;
use crate::control::resolve::{Answer, MAX_SERVERS, MAX_TTL, MIN_TTL, Query, ResolveError, Resolved};

/// How long one lookup may take, whatever the name servers do.
pub const TOTAL: Duration = Duration::from_secs(30);
/// A name's length without the dot at its end.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The answer to what needs no name server: an address, or a name in the hosts file.
pub fn local(query: &Query, files: &Files) -> Option<Answer> {
    let Query::Host { name, port } = query else { return None };
    Some(Addresses::local(name, &files.hosts())?.answer(*port))
}

pub struct Lookup<'a> {
    files: &'a Files,
    settings: ResolvConf,
    servers: &'a NameServers,
    deadline: Instant,
}

impl<'a> Lookup<'a> {
    pub fn new(files: &'a Files, servers: &'a NameServers) -> Lookup<'a> {
        Lookup { files, settings: files.settings(), servers, deadline: Instant::now() + TOTAL }
    }

    pub fn resolve(&self, query: &Query) -> Result<Answer, ResolveError> {
        let name = match query {
            Query::Host { name, .. } | Query::Srv(name) => name,
        };
        match query {
            Query::Host { port, .. } => match Addresses::local(name, &self.files.hosts()) {
                Some(addresses) => Ok(addresses.answer(*port)),
                None => Ok(self.first(name, |candidate| self.addresses(candidate))?.answer(*port)),
            },
            Query::Srv(_) => self.first(name, |candidate| self.services(candidate)),
        }
    }

    /// The first name, of those that this one may mean, that exists. A name server's failure ends the search: the next
    /// name could be another one's.
    fn first<T>(&self, name: &str, of: impl Fn(&str) -> Result<T, ResolveError>) -> Result<T, ResolveError> {
        if !is_valid(name) {
            return Err(ResolveError::BadName);
        }
        let mut outcome = Err(ResolveError::NoSuchName);
        for candidate in self.settings.candidates(name).iter().filter(|candidate| is_valid(candidate)) {
            match of(candidate) {
                Err(ResolveError::NoSuchName) => {}
                Err(error) if error.is_answer() => outcome = Err(error),
                other => return other,
            }
        }
        outcome
    }

    /// What name servers know of a full name.
    fn addresses(&self, name: &str) -> Result<Addresses, ResolveError> {
        let questions = [Kind::V4, Kind::V6].map(|kind| Question { name: name.into(), kind });
        let outcomes = self.servers.ask(&questions, &self.settings, self.deadline);
        let mut addresses = Addresses::default();
        let (mut exists, mut failure) = (false, None);
        for (question, outcome) in questions.iter().zip(outcomes) {
            match outcome {
                Ok(reply) => {
                    exists |= reply.exists;
                    addresses.add(reply.of(name), question.kind);
                }
                Err(error) => {
                    addresses.fail(question.kind);
                    failure = Some(error);
                }
            }
        }
        match failure {
            _ if !addresses.list.is_empty() => Ok(addresses),
            Some(error) => Err(error),
            None if exists => Err(ResolveError::NoData),
            None => Err(ResolveError::NoSuchName),
        }
    }

    fn services(&self, name: &str) -> Result<Answer, ResolveError> {
        let question = Question { name: name.into(), kind: Kind::Srv };
        let outcome = self.servers.ask(&[question], &self.settings, self.deadline).pop();
        let reply = outcome.unwrap_or(Err(ResolveError::Fault))?;
        if !reply.exists {
            return Err(ResolveError::NoSuchName);
        }
        self.servers_of(reply.of(name), &reply)
    }

    /// The targets' addresses. One that has none is left out; one that no name server can tell fails the whole, so that
    /// its servers are not taken for gone.
    fn servers_of(&self, services: Found, reply: &Reply) -> Result<Answer, ResolveError> {
        let mut known: HashMap<String, Addresses> = HashMap::new();
        let (mut servers, mut all) = (Vec::new(), Addresses::default());
        all.keep_ttl(services.ttl.map(clamped));
        for service in services.data.into_iter().take(MAX_SERVERS) {
            let Data::Service { priority, weight, port, target } = service else { continue };
            // The root in place of a name: decidedly no server.
            if port == 0 || target.is_empty() {
                continue;
            }
            let addresses = match known.get(&target) {
                Some(addresses) => addresses,
                None => {
                    let addresses = self.target(&target, reply)?;
                    known.entry(target).or_insert(addresses)
                }
            };
            all.keep_ttl(addresses.ttl);
            all.v4_failed |= addresses.v4_failed;
            all.v6_failed |= addresses.v6_failed;
            let server = |ip: &IpAddr| Resolved {
                address: SocketAddr::new(*ip, port),
                weight: Some(weight),
                priority,
            };
            servers.extend(addresses.list.iter().map(server));
        }
        if servers.is_empty() { Err(ResolveError::NoData) } else { Ok(all.answer_with(servers)) }
    }

    /// The addresses of a target, which is a full name: of the hosts file, of those that came along, or asked for. Empty
    /// if it has none.
    fn target(&self, target: &str, reply: &Reply) -> Result<Addresses, ResolveError> {
        if let Some(addresses) = Addresses::local(target, &self.files.hosts()) {
            return Ok(addresses);
        }
        let mut addresses = Addresses::default();
        addresses.add(reply.additional(target), Kind::V4);
        addresses.add(reply.additional(target), Kind::V6);
        if !addresses.list.is_empty() {
            return Ok(addresses);
        }
        match self.addresses(target) {
            Err(error) if error.is_answer() => Ok(Addresses::default()),
            outcome => outcome,
        }
    }
}

#[derive(Default)]
struct Addresses {
    list: Vec<IpAddr>,
    ttl: Option<Duration>,
    v4_failed: bool,
    v6_failed: bool,
}

impl Addresses {
    fn local(name: &str, hosts: &Hosts) -> Option<Addresses> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let list = match name.parse() {
            Ok(address) => vec![address],
            Err(_) => hosts.of(&name).to_vec(),
        };
        (!list.is_empty()).then(|| Addresses { list, ..Addresses::default() })
    }

    fn add(&mut self, found: Found, kind: Kind) {
        let before = self.list.len();
        self.list.extend(found.data.iter().filter_map(|data| usable(data, kind)));
        if self.list.len() > before {
            self.keep_ttl(found.ttl.map(clamped));
        }
    }

    fn fail(&mut self, kind: Kind) {
        self.v4_failed |= kind == Kind::V4;
        self.v6_failed |= kind == Kind::V6;
    }

    /// The least one counts.
    fn keep_ttl(&mut self, ttl: Option<Duration>) {
        self.ttl = self.ttl.into_iter().chain(ttl).min();
    }

    fn answer(self, port: u16) -> Answer {
        let server =
            |ip: &IpAddr| Resolved { address: SocketAddr::new(*ip, port), weight: None, priority: 0 };
        let servers = self.list.iter().map(server).collect();
        self.answer_with(servers)
    }

    fn answer_with(&self, servers: Vec<Resolved>) -> Answer {
        let (v4_failed, v6_failed) = (self.v4_failed, self.v6_failed);
        Answer { v4_failed, v6_failed, ..Answer::new(servers, self.ttl) }
    }
}

/// Name servers that block names answer with `0.0.0.0`, which would be this machine.
fn usable(data: &Data, kind: Kind) -> Option<IpAddr> {
    let Data::Address(ip) = data else { return None };
    let asked = ip.is_ipv4() == (kind == Kind::V4);
    (asked && !ip.is_unspecified() && !ip.is_multicast()).then_some(*ip)
}

fn clamped(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into()).clamp(MIN_TTL, MAX_TTL)
}

/// Letters, digits, `-` and `_` in labels; a dot at the end is fine.
fn is_valid(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(known);
    name.len() <= MAX_NAME && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_server_could_know_is_not_asked_for() {
        for name in ["app", "app.internal", "app.internal.", "_http._tcp.x-1", &"a.".repeat(126)] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", ".", "a..b", ".a", "a b", "a\\.b", "ä", "a/b", &"a".repeat(64), &"a.".repeat(130)] {
            assert!(!is_valid(name), "{name}");
        }
    }

    #[test]
    fn this_machine_and_groups_are_no_servers_of_others() {
        let usable = |ip: &str, kind| usable(&Data::Address(ip.parse().unwrap()), kind).is_some();
        assert!(usable("127.0.0.1", Kind::V4) && usable("::1", Kind::V6));
        assert!(!usable("0.0.0.0", Kind::V4) && !usable("::", Kind::V6) && !usable("224.0.0.1", Kind::V4));
        assert!(!usable("::1", Kind::V4));
    }
}
