//! rsp under strace: every system call of each of its threads, in order.

use std::collections::BTreeMap;
use std::process::Command;

use super::directory::Directory;
use super::programs::{find, have, skip};
use super::rsp::{Rsp, rsp_command};
use super::wait::until;

pub struct Traced {
    pub rsp: Rsp,
}

/// One call: its name, how it was called, what it returned.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    pub line: String,
}

/// Whether system calls can be traced here: strace is installed and permitted. Containers often forbid ptrace, which
/// cannot be changed from inside: so that is no failure, not even in CI.
pub fn can_trace() -> bool {
    have(&["strace"])
        && (Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "true"])
            .status()
            .is_ok_and(|status| status.success())
            || skip("ptrace (a container wants --cap-add=SYS_PTRACE)"))
}

impl Traced {
    /// Runs a config with one listener. The process is rsp's own: strace runs beside it (-D).
    pub fn start(config: &str) -> Traced {
        let directory = Directory::new();
        let mut command = Command::new(find("strace").expect("strace"));
        command.args(["-D", "-ff", "-qq", "-s", "64", "-o"]).arg(directory.join("trace"));
        command.arg(rsp_command().get_program()).arg(directory.write("rsp.lua", config));
        Traced { rsp: Rsp::spawn(directory, command, 1) }
    }

    /// The calls of each thread so far; complete lines only.
    fn threads(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.rsp.directory.path()).expect("a directory").filter_map(Result::ok);
        let traces = files.filter(|file| file.file_name().to_string_lossy().starts_with("trace."));
        let text = |file: std::fs::DirEntry| std::fs::read(file.path()).expect("a trace");
        traces.map(|file| String::from_utf8_lossy(&text(file)).into_owned()).collect()
    }

    /// The worker's calls from the read that got `from` up to, but without, the read that got `to`.
    pub fn worker(&self, from: &str, to: &str) -> Vec<Call> {
        let mut found = Vec::new();
        until(&format!("the worker has read {to:?}"), || {
            found = between(&self.threads(), from, to);
            !found.is_empty()
        });
        found
    }

    /// The calls of all threads that contain these words.
    pub fn with(&self, words: &str) -> Vec<Call> {
        let threads = self.threads();
        threads.iter().flat_map(|text| calls(text)).filter(|call| call.line.contains(words)).collect()
    }

    /// Stops the process, so that everything that happens meanwhile is ready at once when it continues.
    pub fn pause(&self) {
        let stops =
            || self.threads().iter().map(|text| text.matches("--- stopped by SIGSTOP ---").count()).sum();
        let before: usize = stops();
        let threads = self.threads().iter().filter(|text| !text.contains("+++ exited")).count();
        self.rsp.signal(libc::SIGSTOP);
        until("all threads have stopped", || stops() >= before + threads);
    }

    pub fn go_on(&self) {
        self.rsp.signal(libc::SIGCONT);
    }
}

fn between(threads: &[String], from: &str, to: &str) -> Vec<Call> {
    let has_read = |call: &Call, words: &str| call.is_read() && call.line.contains(words);
    for text in threads {
        let calls = calls(text);
        let begin = calls.iter().position(|call| has_read(call, from));
        let end = calls.iter().position(|call| has_read(call, to));
        if let (Some(begin), Some(end)) = (begin, end) {
            return calls[begin..end].to_vec();
        }
    }
    Vec::new()
}

fn calls(text: &str) -> Vec<Call> {
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let call = |line: &str| {
        let (name, _) = line.split_once('(')?;
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_name.then(|| Call { name: name.to_string(), line: line.to_string() })
    };
    whole.lines().filter_map(call).collect()
}

impl Call {
    pub fn is_read(&self) -> bool {
        ["read", "readv", "recvfrom", "recvmsg"].contains(&self.name.as_str())
    }

    pub fn is_write(&self) -> bool {
        ["write", "writev", "sendto", "sendmsg"].contains(&self.name.as_str())
    }

    pub fn is_wait(&self) -> bool {
        self.name.starts_with("epoll_wait") || self.name.starts_with("epoll_pwait")
    }

    /// EAGAIN: there was nothing to read or no room to write.
    pub fn was_futile(&self) -> bool {
        self.line.contains(" = -1 EAGAIN")
    }
}

/// Counts of each call. Reads and writes have one name each; calls that belong to no request are left out: waiting,
/// the watchdog's signal, periodic memory upkeep, and the clock, which is a system call only on some machines.
pub fn counts(calls: &[Call]) -> BTreeMap<&str, usize> {
    // In debug builds, std checks that what it closes is open. The script watchdog's timer sends its signal every few
    // milliseconds of work, once in some hundred requests.
    let of_debugging = |call: &Call| cfg!(debug_assertions) && call.line.contains("F_GETFD");
    let others = ["rt_sigreturn", "clock_gettime", "madvise", "munmap", "mmap", "brk"];
    let of_no_request =
        |call: &Call| call.is_wait() || others.contains(&call.name.as_str()) || of_debugging(call);
    let mut counts = BTreeMap::new();
    for call in calls.iter().filter(|call| !of_no_request(call)) {
        let name = match call {
            call if call.is_read() => "read",
            call if call.is_write() => "write",
            call => &call.name,
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

pub fn waits(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.is_wait() && !call.line.contains(" = -1 EINTR")).count()
}
