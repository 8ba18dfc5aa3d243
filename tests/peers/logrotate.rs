//! `examples/logrotate` with the real logrotate: it accepts the file, and no log line is lost.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::*;

const TELLS_RSP: &str = "systemctl kill --signal=USR1 rsp.service";

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/logrotate");
    std::fs::read_to_string(path).expect("an example")
}

/// Runs logrotate with this configuration, with its state beside it.
fn logrotate(directory: &Directory, option: &str, config: &str) -> Finished {
    let config = directory.write("logrotate.conf", config);
    // It refuses files that others can write.
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("mode 644");
    let mut command = Command::new(find("logrotate").expect("logrotate"));
    command.arg(option).arg("--state").arg(directory.join("state")).arg(config);
    run_with_input(command, b"")
}

#[test]
fn logrotate_accepts_the_example() {
    if !have(&["logrotate"]) {
        return;
    }
    let read = logrotate(&Directory::new(), "--debug", &example());
    assert_eq!(read.code, Some(0), "{read:?}");
    assert!(!read.said().contains("error:"), "{read:?}");
    assert!(example().starts_with("# /etc/logrotate.d/rsp\n"), "line 1 says where it belongs");
}

#[test]
fn logrotate_loses_no_line_of_a_log_that_is_being_written() {
    if !have(&["logrotate"]) {
        return;
    }
    let origin = Origin::named("ok");
    let config = format!("{}rsp.settings {{ access_log = 'access.log' }}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config);
    let text = example();
    assert!(text.contains(TELLS_RSP) && text.contains("/var/log/rsp/"), "{text}");
    let text = text.replace("/var/log/rsp/", &format!("{}/", rsp.directory.path().display()));
    let text = text.replace(TELLS_RSP, &format!("kill -USR1 {}", rsp.pid()));
    let mut client = Client::connect(rsp.address());
    let mut ask = |number: usize| assert_eq!(client.get(&format!("/{number}")).text(), "ok");
    (0..200).for_each(&mut ask);
    until("rsp writes", || rsp.directory.read("access.log").contains("GET /0 "));
    let rotated = logrotate(&rsp.directory, "--force", &text);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    until("rsp has made a new one", || rsp.directory.join("access.log").exists());
    (200..400).for_each(&mut ask);
    let lines = || [rsp.directory.read("access.log.1"), rsp.directory.read("access.log")].concat();
    until("all is written", || lines().matches('\n').count() >= 400);
    for (number, line) in lines().lines().enumerate() {
        assert!(line.contains(&format!("GET /{number} ")), "{line}");
    }
    assert!(rsp.directory.read("access.log").contains("GET /399 "), "the new file is written to");
}
