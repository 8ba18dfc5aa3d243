//! What is confined to some folders: reading the clock (time is an argument elsewhere), sockets (the pure floors know
//! none), `unsafe`. Tests may read the clock and open sockets, as the peer of the code under test.

use crate::code::File;

struct Border {
    what: &'static str,
    words: &'static [&'static str],
    /// Folders (with `/` at the end) or prefixes of files.
    home: &'static [&'static str],
    /// Whether test code inside `src` is checked as well.
    tests_too: bool,
}

const BORDERS: &[Border] = &[
    Border {
        what: "the clock is read only by worker, control, cli and the script's budget: take `now` as an argument",
        words: &[
            "Instant::now",
            "SystemTime::now",
            "Instant as",
            "SystemTime as",
            ".elapsed(",
            "clock_gettime",
        ],
        home: &["src/worker/", "src/control/", "src/cli/", "src/script/budget", "src/script/ffi"],
        tests_too: false,
    },
    Border {
        what: "sockets live only in net, worker, control and cli",
        words: &[
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
            "ToSocketAddrs",
            "OwnedFd",
            "RawFd",
            "mio::",
            "socket2::",
        ],
        home: &["src/net/", "src/worker/", "src/control/", "src/cli/"],
        tests_too: false,
    },
    Border {
        what: "unsafe lives only in net and in the script's hot call",
        words: &["unsafe"],
        home: &["src/net/", "src/script/ffi"],
        tests_too: true,
    },
];

/// Exceptions: file, word and reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "src/script/source.rs",
    "ToSocketAddrs",
    "the names in a config are looked up once, when it is loaded",
)];

pub fn violations(file: &File) -> Vec<String> {
    let away = |border: &&Border| !border.home.iter().any(|home| file.path.starts_with(home));
    BORDERS.iter().filter(away).flat_map(|border| crossings(file, border)).collect()
}

fn crossings(file: &File, border: &Border) -> Vec<String> {
    let code = if border.tests_too { &file.code } else { &file.shipped };
    let held = border.words.iter().filter(|word| !is_exception(&file.path, word));
    let lines = held.flat_map(|word| File::lines_with(code, word).into_iter().map(move |line| (line, word)));
    lines.map(|(line, word)| file.at(line, &format!("`{word}`: {}", border.what))).collect()
}

fn is_exception(path: &str, word: &str) -> bool {
    EXCEPTIONS.iter().any(|(file, through, _)| *file == path && *through == word)
}

/// Exceptions that are no longer needed.
pub fn unneeded(files: &[File]) -> Vec<String> {
    let used = |path: &str, word: &str| {
        files.iter().any(|file| file.path == path && !File::lines_with(&file.code, word).is_empty())
    };
    let unused = EXCEPTIONS.iter().filter(|(path, word, _)| !used(path, word));
    unused.map(|(path, word, _)| format!("{path}: no `{word}` any more: take it off the table")).collect()
}

#[cfg(test)]
fn seeded(path: &str, text: &str) -> usize {
    violations(&File::new(path, text)).len()
}

#[test]
fn a_clock_read_in_a_pure_floor_is_seen() {
    for text in [
        "fn f() { g(Instant::now()) }\n",
        "let t = std::time::SystemTime::now();\n",
        "use std::time::Instant as T;\n",
        "let d = start.elapsed();\n",
        "libc::clock_gettime(0, t);\n",
    ] {
        assert_eq!(seeded("src/h1/mod.rs", text), 1, "{text}");
        assert_eq!(seeded("src/route/mod.rs", text), 1, "{text}");
        assert_eq!(seeded("src/worker/mod.rs", text), 0, "{text}");
        assert_eq!(seeded("src/script/budget.rs", text), 0, "{text}");
        assert_eq!(seeded("src/h1/tests/feed.rs", text), 0, "{text}");
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n    {text}}}\n");
        assert_eq!(seeded("src/h1/mod.rs", &in_tests), 0, "{text}");
        assert_eq!(seeded("src/h1/mod.rs", &format!("{in_tests}{text}")), 1, "after the tests: {text}");
    }
}

#[test]
fn a_socket_in_a_pure_floor_is_seen() {
    for text in ["use std::net::TcpStream;\n", "let s: mio::net::UnixStream;\n", "use socket2::Socket;\n"] {
        assert!(seeded("src/exchange/pair.rs", text) > 0, "{text}");
        assert!(seeded("src/route/mod.rs", text) > 0, "{text}");
        assert_eq!(seeded("src/net/listener.rs", text), 0, "{text}");
    }
    assert_eq!(seeded("src/exchange/pair.rs", "use std::net::{IpAddr, SocketAddr};\n"), 0);
}

#[test]
fn unsafe_outside_its_homes_is_seen_in_tests_as_well() {
    for path in ["src/worker/core.rs", "src/script/run.rs", "src/script/tests/mod.rs", "src/base/buffer.rs"] {
        assert_eq!(seeded(path, "fn f() {\n    unsafe { g() }\n}\n"), 1, "{path}");
    }
    assert_eq!(seeded("src/base/buffer.rs", "#[cfg(test)]\nmod tests {\n    unsafe fn g() {}\n}\n"), 1);
    for path in ["src/net/limits.rs", "src/script/ffi.rs", "src/script/ffi_values.rs"] {
        assert_eq!(seeded(path, "unsafe { g() }\n"), 0, "{path}");
    }
    assert_eq!(seeded("src/base/buffer.rs", "// unsafe\n#![forbid(unsafe_code)]\n"), 0);
}

#[test]
fn an_exception_that_is_not_needed_is_seen() {
    assert_eq!(unneeded(&[]).len(), EXCEPTIONS.len());
}
