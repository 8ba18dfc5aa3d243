//! `/etc/hosts`: addresses of names, asked before any name server. All addresses of a name count, of all its lines.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::control::resolve::MAX_SERVERS;

#[derive(Debug, Default)]
pub struct Hosts {
    /// By name in lower case, without a dot at its end.
    addresses: HashMap<String, Vec<IpAddr>>,
}

impl Hosts {
    /// Lines that cannot be read are skipped, as everybody who reads this file does.
    pub fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            words.for_each(|name| hosts.add(name, address));
        }
        hosts
    }

    fn add(&mut self, name: &str, address: IpAddr) {
        let known = self.addresses.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
        if known.len() < MAX_SERVERS && !known.contains(&address) {
            known.push(address);
        }
    }

    /// The addresses of a name in lower case, without a dot at its end; empty if it is not here.
    pub fn of(&self, name: &str) -> &[IpAddr] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: &str) -> String {
        Hosts::parse(text).of(name).iter().map(|address| format!("{address} ")).collect()
    }

    #[test]
    fn all_addresses_of_all_lines_of_a_name_count() {
        let text = "127.0.0.1\tlocalhost app\n::1 localhost ip6-localhost\n10.0.0.7 App. other # app2\n";
        assert_eq!(of(text, "localhost"), "127.0.0.1 ::1 ");
        assert_eq!(of(text, "app"), "127.0.0.1 10.0.0.7 ");
        assert_eq!(of(text, "app2"), "");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_skipped() {
        let text = "# nothing\n\n10.0.0.300 a\nfe80::1%lo0 a\n10.0.0.1\n10.0.0.2 a\n10.0.0.2 a\r\n";
        assert_eq!(of(text, "a"), "10.0.0.2 ");
    }
}
