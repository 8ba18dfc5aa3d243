//! A process as the kernel sees it: memory, descriptors, CPU time; signals and limits; and named pipes.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::wait::until;

/// Resident anonymous memory in KiB. Counted page by page: `VmRSS` is off by megabytes on machines with many cores,
/// and grows with every page of the program that is used for the first time.
pub fn memory_kib(pid: u32) -> u64 {
    let sums = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a running process");
    let line = sums.lines().find(|line| line.starts_with("Anonymous:")).expect("a sum");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number of KiB")
}

/// Its memory once it has been stable for a second.
pub fn settled_memory_kib(pid: u32) -> u64 {
    let (mut last, mut still) = (memory_kib(pid), 0);
    until("the memory is stable", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = memory_kib(pid);
        let same = std::mem::replace(&mut last, now).abs_diff(now) < 64;
        still = if same { still + 1 } else { 0 };
        still == 5
    });
    last
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").count()
}

/// Threads.
pub fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process").count()
}

/// The process ids of its children.
pub fn children(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}

pub fn send_signal(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    // SAFETY: kill(2) takes two integers and touches no memory; the process is a child that was not waited for.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "cannot signal process {pid}");
}

/// Allows so many more descriptors. (The limit is on numbers, and some may be in use far up.)
pub fn leave_descriptors(pid: u32, free: usize) {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process");
    let taken: Vec<u64> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let limit = (0..).filter(|number| !taken.contains(number)).nth(free).expect("a free number");
    limit_descriptors(pid, limit);
}

/// Sets the process's limit of open descriptors.
pub fn limit_descriptors(pid: u32, limit: u64) {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    let new = libc::rlimit { rlim_cur: limit, rlim_max: 4096 };
    // SAFETY: `new` is a valid rlimit to read, and no old one is asked for; the process is a child of ours.
    let result = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &new, std::ptr::null_mut()) };
    assert_eq!(result, 0, "cannot limit process {pid}");
}

/// The same for a program to be started.
pub fn with_descriptors(mut command: Command, limit: u64) -> Command {
    let lower = move || {
        let new = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: `new` is a valid rlimit to read.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &new) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec there is only a system call, and nothing is allocated.
    unsafe { command.pre_exec(lower) };
    command
}

/// A named pipe.
pub fn make_pipe(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path is a string that ends with a zero.
    let result = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(result, 0, "cannot make a pipe: {}", std::io::Error::last_os_error());
}

/// CPU time it has used, user and system.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // USER_HZ is 100 on every Linux.
    Duration::from_millis(ticks * 10)
}
