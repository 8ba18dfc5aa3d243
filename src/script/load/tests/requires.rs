//! Modules: where they are searched, what they may be, and positions of their errors.

use super::super::Source;
use super::{Files, error, load};

const REST: &str = "\nrsp.listen '127.0.0.1:0' rsp.pool { servers = { '127.0.0.1:1' } }";

/// Loads `site.lua` with this first line beside these modules.
fn with(first: &str, modules: &[(&str, &str)]) -> Result<(), String> {
    let files = Files::new(modules);
    files.write("site.lua", format!("{first}{REST}").as_bytes());
    files.load().map(|_| ())
}

#[test]
fn modules_are_found_beside_the_config_and_run_once() {
    let modules = [
        ("one.lua", "count = (count or 0) + 1 local name, file = ... return { name = name, file = file }"),
        ("lib/two.lua", "return 'two'"),
        ("lib/three/init.lua", "return 'three'"),
        ("none.lua", ""),
        ("set.lua", "package.loaded['set'] = 'set'"),
        ("bom.lua", "\u{feff}#!shebang\nreturn 'bom'"),
    ];
    let first = "local one = require 'one' assert(one == require 'one' and count == 1)
        assert(one.name == 'one' and one.file:sub(-7) == 'one.lua')
        assert(require 'lib.two' == 'two' and require 'lib.three' == 'three')
        assert(require 'none' == true and require 'set' == 'set' and require 'bom' == 'bom')
        assert(require 'string' == string and require 'rsp' == rsp and package.loaded.one == one)";
    assert_eq!(with(first, &modules), Ok(()));
}

#[test]
fn a_module_can_configure_and_its_errors_name_its_own_lines() {
    for (text, message) in [
        ("\nrsp.settings {\n vai = 1 }", "sites.lua:3: vai: unknown setting, did you mean via?"),
        ("\nerror 'mine'", "sites.lua:2: mine"),
        ("\nx = = 1", "sites.lua:2: unexpected symbol near '='"),
        ("\u{1b}Lua", "sites.lua:1: compiled Lua, expected Lua text"),
        ("\nrequire 'more'", "more.lua:1: deep"),
    ] {
        assert_eq!(
            with("require 'sites'", &[("sites.lua", text), ("more.lua", "error 'deep'")]),
            Err(message.to_owned())
        );
    }
}

#[test]
fn a_missing_module_error_says_where_it_was_searched() {
    let found = with("\nrequire 'lib.absent'", &[]);
    let message =
        "site.lua:2: require \"lib.absent\": not found, looked for lib/absent.lua and lib/absent/init.lua";
    assert_eq!(found, Err(message.to_owned()));
    let directory = with("require 'lib'", &[("lib.lua/x", "")]);
    assert_eq!(directory, Err("site.lua:1: require \"lib\": cannot open lib.lua: Is a directory".to_owned()));
}

#[test]
fn a_module_name_cannot_leave_the_directory() {
    for name in ["../x", "..", "/etc/passwd", "a/b", "a..b", ".a", "a.", "", "a\\\\b", "a\\nb", "a\\0"] {
        let line = error(&format!("require '{name}'"));
        let end = ": bad name, expected words with dots between them, such as \"lib.sites\"";
        assert!(line.starts_with("site.lua:1: require \"") && line.ends_with(end), "{line}");
    }
    assert_eq!(error("require()"), "site.lua:1: require: got nothing (nil), expected the name of a module");
    assert_eq!(error("require {}"), "site.lua:1: require: got a table, expected the name of a module");
}

#[test]
fn circular_modules_are_refused() {
    let found = with("require 'a'", &[("a.lua", "require 'b'"), ("b.lua", "\nrequire 'a'")]);
    assert_eq!(
        found,
        Err("b.lua:2: require \"a\": modules require each other in a circle (a, b, a)".to_owned())
    );
}

#[test]
fn a_module_that_failed_can_be_tried_again() {
    let first = "assert(not pcall(require, 'a')) again = true require 'a'";
    assert_eq!(with(first, &[("a.lua", "if not again then error 'x' end")]), Ok(()));
}

#[test]
fn long_file_names_are_shown_whole() {
    let deep = "directory/".repeat(8);
    let files = Files::new(&[]);
    files.write(&format!("{deep}site.lua"), b"require 'mod'");
    files.write(&format!("{deep}mod.lua"), b"\nlocal x = 1 + nil");
    let path = files.0.join(format!("{deep}site.lua"));
    let line = load(&mut Source::file(&path)).unwrap_err();
    let module = path.with_file_name("mod.lua");
    assert_eq!(line, format!("{}:2: attempt to perform arithmetic on a nil value", module.display()));
}

#[test]
fn the_policies_come_with_rsp() {
    let first = "assert(type(require 'rsp.round_robin' ()) == 'function' and type(require 'rsp.least_busy' ()) == 'function')
        rsp.on_request(require 'rsp.by_host' { default = 'pool1' })";
    assert_eq!(with(first, &[]), Ok(()));
    let bad = with("\nrequire 'rsp.by_host' { ['a:80'] = 'pool1' }", &[]);
    let message = "site.lua:2: by_host: a:80: expected a host name without port, as in \"example.com\"";
    assert_eq!(bad, Err(message.to_owned()));
}

#[test]
fn a_link_may_lead_to_a_module_within_the_folder_and_not_out_of_it() {
    use std::os::unix::fs::symlink;
    let outside = Files::new(&[("secret.lua", "return 'secret'")]);
    for (module, told) in [
        ("inside", Ok(())),
        (
            "file",
            Err("site.lua:1: require \"file\": file.lua is a link that leads out of the config's folder"),
        ),
        (
            "dir.secret",
            Err(
                "site.lua:1: require \"dir.secret\": dir/secret.lua is a link that leads out of the config's folder",
            ),
        ),
    ] {
        let site = format!("assert(require '{module}' == 'real'){REST}");
        let files = Files::new(&[("site.lua", &site), ("real.lua", "return 'real'")]);
        symlink("real.lua", files.0.join("inside.lua")).unwrap();
        symlink(outside.0.join("secret.lua"), files.0.join("file.lua")).unwrap();
        symlink(&outside.0, files.0.join("dir")).unwrap();
        assert_eq!(files.load().map(drop), told.map_err(str::to_owned), "{module}");
    }
}
