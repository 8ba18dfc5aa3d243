//! The functions of phases as the loader finds them.

use std::time::Duration;

use super::load_text;
use super::messages::{LISTEN, POOL, all};

#[test]
fn every_function_is_noted_in_the_config_and_none_without_it() {
    let text = format!(
        "{LISTEN}{POOL} rsp.on_connect(print) rsp.on_answer(print) rsp.on_log(print) rsp.on_start(print)\n\
         rsp.every('10s', print) rsp.every(0.5, print)\n\
         rsp.settings {{ access_log = {{ '-', format = 'json' }} }}"
    );
    let config = load_text(&text).unwrap();
    assert!(config.on_connect && config.on_answer && config.on_log && config.on_start);
    assert_eq!(config.every, [Duration::from_secs(10), Duration::from_millis(500)]);
    assert!(config.warnings.is_empty());
    let plain = load_text(&format!("{LISTEN}{POOL}")).unwrap();
    assert!(!(plain.on_connect || plain.on_answer || plain.on_log || plain.on_start));
    assert!(plain.every.is_empty());
}

#[test]
fn on_log_without_a_line_for_its_fields_is_a_warning() {
    for (log, warned) in [
        ("", true),
        ("rsp.settings { access_log = '-' }", true),
        ("rsp.settings { access_log = { '-', format = 'rsp' } }", true),
        ("rsp.settings { access_log = { '-', format = 'json' } }", false),
    ] {
        let config = load_text(&format!("{LISTEN}{POOL}\nrsp.on_log(print) {log}")).unwrap();
        let lines: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), usize::from(warned), "{log}");
        assert!(
            lines.iter().all(|line| line.contains("site.lua:2: on_log: never called, expected access_log"))
        );
    }
}

#[test]
fn functions_are_called_not_assigned_and_only_while_the_config_is_loaded() {
    all(&[
        (
            "rsp.on_log = print",
            "1: rsp.on_log: cannot be assigned, expected a call: rsp.on_log(function(req, res, log) … end)",
        ),
        (
            "rsp.every = print",
            "1: rsp.every: cannot be assigned, expected a call: rsp.every(\"10s\", function() … end)",
        ),
        ("rsp.abort = print", "1: rsp.abort: cannot be replaced, expected a call of it"),
    ]);
}

#[test]
fn too_many_periods_are_refused() {
    let many =
        |count: usize| load_text(&format!("{LISTEN}{POOL} for i = 1, {count} do rsp.every('1s', print) end"));
    assert_eq!(many(100).unwrap().every.len(), 100);
    assert!(many(101).unwrap_err().contains("every: called too often, expected at most 100 calls"));
}
