//! `/etc/resolv.conf`: which name servers to ask, how long, and what to append to short names; as resolv.conf(5)
//! says, with its defaults and limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

const PORT: u16 = 53;
const MAX_SERVERS: usize = 3;
const MAX_SUFFIXES: usize = 16;
const MAX_NDOTS: usize = 15;
const MAX_TIMEOUT: u64 = 30;
const MAX_ATTEMPTS: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    pub servers: Vec<SocketAddr>,
    /// Appended to names in turn, without dots around.
    pub search: Vec<String>,
    /// A name with fewer dots is tried with the suffixes first.
    pub ndots: usize,
    /// For one answer of one server.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: usize,
}

impl ResolvConf {
    /// What is unknown is skipped.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < MAX_SERVERS => {
                    conf.servers.extend(words.next().and_then(server));
                }
                // The last of these lines counts.
                Some("search") => conf.search = words.filter_map(suffix).take(MAX_SUFFIXES).collect(),
                Some("domain") => conf.search = words.take(1).filter_map(suffix).collect(),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = (value as usize).min(MAX_NDOTS),
            "timeout" => self.timeout = Duration::from_secs(u64::from(value).clamp(1, MAX_TIMEOUT)),
            "attempts" => self.attempts = (value as usize).clamp(1, MAX_ATTEMPTS),
            _ => {}
        }
    }

    /// The full names that this name may mean, in the order to ask for them.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_string()];
        }
        let long = name.matches('.').count() >= self.ndots;
        let full = self.search.iter().map(|suffix| format!("{name}.{suffix}"));
        let as_it_is = || std::iter::once(name.to_string());
        if long { as_it_is().chain(full).collect() } else { full.chain(as_it_is()).collect() }
    }
}

/// `None` for the root, which as a suffix changes nothing.
fn suffix(word: &str) -> Option<String> {
    let word = word.trim_matches('.');
    (!word.is_empty()).then(|| word.to_string())
}

/// `10.0.0.2`, `2001:db8::2` or `fe80::1%eth0`.
fn server(word: &str) -> Option<SocketAddr> {
    let Some((address, zone)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, PORT));
    };
    let scope = zone.parse().ok().or_else(|| interface_index(zone))?;
    Some(SocketAddr::V6(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope)))
}

/// From sysfs, since if_nametoindex(3) is not in `std`.
fn interface_index(name: &str) -> Option<u32> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
    if name.starts_with('.') || !name.chars().all(harmless) {
        return None;
    }
    std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        ResolvConf::parse(text).servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn three_servers_count_and_without_any_the_local_one() {
        let text = "nameserver 10.0.0.2\n nameserver ::2 # c\nnameserver x\nnameserver 10.0.0.3\nnameserver 10.0.0.4";
        assert_eq!(servers(text), ["10.0.0.2:53", "[::2]:53", "10.0.0.3:53"]);
        assert_eq!(servers("; nothing\n#nameserver 10.0.0.2\n"), ["127.0.0.1:53"]);
        assert_eq!(servers("nameserver fe80::1%7\nnameserver fe80::1%../x\n"), ["[fe80::1%7]:53"]);
    }

    #[test]
    fn options_are_kept_within_their_limits() {
        let conf = ResolvConf::parse("options ndots:5 timeout:0 attempts:99 rotate ndots:x :\n");
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (5, Duration::from_secs(1), 5));
        let plain = ResolvConf::parse("");
        assert_eq!((plain.ndots, plain.timeout, plain.attempts), (1, Duration::from_secs(5), 2));
    }

    #[test]
    fn short_names_are_tried_with_the_suffixes_first_and_long_ones_last() {
        let conf = ResolvConf::parse("domain gone\nsearch a.b. c .\noptions ndots:2\n");
        assert_eq!(conf.candidates("app"), ["app.a.b", "app.c", "app"]);
        assert_eq!(conf.candidates("x.y.app"), ["x.y.app", "x.y.app.a.b", "x.y.app.c"]);
        assert_eq!(conf.candidates("app."), ["app"]);
        assert_eq!(ResolvConf::parse("search x\ndomain one two\n").candidates("app"), ["app.one", "app"]);
    }
}
