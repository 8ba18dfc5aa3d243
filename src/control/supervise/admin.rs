//! What the admin address answers. `/ready`, `/live` and `/metrics` are for programs and for everybody who can reach the
//! address; `/` and `/api` are also for browsers, whose other pages must neither read them (DNS rebinding) nor change
//! anything (cross-site requests).

use std::net::IpAddr;
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Deserialize;

use super::{Running, Stage};
use crate::balance::Administrative;
use crate::base::counted::counted;
use crate::config::{Address, Admin};
use crate::control::by_hand::{self, Change};
use crate::control::dashboard::dashboard;
use crate::control::sockets::http::{HttpAnswer, HttpMethod, HttpRequest};
use crate::control::stats::{View, metrics, state};

/// What is said of paths that are not there.
const PATHS: &str = "there are /, /ready, /live, /metrics and /api/state\n";
const SERVERS: &str = "/api/servers/";
/// Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The body of a request to change a server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: Option<String>,
    weight: Option<u32>,
}

impl Running<'_> {
    pub(super) fn answer(&mut self, request: &HttpRequest) -> HttpAnswer {
        let reads = request.method != HttpMethod::Post;
        match request.path.as_str() {
            "/live" if reads => HttpAnswer::text(200, "live\n"),
            "/ready" if reads => self.ready(),
            "/metrics" if reads => self.metrics(),
            path if path == "/" || path.starts_with("/api") => match self.is_foreign(request) {
                Some(refused) => refused,
                None => self.answer_browser(request),
            },
            "/live" | "/ready" | "/metrics" => HttpAnswer::text(405, "expected GET or HEAD\n"),
            _ => HttpAnswer::text(404, PATHS),
        }
    }

    fn answer_browser(&mut self, request: &HttpRequest) -> HttpAnswer {
        match (request.method, request.path.as_str()) {
            (HttpMethod::Get | HttpMethod::Head, "/") => page(),
            (HttpMethod::Get | HttpMethod::Head, "/api/state") => self.state(),
            (HttpMethod::Post, path) if path.starts_with(SERVERS) => self.change(request),
            (_, path) if path == "/" || path == "/api/state" || path.starts_with(SERVERS) => {
                HttpAnswer::error(405, "not with this method")
            }
            _ => HttpAnswer::text(404, PATHS),
        }
    }

    fn ready(&mut self) -> HttpAnswer {
        match (self.stage, self.unchecked()) {
            (Stage::Serving, 0) => HttpAnswer::text(200, "ready\n"),
            (Stage::Serving, servers) => {
                let servers = counted(servers as u64, "server");
                HttpAnswer::text(503, format!("starting: no check of {servers} has ended yet\n"))
            }
            _ => HttpAnswer::text(503, "draining\n"),
        }
    }

    fn metrics(&mut self) -> HttpAnswer {
        self.stats.read_hosts(self.process.config.settings.hosts);
        HttpAnswer::new(200, EXPOSITION, metrics::text(&self.view()))
    }

    fn state(&mut self) -> HttpAnswer {
        self.stats.read_hosts(self.process.config.settings.hosts);
        self.unchecked();
        HttpAnswer::json(200, &state::json(&self.view(), Instant::now()))
    }

    /// What there is to tell.
    pub(super) fn view(&self) -> View<'_> {
        let stage = match self.stage {
            Stage::Serving => "serving",
            Stage::Leaving(_) => "leaving",
            Stage::Draining(_) => "draining",
            Stage::Stopping(_) => "stopping",
        };
        let ready = self.stage == Stage::Serving && self.was_ready;
        View { process: self.process, stats: &self.stats, malformed: self.shared.malformed(), stage, ready }
    }

    /// Refuses what a page of another site may have asked for.
    fn is_foreign(&self, request: &HttpRequest) -> Option<HttpAnswer> {
        let Some(host) = request.host.as_deref() else {
            return Some(HttpAnswer::error(400, "Host is missing"));
        };
        let admin = self.process.stated.settings.admin.as_ref();
        if !admin.is_none_or(|admin| is_own_host(host, admin)) {
            return Some(HttpAnswer::error(403, "not asked for by this Host: see `hosts` of `admin`"));
        }
        let own =
            |origin: &str| origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host));
        let is_own = request.origin.as_deref().is_none_or(own);
        let is_foreign = matches!(request.fetch_site.as_deref(), Some("cross-site" | "same-site"));
        if !is_own || is_foreign && !is_link(request) {
            return Some(HttpAnswer::error(403, "asked for by another site"));
        }
        None
    }

    fn may_change(&self, request: &HttpRequest) -> bool {
        let admin = self.process.stated.settings.admin.as_ref();
        let (Some(token), Some(sent)) = (admin.and_then(|admin| admin.token.as_ref()), &request.token) else {
            return false;
        };
        verify_slices_are_equal(token.as_bytes(), sent.as_bytes()).is_ok()
    }

    fn change(&mut self, request: &HttpRequest) -> HttpAnswer {
        if !self.may_change(request) {
            return HttpAnswer::error(401, "expected the token of `admin` as Authorization: Bearer");
        }
        let names = request.path.strip_prefix(SERVERS).and_then(names);
        let Some((pool, server)) =
            names.and_then(|(pool, server)| by_hand::find(self.process, &pool, &server).ok())
        else {
            return HttpAnswer::error(404, "no such pool or server");
        };
        let change = match wanted(&request.body) {
            Ok(change) => change,
            Err(what) => return HttpAnswer::error(400, &what),
        };
        if let Err(what) = by_hand::change(&pool, &server, change) {
            return HttpAnswer::error(400, &what);
        }
        let answer = serde_json::json!({
            "pool": pool.name(), "server": server.name(), "state": server.state().word(), "weight": server.weight(),
        });
        HttpAnswer::json(200, &answer)
    }
}

fn page() -> HttpAnswer {
    let dashboard = dashboard();
    HttpAnswer {
        fields: &dashboard.fields,
        ..HttpAnswer::new(200, "text/html; charset=utf-8", dashboard.page.as_str())
    }
}

/// Whether somebody follows a link to the dashboard, which then has a tab of its own: the page that has the link does not
/// see what is in it.
fn is_link(request: &HttpRequest) -> bool {
    request.path == "/"
        && request.method == HttpMethod::Get
        && request.fetch_dest.as_deref() == Some("document")
}

/// Pool and server of a path `POOL/SERVER`. The first `/` is between them; in names it may be percent-encoded.
fn names(path: &str) -> Option<(String, String)> {
    let (pool, server) = path.split_once('/')?;
    Some((decoded(pool)?, decoded(server)?))
}

fn wanted(body: &[u8]) -> Result<Change, String> {
    const EXPECTED: &str = "expected {\"state\": \"ready\", \"drain\" or \"maint\"} or {\"weight\": NUMBER}";
    let Wanted { state, weight } =
        serde_json::from_slice(body).map_err(|error| format!("{error}; {EXPECTED}"))?;
    let state = match state.as_deref() {
        None => None,
        Some(word) => Some(Administrative::from_text(word).ok_or(EXPECTED)?),
    };
    match (state, weight) {
        (None, None) => Err(EXPECTED.into()),
        (state, weight) => Ok(Change { state, weight }),
    }
}

/// Whether nobody but an operator has a name by which this is asked for: an address cannot be made to point elsewhere.
fn is_own_host(host: &str, admin: &Admin) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let listed = name == "localhost" || admin.hosts.contains(&name);
    match (name.parse::<IpAddr>(), &admin.address) {
        _ if listed => true,
        (Ok(ip), _) if ip.is_loopback() => true,
        (Ok(ip), Address::Ip(own)) => own.ip() == ip || own.ip().is_unspecified(),
        // No browser gets there.
        (_, Address::Unix(_)) => true,
        _ => false,
    }
}

/// Percent-decoded; `None` if that is no text.
fn decoded(path: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        let escaped = more.get(..2).filter(|_| *first == b'%');
        let code = escaped.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'%', None) => return None,
            (b'%', Some(byte)) => (bytes.push(byte), rest = &more[2..]).1,
            (byte, _) => (bytes.push(*byte), rest = more).1,
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_operator_are_own_hosts() {
        let admin = |address: &str| Admin {
            address: Address::Ip(address.parse().unwrap()),
            token: None,
            hosts: vec!["ops.example.com".into()],
        };
        let own = |host: &str, address: &str| is_own_host(host, &admin(address));
        for host in
            ["localhost", "LOCALHOST:9180", "127.0.0.1:9180", "[::1]:9180", "ops.example.com.:1", "10.0.0.1"]
        {
            assert!(own(host, "10.0.0.1:9180"), "{host}");
        }
        for host in ["evil.example", "10.0.0.2:9180", "localhost.evil.example", "ops.example.com.evil", ""] {
            assert!(!own(host, "10.0.0.1:9180"), "{host}");
        }
        assert!(own("10.0.0.2:9180", "0.0.0.0:9180") && !own("evil.example", "0.0.0.0:9180"));
    }

    #[test]
    fn a_path_is_percent_decoded() {
        let both = |pool: &str, server: &str| Some((pool.to_owned(), server.to_owned()));
        assert_eq!(names("web/unix:/run/a.sock"), both("web", "unix:/run/a.sock"));
        assert_eq!(names("a%2Fb/%3Cc%3E"), both("a/b", "<c>"));
        assert_eq!(names("web"), None);
        assert_eq!(decoded("web/unix:%2Frun%2Fa.sock").as_deref(), Some("web/unix:/run/a.sock"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_change_is_a_state_or_a_weight() {
        assert_eq!(
            wanted(b"{\"state\": \"drain\"}"),
            Ok(Change { state: Some(Administrative::Drain), weight: None })
        );
        assert_eq!(wanted(b"{\"weight\": 5}"), Ok(Change { state: None, weight: Some(5) }));
        for bad in ["", "{}", "[]", "{\"state\": \"down\"}", "{\"weight\": -1}", "{\"weight\": 1, \"x\": 2}"]
        {
            assert!(wanted(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
