//! `show info`: the process, a line each.

use std::fmt::Display;
use std::time::Instant;

use super::format::{self, Format, OF_INFO};
use super::seconds_since;
use crate::control::errors;
use crate::control::stats::{ProcessFacts, View, cpu_used, seconds};
use crate::exchange::counters::Handshake;

/// The keys with their values, in the order in which they are told.
#[derive(Default)]
struct Lines(Vec<(&'static str, String)>);

impl Lines {
    fn set(&mut self, key: &'static str, value: impl Display) -> &mut Lines {
        self.0.push((key, value.to_string()));
        self
    }

    fn written(&self, as_what: Format) -> String {
        let tagged = self.0.iter().filter_map(|(key, value)| {
            let known = OF_INFO.iter().find(|(_, name, _)| name == key);
            debug_assert!(known.is_some(), "{key} has no tags");
            Some((*known?, value))
        });
        match as_what {
            Format::Plain => self.0.iter().map(|(key, value)| format!("{key}: {value}\n")).collect(),
            Format::Typed => tagged.map(|(field, value)| format::typed("", field, value)).collect(),
            Format::Json => {
                let all: Vec<_> = tagged.map(|(field, value)| format::json(field, value)).collect();
                serde_json::Value::from(all).to_string() + "\n"
            }
        }
    }
}

pub fn text(view: &View<'_>, as_what: Format, now: Instant) -> String {
    let mut lines = Lines::default();
    process(&mut lines, view);
    traffic(&mut lines, view, now);
    lines.written(as_what)
}

fn process(lines: &mut Lines, view: &View<'_>) {
    let facts = ProcessFacts::read();
    let uptime = seconds_since(view.stats.started);
    let (days, rest) = (uptime / 86_400, uptime % 86_400);
    let descriptors = facts.max_fds.unwrap_or_default();
    let most = view.process.config.settings.max_connections;
    // Programs want a word for the date.
    lines.set("Name", "rsp").set("Version", env!("CARGO_PKG_VERSION")).set("Release_date", "-");
    lines.set("Nbthread", view.process.workers).set("Nbproc", 1).set("Process_num", 1);
    lines.set("Pid", std::process::id());
    let time = format!("{days}d {}h{:02}m{:02}s", rest / 3600, rest / 60 % 60, rest % 60);
    lines.set("Uptime", time).set("Uptime_sec", uptime);
    lines.set("Memmax_MB", 0).set("Ulimit-n", descriptors).set("Maxsock", descriptors);
    lines
        .set("Maxconn", most)
        .set("Hard_maxconn", most)
        .set("Maxpipes", 0)
        .set("PipesUsed", 0)
        .set("PipesFree", 0);
    lines.set("node", host_name()).set("Stopping", u8::from(view.stage != "serving"));
    lines.set("Listeners", view.process.config.listeners.len());
    lines.set("DroppedLogs", view.process.lost_lines() + errors::dropped());
    lines.set("Start_time_sec", seconds(view.stats.started) as u64);
    lines.set("Config_generation", view.process.generation);
}

fn traffic(lines: &mut Lines, view: &View<'_>, now: Instant) {
    let stats = view.stats;
    let listeners = stats.listeners();
    let connections: u64 = listeners.iter().map(|(_, totals)| totals.connections).sum();
    let accepted: u64 = listeners.iter().map(|(_, totals)| totals.accepted).sum();
    let requests: u64 = listeners.iter().flat_map(|(_, totals)| totals.answers).sum();
    let rate = stats.recent.last(now).map_or(0, |(ago, sample)| {
        let then: u64 = sample.listeners.values().map(|totals| totals.accepted).sum();
        (accepted.saturating_sub(then) as f64 / ago).round() as u64
    });
    let most = stats.peaks.of_process().rate.max(rate);
    lines.set("CurrConns", connections).set("CumConns", accepted).set("CumReq", requests);
    lines.set("ConnRate", rate).set("ConnRateLimit", 0).set("MaxConnRate", most);
    lines.set("SessRate", rate).set("SessRateLimit", 0).set("MaxSessRate", most);
    let shaken = |kind| stats.sum(|counters| counters.handshakes(kind));
    lines.set("CumSslConns", shaken(Handshake::Full) + shaken(Handshake::Resumed));
    let idle = idle_percent(view, now);
    lines.set("Tasks", connections).set("Run_queue", 0).set("Idle_pct", idle).set("Jobs", connections);
    lines.set("TotalBytesOut", stats.sum(|counters| counters.traffic().client_out));
}

/// How much of the time of as many cores as there are workers the process did not use in the last second.
fn idle_percent(view: &View<'_>, now: Instant) -> u64 {
    let Some((ago, sample)) = view.stats.recent.last(now) else { return 100 };
    let busy = (cpu_used() - sample.cpu) / (ago * view.process.workers as f64);
    (100.0 * (1.0 - busy)).round().clamp(0.0, 100.0) as u64
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or("-".into(), |name| name.trim().to_owned())
}
