//! What is probably a mistake in a config but can be run: `rsp check` says so and still passes, and so does the log.

use crate::support::*;

const LISTEN: &str = "rsp.listen '127.0.0.1:0'\n";

#[test]
fn check_warns_on_stderr_and_passes() {
    let directory = Directory::new();
    for (pool, warning) in [
        (
            "servers = { { '127.0.0.1:83', backup = true }, { '127.0.0.1:84', backup = true } }",
            "2: warning: servers: all are backups, expected at least one without backup = true",
        ),
        (
            "servers = { '127.0.0.1:83' },\n retries = 3",
            "3: warning: retries: nothing to try, expected at least two servers",
        ),
        (
            "servers = { '127.0.0.1:83' },\n hash_by = 'path'",
            "3: warning: hash_by: does nothing, expected balance = \"hash\" beside it",
        ),
    ] {
        directory.write("site.lua", format!("{LISTEN}rsp.pool {{ {pool} }}"));
        let check = run(directory.path(), &["check", "site.lua"]);
        assert_eq!((check.code, check.stdout.as_str()), (Some(0), "site.lua: ok\n"), "{check:?}");
        assert_eq!(check.stderr, format!("site.lua:{warning}\n"));
    }
}

#[test]
fn a_name_that_does_not_resolve_is_a_warning_and_a_server_without_an_address() {
    let rsp = Rsp::start(&format!("{LISTEN}rsp.pool {{ servers = {{ 'no.such.host.invalid:80' }} }}"));
    rsp.wait_for_log("pool pool1: no.such.host.invalid:80 does not resolve: ");
    assert_eq!(Client::connect(rsp.address()).get("/").status(), 503);
    rsp.stop();
}
