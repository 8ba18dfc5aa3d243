//! How `show stat` and `show info` are printed: for people (CSV, lines), `typed` or as JSON, each as haproxy 2.6 does
//! (management.txt, "typed output format"). There, every value says what it is: its origin, nature and scope (a letter
//! each) and its type.

use serde_json::{Value, json};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    #[default]
    Plain,
    Typed,
    Json,
}

impl Format {
    pub fn from_word(word: &str) -> Option<Format> {
        match word {
            "typed" => Some(Format::Typed),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// What a value is: origin, nature and scope, and the type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tags(&'static str, &'static str);

/// The columns of `show stat` that are no counters.
const OF_STAT: &[(Tags, &str)] = &[
    (Tags("KNS", "str"), "pxname svname"),
    (Tags("MGP", "u32"), "qcur scur srv_icur idle_conn_cur safe_conn_cur used_conn_cur need_conn_est"),
    (
        Tags("MMP", "u32"),
        "qmax smax rate_max req_rate_max conn_rate_max qtime_max ctime_max rtime_max ttime_max",
    ),
    (Tags("CLP", "u32"), "slim qlimit rate_lim"),
    (Tags("SGP", "str"), "status"),
    (Tags("SGP", "u32"), "act bck"),
    (Tags("KGP", "u32"), "pid"),
    (Tags("KGS", "u32"), "iid sid"),
    (Tags("CGS", "u32"), "type check_rise check_fall check_health"),
    (Tags("CGS", "str"), "mode addr algo"),
    (Tags("MRP", "u32"), "rate req_rate conn_rate"),
    (Tags("MGP", "u64"), "h1_open_connections h1_open_streams"),
    (Tags("MaP", "u32"), "weight uweight qtime ctime rtime ttime"),
    (Tags("MAP", "u32"), "lastchg"),
    (Tags("MAP", "s32"), "lastsess"),
    (Tags("MCP", "u32"), "downtime"),
    (Tags("MOP", "str"), "check_status last_chk"),
];
const COUNTER: Tags = Tags("MCP", "u64");

/// The tags of a column.
pub fn tags_of(column: &str) -> Tags {
    let has = |(_, names): &&(Tags, &str)| names.split(' ').any(|name| name == column);
    OF_STAT.iter().find(has).map_or(COUNTER, |(tags, _)| *tags)
}

/// The keys of `show info` that rsp has, each with its position in haproxy's list; its own come after those.
pub const OF_INFO: &[(usize, &str, Tags)] = &[
    (0, "Name", Tags("POS", "str")),
    (1, "Version", Tags("POS", "str")),
    (2, "Release_date", Tags("POS", "str")),
    (3, "Nbthread", Tags("CGS", "u32")),
    (4, "Nbproc", Tags("CGS", "u32")),
    (5, "Process_num", Tags("KGP", "u32")),
    (6, "Pid", Tags("SGP", "u32")),
    (7, "Uptime", Tags("MDP", "str")),
    (8, "Uptime_sec", Tags("MDP", "u32")),
    (9, "Memmax_MB", Tags("CLP", "u32")),
    (13, "Ulimit-n", Tags("CLP", "u32")),
    (14, "Maxsock", Tags("CLP", "u32")),
    (15, "Maxconn", Tags("CLP", "u32")),
    (16, "Hard_maxconn", Tags("CLP", "u32")),
    (17, "CurrConns", Tags("MGP", "u32")),
    (18, "CumConns", Tags("MCP", "u32")),
    (19, "CumReq", Tags("MCP", "u32")),
    (22, "CumSslConns", Tags("MCP", "u32")),
    (23, "Maxpipes", Tags("CLP", "u32")),
    (24, "PipesUsed", Tags("MGP", "u32")),
    (25, "PipesFree", Tags("MGP", "u32")),
    (26, "ConnRate", Tags("MRP", "u32")),
    (27, "ConnRateLimit", Tags("CLP", "u32")),
    (28, "MaxConnRate", Tags("MMP", "u32")),
    (29, "SessRate", Tags("MRP", "u32")),
    (30, "SessRateLimit", Tags("CLP", "u32")),
    (31, "MaxSessRate", Tags("MRP", "u32")),
    (47, "Tasks", Tags("MGP", "u32")),
    (48, "Run_queue", Tags("MGP", "u32")),
    (49, "Idle_pct", Tags("MaP", "u32")),
    (50, "node", Tags("COS", "str")),
    (52, "Stopping", Tags("MGP", "u32")),
    (53, "Jobs", Tags("MGP", "u32")),
    (55, "Listeners", Tags("MGP", "u32")),
    (58, "DroppedLogs", Tags("MGP", "u32")),
    (61, "TotalBytesOut", Tags("MGP", "u64")),
    (70, "Start_time_sec", Tags("MDP", "u32")),
    (72, "Config_generation", Tags("MGP", "u32")),
];

/// A value with its place, name and tags, after what its line begins with.
pub fn typed(begin: &str, (at, name, tags): (usize, &str, Tags), value: &str) -> String {
    let Tags(tags, kind) = tags;
    format!("{begin}{at}.{name}.1:{tags}:{kind}:{}\n", value.replace('\n', " "))
}

/// The same as JSON.
pub fn json((at, name, tags): (usize, &str, Tags), value: &str) -> Value {
    let Tags(letters, kind) = tags;
    let mut words =
        letters.chars().zip([ORIGINS, NATURES, SCOPES]).map(|(letter, words)| word(letter, words));
    let number = if kind == "str" { None } else { value.parse::<i64>().ok() };
    json!({
        "field": { "pos": at, "name": name },
        "processNum": 1,
        "tags": { "origin": words.next(), "nature": words.next(), "scope": words.next() },
        "value": { "type": kind, "value": number.map_or(Value::from(value), Value::from) },
    })
}

type Words = &'static [(char, &'static str)];
const ORIGINS: Words = &[('M', "Metric"), ('S', "Status"), ('K', "Key"), ('C', "Config"), ('P', "Product")];
const NATURES: Words = &[
    ('A', "Age"),
    ('a', "Avg"),
    ('C', "Counter"),
    ('D', "Duration"),
    ('G', "Gauge"),
    ('L', "Limit"),
    ('M', "Max"),
    ('m', "Min"),
    ('N', "Name"),
    ('O', "Output"),
    ('R', "Rate"),
    ('T', "Time"),
];
const SCOPES: Words = &[('C', "Cluster"), ('P', "Process"), ('S', "Service"), ('s', "System")];

fn word(letter: char, words: Words) -> &'static str {
    words.iter().find(|(of, _)| *of == letter).map_or("", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_what_they_are() {
        assert_eq!(
            typed("S.3.1.", (17, "status", tags_of("status")), "UP"),
            "S.3.1.17.status.1:SGP:str:UP\n"
        );
        assert_eq!(typed("", (8, "bin", tags_of("bin")), "7"), "8.bin.1:MCP:u64:7\n");
        assert_eq!(
            json((55, "lastsess", tags_of("lastsess")), "-1").to_string(),
            r#"{"field":{"name":"lastsess","pos":55},"processNum":1,"tags":{"nature":"Age","origin":"Metric","scope":"Process"},"value":{"type":"s32","value":-1}}"#
        );
    }

    #[test]
    fn all_letters_are_known() {
        let of_info = OF_INFO.iter().map(|(_, _, tags)| tags);
        for Tags(letters, _) in OF_STAT.iter().map(|(tags, _)| tags).chain(of_info).chain([&COUNTER]) {
            let known = letters.chars().zip([ORIGINS, NATURES, SCOPES]);
            assert!(
                known.clone().count() == 3
                    && known.clone().all(|(letter, words)| !word(letter, words).is_empty())
            );
        }
    }
}
