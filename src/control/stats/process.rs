//! What the kernel says of this process (proc(5)), as client libraries of Prometheus tell it. What cannot be read is
//! left out.

use std::fs;

/// Ticks of the times in /proc/self/stat a second: the same on every Linux for user space (USER_HZ).
const TICKS: f64 = 100.0;

#[derive(Default, Debug)]
pub struct ProcessFacts {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    pub threads: Option<u64>,
}

impl ProcessFacts {
    pub fn read() -> ProcessFacts {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        ProcessFacts {
            cpu_seconds: cpu_seconds(&text("/proc/self/stat")),
            resident_bytes: kibibytes(&status, "VmRSS:"),
            virtual_bytes: kibibytes(&status, "VmSize:"),
            // The listing has a descriptor of its own.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|list| (list.count() as u64).saturating_sub(1)),
            max_fds: after(&text("/proc/self/limits"), "Max open files").and_then(|word| word.parse().ok()),
            threads: after(&status, "Threads:").and_then(|word| word.parse().ok()),
        }
    }
}

/// CPU time of the process so far, in seconds; 0 if it cannot be read.
pub fn cpu_used() -> f64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)).unwrap_or_default()
}

/// Both times are behind the name, which may contain anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn kibibytes(status: &str, key: &str) -> Option<u64> {
    after(status, key)?.parse::<u64>().ok().map(|number| number * 1024)
}

/// The first word behind a key at the start of a line.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let facts = ProcessFacts::read();
        assert!(facts.cpu_seconds.is_some());
        assert!(
            facts.resident_bytes > Some(1 << 20) && facts.virtual_bytes >= facts.resident_bytes,
            "{facts:?}"
        );
        assert!(facts.open_fds > Some(2) && facts.max_fds >= facts.open_fds, "{facts:?}");
        assert!(facts.threads > Some(0));
    }

    #[test]
    fn a_name_may_contain_blanks_and_brackets() {
        let stat = "12 (a) b) S 1 1 1 0 -1 4194304 93 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
    }
}
