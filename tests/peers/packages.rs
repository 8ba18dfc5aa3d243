//! `scripts/package`: the Debian package and the tarball have what belongs into them, where it belongs; its manual page
//! is that of the program, and its configuration is one. Nothing is installed here: `scripts/fresh --package` does that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::*;

/// What `scripts/package` needs, and the readers of what it makes.
fn needed() -> bool {
    have(&["python3", "dpkg", "dpkg-deb", "dpkg-shlibdeps", "strip", "tar", "xz", "man", "mandoc", "sh"])
}

/// The files that were made, once for all tests, and the package laid out in a folder.
struct Made {
    deb: PathBuf,
    tarball: PathBuf,
    tree: PathBuf,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let _ = std::fs::remove_dir_all(&folder);
    let (deb, tarball) = make(&folder);
    let tree = folder.join("tree");
    ran("dpkg-deb", &["--raw-extract", text(&deb), text(&tree)]);
    Made { deb, tarball, tree }
});

/// Makes both into this folder, of the binary under test, and returns their paths.
fn make(folder: &Path) -> (PathBuf, PathBuf) {
    let binary = rsp_command().get_program().to_string_lossy().into_owned();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package"));
    command.args(["--binary", &binary, "--level", "0", "--out"]).arg(folder);
    let made = run_with_input(command, b"");
    assert_eq!(made.code, Some(0), "{made:?}");
    let paths: Vec<PathBuf> = made.stdout.lines().map(PathBuf::from).collect();
    let [deb, tarball] = paths.try_into().expect("two paths");
    (deb, tarball)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// What a program writes to stdout. It has to succeed.
fn ran(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(find(program).expect("a program"));
    command.args(arguments).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
    let done = run_with_input(command, b"");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{program} {arguments:?}");
    done.stdout
}

fn read(path: &str) -> String {
    std::fs::read_to_string(MADE.tree.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn source(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of the project")
}

/// What `rsp --help` has between two of its lines, and the first words of each line.
fn help(from: &str) -> Vec<String> {
    let all = run(Path::new("/"), &["--help"]).stdout;
    let part = all.split(from).nth(1).and_then(|rest| rest.split("\n\n").next()).expect(from);
    part.lines().map(|line| line.trim().split("  ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_package_has_each_file_where_debian_has_it_and_all_are_roots() {
    if !needed() {
        return;
    }
    let listing = ran("dpkg-deb", &["--contents", text(&MADE.deb)]);
    let entries: Vec<Vec<&str>> = listing.lines().map(|line| line.split_whitespace().collect()).collect();
    for entry in &entries {
        assert_eq!(entry[1], "root/root", "{entry:?}");
        assert!(["drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"].contains(&entry[0]), "{entry:?}");
    }
    let mode = |path: &str| entries.iter().find(|entry| entry[5] == path).map(|entry| entry[0]);
    for path in [
        "./etc/rsp/site.lua",
        "./etc/logrotate.d/rsp",
        "./usr/lib/systemd/system/rsp.service",
        "./usr/lib/systemd/system/rsp.socket",
        "./usr/share/bash-completion/completions/rsp",
        "./usr/share/man/man1/rsp.1.gz",
        "./usr/share/man/man7/rsp-configuration.7.gz",
        "./usr/share/doc/rsp/copyright",
        "./usr/share/doc/rsp/licences.gz",
        "./usr/share/doc/rsp/changelog.Debian.gz",
        "./usr/share/doc/rsp/examples/by_host.lua",
    ] {
        assert_eq!(mode(path), Some("-rw-r--r--"), "{path} in\n{listing}");
    }
    assert_eq!(mode("./usr/bin/rsp"), Some("-rwxr-xr-x"), "{listing}");
}

#[test]
fn the_control_fields_say_what_it_is_and_what_it_needs() {
    if !needed() {
        return;
    }
    let field = |name: &str| ran("dpkg-deb", &["--field", text(&MADE.deb), name]).trim_end().to_owned();
    let version = run(Path::new("/"), &["-v"]).stdout;
    assert_eq!(field("Package"), "rsp");
    assert_eq!(format!("rsp {}\n", field("Version").trim_end_matches("-1")), version);
    assert_eq!(field("Architecture"), ran("dpkg", &["--print-architecture"]).trim_end());
    assert!(
        field("Installed-Size").parse::<u32>().is_ok_and(|size| size > 1000),
        "{}",
        field("Installed-Size")
    );
    for depends in ["adduser", "libc6 (>= ", "libgcc-s1 (>= "] {
        assert!(field("Depends").contains(depends), "{}", field("Depends"));
    }
    assert!(field("Maintainer").contains('@') && field("Description").lines().count() > 3);
    assert_eq!(read("DEBIAN/conffiles"), "/etc/logrotate.d/rsp\n/etc/rsp/site.lua\n");
    let sums = read("DEBIAN/md5sums");
    assert!(sums.contains("  usr/bin/rsp\n") && !sums.contains("  etc/"), "{sums}");
}

#[test]
fn sh_accepts_the_scripts_of_the_package() {
    if !needed() {
        return;
    }
    for name in ["postinst", "prerm", "postrm"] {
        let path = MADE.tree.join("DEBIAN").join(name);
        ran("sh", &["-n", text(&path)]);
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
        assert!(read(&format!("DEBIAN/{name}")).contains("\nset -e\n"), "{name} goes on after a failure");
    }
}

#[test]
fn the_configuration_of_the_package_passes_check_and_its_unit_reads_it() {
    if !needed() {
        return;
    }
    let check = run(&MADE.tree, &["check", "etc/rsp/site.lua"]);
    assert_eq!((check.code, check.said().as_str()), (Some(0), "etc/rsp/site.lua: ok\n"));
    let (site, unit) = (read("etc/rsp/site.lua"), read("usr/lib/systemd/system/rsp.service"));
    assert!(site.contains("listen \"127.0.0.1:"), "nobody else is served by an example: {site}");
    assert!(unit.contains("\nExecStart=/usr/bin/rsp /etc/rsp/site.lua\n"), "{unit}");
    let reload = unit.lines().find(|line| line.starts_with("ExecReload=")).expect("a reload");
    let socket = reload.split(' ').nth(2).expect("a socket");
    assert!(site.contains(&format!("control = \"{socket}\"")), "{reload}\n{site}");
    assert!(site.contains("\"/var/log/rsp/") && read("etc/logrotate.d/rsp").contains("/var/log/rsp/*.log"));
}

#[test]
fn systemd_accepts_the_unit_of_the_package_and_exposes_it_to_little() {
    if !needed() || !have(&["systemd-analyze"]) {
        return;
    }
    let unit = read("usr/lib/systemd/system/rsp.service");
    assert!(unit.contains("\nUser=rsp\n") && !unit.contains("DynamicUser"), "{unit}");
    assert!(read("DEBIAN/postinst").contains(" rsp\n") && !unit.contains("/usr/local"), "{unit}");
    let directory = Directory::new();
    let binary = rsp_command().get_program().to_string_lossy().into_owned();
    let service = directory.write("rsp.service", unit.replace("/usr/bin/rsp", &binary));
    directory.write("rsp.socket", read("usr/lib/systemd/system/rsp.socket"));
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new(find("systemd-analyze").expect("systemd-analyze"));
        command.args(arguments).current_dir(directory.path()).env("SYSTEMD_PAGER", "");
        run_with_input(command, b"")
    };
    let verified = analyze(&["verify", "./rsp.service", "./rsp.socket"]);
    assert_eq!((verified.code, verified.said().as_str()), (Some(0), ""));
    // The scale is of tenths: 20 is 2.0.
    let judged = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager", text(&service)]);
    assert_eq!(judged.code, Some(0), "{}", judged.said());
}

#[test]
fn the_manual_page_has_every_command_signal_exit_code_and_chapter_of_the_help() {
    if !needed() {
        return;
    }
    let page = MADE.tree.join("usr/share/man/man1/rsp.1.gz");
    let page = ran("man", &["-P", "cat", "-l", text(&page)]);
    let terms: Vec<&str> = page.lines().map(str::trim).collect();
    let has = |term: &str| terms.iter().any(|line| *line == term || line.starts_with(&format!("{term} ")));
    for term in [help("usage:\n"), help("signals:\n"), help("exit codes:\n")].concat() {
        assert!(has(&term), "{term:?} is not in:\n{page}");
    }
    let topics = help("topics:\n");
    assert!(topics.len() >= 10, "{topics:?}");
    for topic in topics {
        assert!(has(&format!("rsp-{topic}(7)")), "{topic} is not in:\n{page}");
        assert!(MADE.tree.join(format!("usr/share/man/man7/rsp-{topic}.7.gz")).exists(), "{topic}");
    }
}

#[test]
fn the_manual_pages_are_rendered_without_a_warning() {
    if !needed() {
        return;
    }
    let mut count = 0;
    for section in ["man1", "man7"] {
        for entry in std::fs::read_dir(MADE.tree.join("usr/share/man").join(section)).expect(section) {
            let path = entry.expect("an entry").path();
            // What either has to say is on stderr, or is all that it says.
            ran("man", &["--warnings=w", "-E", "UTF-8", "-Tutf8", "-Z", "-l", text(&path)]);
            assert_eq!(
                ran("mandoc", &["-T", "lint", "-W", "warning", text(&path)]),
                "",
                "{}",
                path.display()
            );
            count += 1;
        }
    }
    assert!(count > 10, "{count} pages");
}

#[test]
fn completion_and_rotation_are_those_of_the_examples_and_the_licences_name_what_is_linked() {
    if !needed() {
        return;
    }
    assert_eq!(read("usr/share/bash-completion/completions/rsp"), source("examples/completion/rsp.bash"));
    assert_eq!(read("etc/logrotate.d/rsp"), source("examples/logrotate"));
    let copyright = read("usr/share/doc/rsp/copyright");
    for linked in ["Files: *\n", "Files: mlua-", "Files: lua-src-", "Files: rustls-", "License: MIT\n "] {
        assert!(copyright.contains(linked), "{linked:?} is not in:\n{copyright}");
    }
    assert!(!copyright.contains("tungstenite"), "of the tests alone");
}

#[test]
fn the_tarball_has_the_same_below_one_folder() {
    if !needed() {
        return;
    }
    let listing = ran("tar", &["-tJf", text(&MADE.tarball)]);
    let name = MADE.tarball.file_name().and_then(|name| name.to_str()).expect("a name");
    let top = name.strip_suffix(".tar.xz").expect("its ending");
    for path in [
        "bin/rsp",
        "lib/systemd/system/rsp.service",
        "share/man/man1/rsp.1.gz",
        "share/bash-completion/completions/rsp",
        "share/doc/rsp/copyright",
        "share/doc/rsp/examples/site.lua",
        "share/doc/rsp/examples/logrotate",
    ] {
        assert!(listing.lines().any(|line| line == format!("{top}/{path}")), "{path} is not in:\n{listing}");
    }
    assert!(listing.lines().all(|line| line.starts_with(top)), "{listing}");
}

#[test]
fn the_same_binary_gives_the_same_bytes() {
    if !needed() {
        return;
    }
    let again = Directory::new();
    let (deb, tarball) = make(again.path());
    for (one, other) in [(&MADE.deb, deb), (&MADE.tarball, tarball)] {
        assert_eq!(one.file_name(), other.file_name());
        assert!(std::fs::read(one).expect("a file") == std::fs::read(&other).expect("a file"), "{one:?}");
    }
}
