//! What rsp says, read in all ways, and compared with each other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::Kind;
use super::server::asked;
use crate::support::*;

/// A line of the access log.
#[derive(Clone, Debug)]
pub struct Line {
    pub number: u64,
    pub kind: Kind,
    pub status: u16,
    pub end: String,
    pub pool: String,
    pub server: String,
    pub listener: String,
    pub retries: u64,
    pub sent: u64,
    pub received: u64,
}

impl Line {
    fn parse(text: &str) -> Line {
        let json: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let word = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| json[key].as_u64().unwrap_or_else(|| panic!("no {key}: {text}"));
        let (id, kind) = asked(&word("target"));
        // There the log says what is wrong with it.
        let end = if kind == Kind::Malformed { "client-bad-request".into() } else { word("end") };
        Line {
            number: id,
            kind,
            status: number("status") as u16,
            end,
            pool: word("pool"),
            server: word("server"),
            listener: word("listener"),
            retries: number("retries"),
            sent: number("sent"),
            received: number("received"),
        }
    }

    /// Whether the client got the response of a server, or the begin of one.
    fn is_servers(&self) -> bool {
        let begun = ["client-cut-response", "server-cut-response"].contains(&self.end.as_str());
        self.end == "complete" || begun && self.status == 200
    }

    fn class(&self) -> usize {
        usize::from(self.status) / 100
    }
}

pub struct Said {
    pub lines: Vec<Line>,
    metrics: BTreeMap<String, u64>,
    state: Value,
    stat: Vec<BTreeMap<String, String>>,
    info: String,
    /// What does not agree.
    pub wrong: RefCell<Vec<String>>,
}

/// By name and class.
type Counts = BTreeMap<(String, usize), u64>;

impl Said {
    /// Once so many lines are written and nothing runs any more.
    pub fn once_quiet(rsp: &Rsp, count: u64) -> Said {
        let log = || rsp.directory().read("access.log");
        until("all lines are written", || log().matches('\n').count() as u64 >= count);
        let admin =
            rsp.log().lines().find_map(|line| line.split("Admin address: ").nth(1).map(str::to_owned));
        let admin = admin.expect("an admin address");
        let control = rsp.directory().join("control.sock");
        let ask = |command: &str| {
            let mut stream = UnixStream::connect(&control).expect("the control socket");
            stream.write_all(format!("{command}\n").as_bytes()).expect("a command");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer
        };
        until("no client is there", || ask("show info").contains("\nCurrConns: 0\n"));
        let json = || serde_json::from_str::<Value>(&ask_admin(&admin, "/api/state")).expect("JSON");
        until("nothing is in flight", || json()["totals"]["in_flight"] == 0);
        Said {
            lines: log().lines().map(Line::parse).collect(),
            metrics: samples(&ask_admin(&admin, "/metrics")),
            state: json(),
            stat: rows(&ask("show stat")),
            info: ask("show info"),
            wrong: RefCell::default(),
        }
    }

    /// Notes it if these are not.
    pub fn same<A: PartialEq<B> + Debug, B: Debug>(&self, left: A, right: B, what: impl Display) {
        if left != right {
            self.wrong.borrow_mut().push(format!("{what}: {left:?}, {right:?}"));
        }
    }

    pub fn ends(&self) -> BTreeMap<&str, u64> {
        self.lines.iter().fold(BTreeMap::new(), |mut ends, line| {
            *ends.entry(line.end.as_str()).or_default() += 1;
            ends
        })
    }

    pub fn ends_in_metrics(&self, reason: &str) -> u64 {
        self.metrics[&format!("rsp_ends_total{{reason=\"{reason}\"}}")]
    }

    pub fn info(&self, key: &str) -> u64 {
        let line = self.info.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in {}", self.info))
    }

    pub fn stat(&self, proxy: &str, name: &str, column: &str) -> u64 {
        let row = self.stat.iter().find(|row| row["pxname"] == proxy && row["svname"] == name);
        let value = row.map(|row| row[column].as_str()).unwrap_or_else(|| panic!("no {proxy}/{name}"));
        value.parse().unwrap_or_else(|_| panic!("{column} of {proxy}/{name} is {value:?}"))
    }

    /// Sums over lines, by a name and the class.
    fn counted(&self, name: impl Fn(&Line) -> Option<String>) -> Counts {
        self.lines.iter().fold(Counts::new(), |mut counts, line| {
            if let Some(name) = name(line) {
                *counts.entry((name, line.class())).or_default() += 1;
            }
            counts
        })
    }

    fn sum(&self, of: impl Fn(&Line) -> u64, which: impl Fn(&Line) -> bool) -> u64 {
        self.lines.iter().filter(|line| which(line)).map(of).sum()
    }

    pub fn agrees_with_itself(&self) {
        self.servers_agree();
        self.listeners_agree();
        self.pools_agree();
        self.totals_agree();
    }

    /// Requests by server and class, and their bytes; rsp's own answers.
    fn servers_agree(&self) {
        let logged = self.counted(|line| {
            let server = format!("pool=\"{}\",server=\"{}\"", line.pool, line.server);
            Some(if line.is_servers() { server } else { "pool=\"\",server=\"\"".into() })
        });
        let mut told = Counts::new();
        for (name, count) in self.metrics.iter().filter(|(_, count)| **count > 0) {
            let Some(labels) = name.strip_prefix("rsp_requests_total{") else { continue };
            let (labels, class) = labels.split_once(",class=\"").expect("a class");
            *told.entry((labels.to_owned(), class[..1].parse().expect("a digit"))).or_default() += count;
        }
        self.same(told, logged.clone(), "rsp_requests_total, the access log");
        for server in self.servers() {
            let of = |line: &Line| line.is_servers() && line.pool == server.0 && line.server == server.1;
            let state = self.server_state(&server);
            let stat = |column: &str| self.stat(&server.0, &server.1, column);
            for class in 1..6usize {
                let key = (format!("pool=\"{}\",server=\"{}\"", server.0, server.1), class);
                let count = logged.get(&key).copied().unwrap_or_default();
                self.same(stat(&format!("hrsp_{class}xx")), count, format_args!("{server:?} {class}xx"));
                let state = state["classes"][format!("{class}xx")].as_u64().unwrap_or_default();
                self.same(state, count, format_args!("{server:?} {class}xx in the state"));
            }
            let (received, sent) = (self.sum(|line| line.received, of), self.sum(|line| line.sent, of));
            self.same((stat("bin"), stat("bout")), (received, sent), format_args!("{server:?}"));
            self.same(
                (&state["bytes_in"], &state["bytes_out"]),
                (&received.into(), &sent.into()),
                format_args!("{server:?}"),
            );
            self.same(&state["tries"], stat("stot"), format_args!("{server:?}"));
        }
    }

    fn listeners_agree(&self) {
        let logged = self.counted(|line| Some(line.listener.clone()));
        for listener in ["tcp", "unix"] {
            let of = |line: &Line| line.listener == listener;
            let state = self.state["listeners"].as_array().unwrap().iter().find(|of| of["name"] == listener);
            let (state, all) = (state.expect("a listener"), self.sum(|_| 1, of));
            self.same(
                (self.stat(listener, "FRONTEND", "req_tot"), &state["requests"]),
                (all, &all.into()),
                "(self.stat(listener, FRONTEND, req_tot), &state[requests])",
            );
            for class in 1..6usize {
                let count = logged.get(&(listener.to_owned(), class)).copied().unwrap_or_default();
                let stat = self.stat(listener, "FRONTEND", &format!("hrsp_{class}xx"));
                self.same(stat, count, format_args!("{listener} {class}xx"));
            }
            let (received, sent) = (self.sum(|line| line.received, of), self.sum(|line| line.sent, of));
            let stat = |column: &str| self.stat(listener, "FRONTEND", column);
            self.same((stat("bin"), stat("bout")), (received, sent), format_args!("{listener}"));
        }
    }

    fn pools_agree(&self) {
        for pool in ["web", "late", "refused"] {
            let of = |line: &Line| line.pool == pool;
            let routed = self.sum(|_| 1, of);
            self.same(
                self.metrics[&format!("rsp_request_seconds_count{{pool=\"{pool}\"}}")],
                routed,
                format_args!("{pool}"),
            );
            let retries = self.sum(|line| line.retries, of);
            self.same(
                self.metrics[&format!("rsp_retries_total{{pool=\"{pool}\"}}")],
                retries,
                format_args!("{pool}: retries"),
            );
            let answered = self.sum(|_| 1, |line| of(line) && line.is_servers());
            let state = self.state["pools"].as_array().unwrap().iter().find(|of| of["name"] == pool);
            self.same(&state.expect("a pool")["requests"], answered, format_args!("{pool}"));
            self.same(self.stat(pool, "BACKEND", "req_tot"), answered, format_args!("{pool}"));
            self.errors_agree(pool);
        }
    }

    /// Failures count at the server where they happened, also of a try that another one followed.
    fn errors_agree(&self, pool: &str) {
        let ended = |which: fn(&str) -> bool| self.sum(|_| 1, |line| line.pool == pool && which(&line.end));
        let of_connect = |end: &str| matches!(end, "server-refused" | "server-connect-timeout");
        let of_response = |end: &str| end.starts_with("server-") && end != "server-refused";
        let retries = self.sum(|line| line.retries, |line| line.pool == pool);
        let stat = |column: &str| self.stat(pool, "BACKEND", column);
        match pool {
            "refused" => self.same(
                (stat("econ"), stat("eresp")),
                (ended(of_connect) + retries, 0),
                "(stat(econ), stat(eresp))",
            ),
            _ => self.same(
                (stat("econ"), stat("eresp")),
                (0, ended(of_response) + retries),
                format_args!("{pool}"),
            ),
        }
    }

    fn totals_agree(&self) {
        let all = self.lines.len() as u64;
        let metrics = |name: &str| -> u64 {
            self.metrics.iter().filter(|(of, _)| of.starts_with(name)).map(|(_, count)| count).sum()
        };
        self.same(metrics("rsp_requests_total{"), all, "metrics(rsp_requests_total)");
        self.same(metrics("rsp_host_requests_total{"), all, "metrics(rsp_host_requests_total)");
        self.same(
            (self.info("CumReq"), &self.state["totals"]["requests"]),
            (all, &all.into()),
            "(self.info(CumReq), &self.state[totals][requests])",
        );
        for (end, count) in self.ends() {
            self.same(
                (self.ends_in_metrics(end), &self.state["ends"][end]),
                (count, &count.into()),
                format_args!("{end}"),
            );
        }
        let not_requests = ["client-lingered", "client-silent", "reused-stale", "accept-failed"];
        let others: u64 = not_requests.iter().map(|reason| self.ends_in_metrics(reason)).sum();
        self.same(metrics("rsp_ends_total{") - others, all, "ends of requests");
        self.same(metrics("rsp_log_lines_dropped_total{"), 0, "metrics(rsp_log_lines_dropped_total)");
    }

    fn servers(&self) -> Vec<(String, String)> {
        let is_server = |row: &&BTreeMap<String, String>| row["type"] == "2";
        self.stat.iter().filter(is_server).map(|row| (row["pxname"].clone(), row["svname"].clone())).collect()
    }

    fn server_state(&self, (pool, server): &(String, String)) -> &Value {
        let named = |list: &'_ Value, name: &str| {
            list.as_array().and_then(|list| list.iter().position(|of| of["name"] == name)).expect("a name")
        };
        let pools = &self.state["pools"];
        let servers = &pools[named(pools, pool)]["servers"];
        &servers[named(servers, server)]
    }
}

fn ask_admin(address: &str, path: &str) -> String {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).response().text()
}

/// Whole numbers by name and labels; each once.
fn samples(text: &str) -> BTreeMap<String, u64> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        let value: f64 = value.parse().expect("a number");
        assert!(samples.insert(name.to_owned(), value as u64).is_none(), "{name} is there twice");
    }
    samples
}

/// The rows of `show stat` by column.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let head: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    let row = |line: &str| {
        head.iter().map(|name| (*name).to_owned()).zip(line.split(',').map(str::to_owned)).collect()
    };
    lines.map(row).collect()
}
