//! `show stat`: counters as CSV, with the columns of haproxy 2.6 in their order.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Instant;

use super::{seconds_since, status};
use crate::balance::{PoolState, Server, ServerState, ServerTotals};
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
pub struct Wanted {
    /// By name or number.
    pub proxy: Option<String>,
    pub kinds: u8,
    pub server: Option<u32>,
}

/// One row: what is not set is empty.
#[derive(Default)]
struct Row(HashMap<&'static str, String>);

impl Row {
    fn set(&mut self, column: &'static str, value: impl Display) -> &mut Row {
        self.0.insert(column, quoted(&value.to_string()));
        self
    }

    fn zero(&mut self, columns: &[&'static str]) -> &mut Row {
        columns.iter().for_each(|column| _ = self.0.insert(column, "0".into()));
        self
    }

    fn answers(&mut self, answers: &[u64; CLASSES]) -> &mut Row {
        const NAMES: [&str; 5] = ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx"];
        NAMES.iter().zip(&answers[1..]).for_each(|(column, count)| _ = self.set(column, count));
        self.set("hrsp_other", answers[0] + answers[6..].iter().sum::<u64>())
    }

    fn write(&self, text: &mut String) {
        for column in COLUMNS.split(',') {
            let value = if column == "-" { "-" } else { self.0.get(column).map_or("", String::as_str) };
            text.push_str(value);
            text.push(',');
        }
        text.push('\n');
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

pub fn text(view: &View<'_>, wanted: &Wanted, now: Instant) -> String {
    let facts = Facts { view, now: view.sample(), before: view.stats.recent.last(now) };
    let mut text = format!("# {COLUMNS},\n");
    let listeners = &view.process.config.listeners;
    let is_wanted = |name: &str, id: usize| {
        wanted.proxy.as_deref().is_none_or(|proxy| proxy == name || proxy.parse() == Ok(id))
    };
    for (at, listener) in listeners.iter().enumerate() {
        if wanted.kinds & FRONTEND != 0 && is_wanted(&listener.name, at + 1) {
            frontend(&facts, &listener.name, at + 1).write(&mut text);
        }
    }
    for (at, pool) in view.process.pools().iter().enumerate() {
        let id = listeners.len() + at + 1;
        if !is_wanted(pool.name(), id) {
            continue;
        }
        for (at, of) in pool.members().iter().enumerate() {
            if wanted.kinds & SERVER != 0 && wanted.server.is_none_or(|server| server as usize == at + 1) {
                server(&facts, pool, of, (id, at + 1)).write(&mut text);
            }
        }
        if wanted.kinds & BACKEND != 0 {
            backend(&facts, pool, id).write(&mut text);
        }
    }
    text
}

fn frontend(facts: &Facts<'_>, name: &str, id: usize) -> Row {
    let all = facts.now.listeners.get(name).copied().unwrap_or_default();
    let totals = all.since(&facts.view.stats.cleared.listener(name));
    let of = |sample: &Sample| sample.listeners.get(name).copied().unwrap_or_default();
    let requests = |totals: &ListenerTotals| totals.answers.iter().sum::<u64>();
    let conn_rate = facts.rate(all.accepted, |sample| of(sample).accepted);
    let req_rate = facts.rate(requests(&all), |sample| requests(&of(sample)));
    let peak = facts.view.stats.peaks.of_listener(name);
    let mut row = Row::default();
    row.set("pxname", name).set("svname", "FRONTEND").set("status", "OPEN").set("mode", "http");
    row.set("pid", 1).set("iid", id).set("sid", 0).set("type", 0);
    row.zero(&[
        "dreq",
        "dresp",
        "ereq",
        "rate_lim",
        "comp_in",
        "comp_out",
        "comp_byp",
        "comp_rsp",
        "intercepted",
    ]);
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
    row.zero(&["dresp", "wretr", "cli_abrt", "srv_abrt", "wrew", "cache_lookups", "cache_hits", "eint"]);
    row.zero(&["qtime", "ctime", "rtime", "ttime", "qtime_max", "ctime_max", "rtime_max", "ttime_max"]);
    row.set("scur", totals.in_flight).set("stot", totals.tries).set("lbtot", totals.tries);
    row.set("bin", totals.received).set("bout", totals.sent).answers(&totals.answers);
    row.set("econ", totals.connect_errors).set("eresp", totals.response_errors);
    row.set("wredis", totals.redispatched).set("rate", rate).set("rate_max", peak.max(rate));
    row.set("connect", totals.opened).set("reuse", totals.tries.saturating_sub(totals.opened));
    row.set("req_tot", totals.answers.iter().sum::<u64>()).set("mode", "http").set("pid", 1);
}

fn server(facts: &Facts<'_>, pool: &PoolState, server: &Server, (iid, sid): (usize, usize)) -> Row {
    let stats = facts.view.stats;
    let all = facts.now.pool(pool.name()).server(server.name());
    let totals = all.since(&stats.cleared.server(pool.name(), server.name()));
    let rate = facts.rate(all.tries, |sample| sample.pool(pool.name()).server(server.name()).tries);
    let peak = stats.peaks.of_server(pool.name(), server.name());
    let config = pool.config();
    let health = config.as_ref().and_then(|config| config.health.as_ref());
    let changed = server.history.last();
    let mut row = Row::default();
    row.set("pxname", pool.name()).set("svname", server.name());
    row.set("iid", iid).set("sid", sid).set("type", 2);
    common(&mut row, &totals, rate, peak.rate);
    row.set("smax", peak.now.max(totals.in_flight)).zero(&["qcur", "qmax"]);
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
    let mut row = Row::default();
    row.set("pxname", pool.name()).set("svname", "BACKEND").set("iid", iid).set("sid", 0).set("type", 1);
    common(&mut row, &totals, rate, peak.rate);
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
        let mut row = Row::default();
        row.set("pxname", "a,\"b\"").set("scur", 7);
        let mut text = String::new();
        row.write(&mut text);
        assert!(text.starts_with("\"a,\"\"b\"\"\",,,,7,,"), "{text}");
        assert_eq!(text.matches(',').count(), COLUMNS.split(',').count() + 1, "one is quoted");
        assert_eq!(COLUMNS.split(',').count(), 128);
    }
}
