//! `show stat`: counters as CSV, with the columns of haproxy 2.6 in their order.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Instant;

use serde_json::Value;

use super::format::{self, Format, tags_of};
use super::{seconds_since, status};
use crate::balance::{PHASES, PoolState, Server, ServerState, ServerTotals};
use crate::base::cells::CLASSES;
use crate::config::{Health, HealthKind};
use crate::control::stats::{ListenerTotals, Sample, View};

pub const COLUMNS: &str = "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,\
wredis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,\
rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,\
hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,\
last_agt,qtime,ctime,rtime,ttime,agent_status,agent_code,agent_duration,check_desc,agent_desc,check_rise,check_fall,\
check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,conn_rate,conn_rate_max,conn_tot,intercepted,\
dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,src_ilim,qtime_max,ctime_max,rtime_max,ttime_max,eint,\
idle_conn_cur,safe_conn_cur,used_conn_cur,need_conn_est,uweight,agg_server_status,agg_server_check_status,\
agg_check_status,-,ssl_sess,ssl_reused_sess,ssl_failed_handshake,h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,\
h2_rst_stream_rcvd,h2_goaway_rcvd,h2_detected_conn_protocol_errors,h2_detected_strm_protocol_errors,\
h2_rst_stream_resp,h2_goaway_resp,h2_open_connections,h2_backend_open_streams,h2_total_connections,\
h2_backend_total_streams,h1_open_connections,h1_open_streams,h1_total_connections,h1_total_streams,h1_bytes_in,\
h1_bytes_out,h1_spliced_bytes_in,h1_spliced_bytes_out";

const FRONTEND: u8 = 1;
const BACKEND: u8 = 2;
const SERVER: u8 = 4;

/// Which rows are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// By name or number.
    pub proxy: Option<String>,
    pub kinds: u8,
    pub server: Option<u32>,
    /// Not those in maint, or only those that are up.
    pub no_maint: bool,
    pub only_up: bool,
    pub format: Format,
}

/// One row: what is not set is empty.
struct Row {
    kind: u8,
    iid: usize,
    sid: usize,
    values: HashMap<&'static str, String>,
}

impl Row {
    fn new(kind: u8, iid: usize, sid: usize) -> Row {
        let mut row = Row { kind, iid, sid, values: HashMap::new() };
        let number = match kind {
            FRONTEND => 0,
            BACKEND => 1,
            _ => 2,
        };
        row.set("pid", 1).set("iid", iid).set("sid", sid).set("type", number);
        row
    }

    fn set(&mut self, column: &'static str, value: impl Display) -> &mut Row {
        self.values.insert(column, value.to_string());
        self
    }

    fn zero(&mut self, columns: &[&'static str]) -> &mut Row {
        columns.iter().for_each(|column| _ = self.values.insert(column, "0".into()));
        self
    }

    fn answers(&mut self, answers: &[u64; CLASSES]) -> &mut Row {
        const NAMES: [&str; 5] = ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx"];
        NAMES.iter().zip(&answers[1..]).for_each(|(column, count)| _ = self.set(column, count));
        self.set("hrsp_other", answers[0] + answers[6..].iter().sum::<u64>())
    }

    fn csv(&self) -> String {
        let cell = |column: &str| match column {
            "-" => "-,".into(),
            column => quoted(self.values.get(column).map_or("", String::as_str)) + ",",
        };
        COLUMNS.split(',').map(cell).collect::<String>() + "\n"
    }

    /// What is set, with its position.
    fn fields(&self) -> impl Iterator<Item = (usize, &'static str, &str)> {
        let columns = COLUMNS.split(',').filter(|column| *column != "-").enumerate();
        columns.filter_map(|(at, column)| Some((at, column, self.values.get(column)?.as_str())))
    }

    fn typed(&self) -> String {
        let letter = match self.kind {
            FRONTEND => 'F',
            BACKEND => 'B',
            _ => 'S',
        };
        let begin = format!("{letter}.{}.{}.", self.iid, self.sid);
        self.fields()
            .map(|(at, name, value)| format::typed(&begin, (at, name, tags_of(name)), value))
            .collect()
    }

    fn json(&self) -> Value {
        let object = match self.kind {
            FRONTEND => "Frontend",
            BACKEND => "Backend",
            _ => "Server",
        };
        let field = |(at, name, value): (usize, &'static str, &str)| {
            let mut field = format::json((at, name, tags_of(name)), value);
            field["objType"] = object.into();
            (field["proxyId"], field["id"]) = (self.iid.into(), self.sid.into());
            field
        };
        self.fields().map(field).collect()
    }
}

/// As RFC 4180, only where it must be.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// What the rows are made of: everything now, and what it was a second ago.
struct Facts<'a> {
    view: &'a View<'a>,
    now: Sample,
    before: Option<(f64, &'a Sample)>,
}

impl Facts<'_> {
    fn rate(&self, now: u64, then: impl Fn(&Sample) -> u64) -> u64 {
        let Some((ago, sample)) = self.before else { return 0 };
        (now.saturating_sub(then(sample)) as f64 / ago).round() as u64
    }
}

/// `None` if there is no such proxy.
pub fn text(view: &View<'_>, wanted: &Wanted, now: Instant) -> Option<String> {
    let rows = rows(view, wanted, now)?;
    Some(match wanted.format {
        Format::Plain => format!("# {COLUMNS},\n") + &rows.iter().map(Row::csv).collect::<String>(),
        Format::Typed => rows.iter().map(Row::typed).collect(),
        Format::Json => rows.iter().map(Row::json).collect::<Value>().to_string() + "\n",
    })
}

fn rows(view: &View<'_>, wanted: &Wanted, now: Instant) -> Option<Vec<Row>> {
    let facts = Facts { view, now: view.sample(), before: view.stats.recent.last(now) };
    let (mut rows, mut found) = (Vec::new(), wanted.proxy.is_none());
    let listeners = &view.process.config.listeners;
    let is_wanted = |name: &str, id: usize| {
        wanted.proxy.as_deref().is_none_or(|proxy| proxy == name || proxy.parse() == Ok(id))
    };
    for (at, listener) in listeners.iter().enumerate() {
        if is_wanted(&listener.name, at + 1) {
            found = true;
            rows.extend((wanted.kinds & FRONTEND != 0).then(|| frontend(&facts, &listener.name, at + 1)));
        }
    }
    for (at, pool) in view.process.pools().iter().enumerate() {
        let id = listeners.len() + at + 1;
        if !is_wanted(pool.name(), id) {
            continue;
        }
        found = true;
        let queued = pool.queue.by_server(&pool.members());
        for (at, of) in pool.members().iter().enumerate() {
            if wanted.has_server(at + 1, of.state()) {
                rows.push(server(&facts, pool, of, (id, at + 1), queued.get(of.name()).copied()));
            }
        }
        if wanted.kinds & BACKEND != 0 {
            rows.push(backend(&facts, pool, id));
        }
    }
    found.then_some(rows)
}

impl Wanted {
    fn has_server(&self, number: usize, state: ServerState) -> bool {
        let in_maint = matches!(state, ServerState::Maint | ServerState::Disabled);
        self.kinds & SERVER != 0
            && self.server.is_none_or(|server| server as usize == number)
            && !(self.no_maint && in_maint)
            && !(self.only_up && state != ServerState::Up)
    }
}

fn frontend(facts: &Facts<'_>, name: &str, id: usize) -> Row {
    let all = facts.now.listeners.get(name).copied().unwrap_or_default();
    let totals = all.since(&facts.view.stats.cleared.listener(name));
    let of = |sample: &Sample| sample.listeners.get(name).copied().unwrap_or_default();
    let requests = |totals: &ListenerTotals| totals.answers.iter().sum::<u64>();
    let conn_rate = facts.rate(all.accepted, |sample| of(sample).accepted);
    let req_rate = facts.rate(requests(&all), |sample| requests(&of(sample)));
    let peak = facts.view.stats.peaks.of_listener(name);
    let mut row = Row::new(FRONTEND, id, 0);
    row.set("pxname", name).set("svname", "FRONTEND").set("status", "OPEN").set("mode", "http");
    row.set("ereq", totals.request_errors);
    row.zero(&["dreq", "dresp", "rate_lim", "comp_in", "comp_out", "comp_byp", "comp_rsp", "intercepted"]);
    row.zero(&["dcon", "dses", "wrew", "cache_lookups", "cache_hits", "eint"]);
    row.set("scur", totals.connections).set("smax", peak.now.max(totals.connections));
    row.set("slim", facts.view.process.config.settings.max_connections).set("stot", totals.accepted);
    row.set("bin", totals.received).set("bout", totals.sent).answers(&totals.answers);
    row.set("rate", conn_rate).set("rate_max", peak.rate.max(conn_rate));
    row.set("conn_rate", conn_rate)
        .set("conn_rate_max", peak.rate.max(conn_rate))
        .set("conn_tot", totals.accepted);
    row.set("req_rate", req_rate).set("req_rate_max", peak.requests.max(req_rate));
    row.set("req_tot", requests(&totals));
    row.set("h1_open_connections", totals.connections).set("h1_total_connections", totals.accepted);
    row
}

/// The columns that a server and its pool have in common.
fn common(row: &mut Row, totals: &ServerTotals, rate: u64, peak: u64) {
    row.zero(&["dresp", "wretr", "wrew", "cache_lookups", "cache_hits", "eint"]);
    row.set("cli_abrt", totals.client_aborts).set("srv_abrt", totals.server_aborts);
    row.set("scur", totals.in_flight).set("stot", totals.tries).set("lbtot", totals.tries);
    row.set("bin", totals.received).set("bout", totals.sent).answers(&totals.answers);
    row.set("econ", totals.connect_errors).set("eresp", totals.response_errors);
    row.set("wredis", totals.redispatched).set("rate", rate).set("rate_max", peak.max(rate));
    row.set("connect", totals.opened).set("reuse", totals.tries.saturating_sub(totals.opened));
    row.set("req_tot", totals.answers.iter().sum::<u64>()).set("mode", "http");
}

/// Of the last requests on average, and the longest, in milliseconds.
fn times(row: &mut Row, average: [u64; PHASES], longest: [u64; PHASES]) {
    let columns =
        [("qtime", "qtime_max"), ("ctime", "ctime_max"), ("rtime", "rtime_max"), ("ttime", "ttime_max")];
    for (at, (of_average, of_longest)) in columns.into_iter().enumerate() {
        row.set(of_average, milliseconds(average[at])).set(of_longest, milliseconds(longest[at]));
    }
}

/// Rounded.
fn milliseconds(micros: u64) -> u64 {
    (micros + 500) / 1000
}

fn server(
    facts: &Facts<'_>,
    pool: &PoolState,
    server: &Server,
    (iid, sid): (usize, usize),
    queued: Option<u64>,
) -> Row {
    let stats = facts.view.stats;
    let all = facts.now.pool(pool.name()).server(server.name());
    let totals = all.since(&stats.cleared.server(pool.name(), server.name()));
    let rate = facts.rate(all.tries, |sample| sample.pool(pool.name()).server(server.name()).tries);
    let peak = stats.peaks.of_server(pool.name(), server.name());
    let config = pool.config();
    let health = config.as_ref().and_then(|config| config.health.as_ref());
    let changed = server.history.last();
    let queued = queued.unwrap_or_default();
    let mut row = Row::new(SERVER, iid, sid);
    row.set("pxname", pool.name()).set("svname", server.name());
    common(&mut row, &totals, rate, peak.rate);
    times(&mut row, stats.peaks.server_times(pool.name(), server.name(), &all), server.longest());
    row.set("smax", peak.now.max(totals.in_flight)).set("qcur", queued).set("qmax", peak.queue.max(queued));
    if let Some(most) = server.max_connections() {
        row.set("slim", most);
    }
    row.set("status", status(server.state(), health.is_some()));
    row.set("weight", server.weight()).set("uweight", server.weight());
    row.set("act", u8::from(!server.is_backup())).set("bck", u8::from(server.is_backup()));
    row.set("chkdown", server.history.count(ServerState::Down)).set("lastchg", seconds_since(changed.at));
    row.set("downtime", changed.down.as_secs())
        .set("lastsess", stats.peaks.idle_for(pool.name(), server.name()));
    if let Some(health) = health {
        checks(&mut row, server, health, &changed.reason);
    }
    row.set("addr", &server.endpoint().written).set("srv_icur", totals.idle);
    row.set("idle_conn_cur", totals.idle).zero(&["safe_conn_cur", "need_conn_est"]);
    row.set("used_conn_cur", totals.connections.saturating_sub(totals.idle));
    row
}

fn checks(row: &mut Row, server: &Server, health: &Health, reason: &str) {
    let status = match (server.check_result(), matches!(health.kind, HealthKind::Tcp)) {
        (None, _) => "INI",
        (Some(true), true) => "L4OK",
        (Some(true), false) => "L7OK",
        (Some(false), true) => "L4CON",
        (Some(false), false) => "L7RSP",
    };
    row.set("check_status", status).set("chkfail", server.history.failed_checks()).set("last_chk", reason);
    row.set("check_rise", health.rise).set("check_fall", health.fall);
    let passed = server.check_result() == Some(true);
    row.set("check_health", if passed { health.rise + health.fall - 1 } else { 0 });
}

fn backend(facts: &Facts<'_>, pool: &PoolState, iid: usize) -> Row {
    let stats = facts.view.stats;
    let (all, members) = (facts.now.pool(pool.name()).all(), pool.members());
    let totals = all.since(&stats.cleared.pool(pool.name()));
    let rate = facts.rate(all.tries, |sample| sample.pool(pool.name()).all().tries);
    let peak = stats.peaks.of_pool(pool.name());
    let config = pool.config();
    let usable = |backup: bool| {
        let takes = |server: &&std::sync::Arc<Server>| {
            server.state() == ServerState::Up && server.weight() > 0 && server.is_backup() == backup
        };
        members.iter().filter(takes).count()
    };
    let last = members.iter().map(|server| seconds_since(server.history.last().at)).min();
    let longest = members
        .iter()
        .map(|server| server.longest())
        .fold([0; PHASES], |most, of| std::array::from_fn(|at| of[at].max(most[at])));
    let mut row = Row::new(BACKEND, iid, 0);
    row.set("pxname", pool.name()).set("svname", "BACKEND");
    common(&mut row, &totals, rate, peak.rate);
    times(&mut row, stats.peaks.pool_times(pool.name(), &all), longest);
    let idle = members.iter().map(|server| stats.peaks.idle_for(pool.name(), server.name()));
    row.set("lastsess", idle.filter(|seconds| *seconds >= 0).min().unwrap_or(-1));
    row.zero(&["dreq", "comp_in", "comp_out", "comp_byp", "comp_rsp", "downtime", "chkdown"]);
    row.set("qcur", pool.queue.count()).set("qmax", peak.queue.max(pool.queue.count() as u64));
    row.set("smax", peak.now.max(totals.in_flight));
    if let Some(config) = &config {
        row.set("slim", config.queue.most).set("algo", config.balance.text());
    }
    row.set("status", if usable(false) + usable(true) > 0 { "UP" } else { "DOWN" });
    row.set("act", usable(false)).set("bck", usable(true)).set("lastchg", last.unwrap_or_default());
    let weight: u64 = members.iter().map(|server| u64::from(server.weight())).sum();
    row.set("weight", weight).set("uweight", weight);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_all_columns() {
        let mut row = Row::new(SERVER, 2, 1);
        row.set("pxname", "a,\"b\"").set("scur", 7);
        let text = row.csv();
        assert!(text.starts_with("\"a,\"\"b\"\"\",,,,7,,"), "{text}");
        assert_eq!(text.matches(',').count(), COLUMNS.split(',').count() + 1, "one is quoted");
        assert_eq!(COLUMNS.split(',').count(), 128);
        let typed = row.typed();
        assert!(typed.starts_with("S.2.1.0.pxname.1:KNS:str:a,\"b\"\nS.2.1.4.scur.1:MGP:u32:7\n"), "{typed}");
        row.set("ssl_sess", 1);
        assert!(row.typed().ends_with("S.2.1.103.ssl_sess.1:MCP:u64:1\n"), "the separator has no number");
        assert_eq!(row.json()[1]["objType"], "Server");
    }
}
