//! A certificate from an authority: lego asks Pebble, Let's Encrypt's server for tests, which finds rsp's answer to its
//! challenge; the example's hook gives the certificate to rsp, and a renewal under load loses no request.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::version::TLS13;

use crate::support::*;

const DOMAIN: &str = "www.rsp.example";

fn hook() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/acme/deploy-certificate")
}

/// The group of this process: the hook may give files to it.
fn group() -> String {
    nix::unistd::getegid().to_string()
}

/// Pebble and its name server, which says that every name is at 127.0.0.1.
struct Pebble {
    _names: Program,
    pebble: Program,
}

impl Pebble {
    /// It asks the port `http` for answers to challenges.
    fn start(http: u16) -> Pebble {
        let dns = format!("127.0.0.1:{}", free_port());
        let names = Program::start("pebble-challtestsrv", &|_, port| {
            let off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
            let on = ["-dns01".into(), dns.clone(), "-management".into(), format!("127.0.0.1:{port}")];
            off.into_iter().map(str::to_owned).chain(on).collect()
        });
        let pebble = Program::start("env", &|directory, port| {
            let authority = Authority::new();
            directory.write("ca.pem", &authority.pem);
            authority.issue(&["127.0.0.1", "localhost"]).write(directory, "pebble");
            let file = |name: &str| directory.join(name).display().to_string();
            let config = format!(
                r#"{{ "pebble": {{ "listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{}",
                     "certificate": "{}", "privateKey": "{}", "httpPort": {http}, "tlsPort": 1 }} }}"#,
                free_port(),
                file("pebble.crt"),
                file("pebble.key")
            );
            let config = directory.write("pebble.json", config).display().to_string();
            // Without the delays and refusals by which it teaches clients patience.
            let quick = ["PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "pebble", "-config"];
            let rest = [config, "-dnsserver".into(), dns.clone()];
            quick.into_iter().map(str::to_owned).chain(rest).collect()
        });
        Pebble { _names: names, pebble }
    }

    fn lego(&self, rsp: &Rsp, command: &[&str]) -> Finished {
        let path = |name: &str| rsp.directory.join(name).display().to_string();
        let mut lego = Command::new("lego");
        // It verifies Pebble's own certificate.
        lego.args(["--server", &format!("https://{}/dir", self.pebble.address), "--accept-tos"])
            .args(["--email", "me@rsp.example", "--domains", DOMAIN, "--path", &path("lego")])
            .args(["--http", "--http.webroot", &path("acme")])
            .args(command)
            .env("LEGO_CA_CERTIFICATES", self.pebble.directory.join("ca.pem"))
            .env("RSP_CERTS", path("certs"))
            .env("RSP_GROUP", group())
            .env("RSP_RELOAD", format!("kill -HUP {}", rsp.pid()));
        let finished = run_with_input(lego, b"");
        let pebble = self.pebble.directory.read("program.log");
        assert_eq!(finished.code, Some(0), "{finished:?}\n{}\n{pebble}", rsp.log());
        finished
    }
}

/// With a TLS listener once there is a certificate.
fn config(address: &str, origin: &Origin, more: &str) -> String {
    format!(
        "rsp.listen {{ '{address}', redirect = 'https' }} {more}
         rsp.pool {{ servers = {{ {:?} }} }} rsp.settings {{ acme_challenge_dir = 'acme' }}",
        origin.address
    )
}

/// The last certificate of the chain, which signed the others.
fn issuer(chain: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    format!("{BEGIN}{}", chain.rsplit_once(BEGIN).expect("a chain").1)
}

#[test]
fn lego_gets_a_certificate_through_rsp_and_a_renewal_under_load_loses_no_request() {
    if !have(&["pebble", "pebble-challtestsrv", "lego", "sh"]) {
        return;
    }
    let origin = Origin::named("web");
    let directory = Directory::new();
    for name in ["acme", "certs"] {
        std::fs::create_dir(directory.join(name)).expect("a directory");
    }
    // The same one over reloads.
    let plain = format!("127.0.0.1:{}", free_port());
    let rsp = Rsp::start_in(directory, &config(&plain, &origin, ""));
    let pebble = Pebble::start(plain.rsplit_once(':').expect("a port").1.parse().expect("a number"));
    let hook = hook().display().to_string();
    pebble.lego(&rsp, &["run", "--run-hook", &hook]);
    rsp.wait_for_log("Reloaded: config 2");
    let pem = format!("certs/{DOMAIN}.pem");
    let first = rsp.directory.read(&pem);
    let secure = format!("127.0.0.1:{}", free_port());
    let listen = format!("rsp.listen {{ '{secure}', tls = {{ dir = 'certs', watch = true }} }}");
    rsp.directory.write("rsp.lua", config(&plain, &origin, &listen));
    rsp.signal(libc::SIGHUP);
    rsp.wait_for_log("Reloaded: config 3");
    let new_client = |chain: &str| TlsClient::trusting(&issuer(chain), None, &[&TLS13]).named(DOMAIN);
    let client = new_client(&first);
    let shown = |client: &TlsClient| {
        let mut connection = client.connect(&secure);
        assert_eq!(connection.get("/").text(), "web");
        connection.wire.tls().peer_certificates().expect("a certificate")[0].to_vec()
    };
    let before = shown(&client);
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // One kept connection, and new ones, which take any chain that Pebble signs.
                let mut kept = client.connect(&secure);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(kept.get("/").text(), "web");
                    let fresh = new_client(&rsp.directory.read(&pem));
                    assert_eq!(fresh.connect(&secure).get("/").text(), "web");
                    count.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        pebble.lego(&rsp, &["renew", "--days", "36500", "--no-random-sleep", "--renew-hook", &hook]);
        rsp.wait_for_log("Reloaded: config 4");
        let second = rsp.directory.read(&pem);
        assert_ne!(second, first);
        until("the new certificate is shown", || shown(&new_client(&second)) != before);
        let seen = count.load(Ordering::Relaxed);
        until("more requests", || count.load(Ordering::Relaxed) > seen + 10);
        stop.store(true, Ordering::Relaxed);
    });
    assert!(count.load(Ordering::Relaxed) > 20);
}

#[test]
fn the_hook_takes_what_certbot_says_and_leaves_one_file_for_the_group() {
    use std::os::unix::fs::PermissionsExt;
    if !have(&["sh"]) {
        return;
    }
    let (directory, authority) = secured();
    let lineage = directory.join("live/*.a.example");
    std::fs::create_dir_all(&lineage).expect("a directory");
    std::fs::create_dir(directory.join("certs")).expect("a directory");
    let Pair { cert, key } = authority.issue(&["*.a.example"]);
    std::fs::write(lineage.join("fullchain.pem"), &cert).expect("written");
    std::fs::write(lineage.join("privkey.pem"), &key).expect("written");
    let run = |lineage: Option<&Path>| {
        let mut command = Command::new("sh");
        command.arg(hook()).env_remove("RENEWED_LINEAGE").envs(lineage.map(|path| ("RENEWED_LINEAGE", path)));
        command
            .env("RSP_CERTS", directory.join("certs"))
            .env("RSP_GROUP", group())
            .env("RSP_RELOAD", "echo reloaded");
        run_with_input(command, b"")
    };
    let finished = run(Some(&lineage));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "reloaded\n"), "{finished:?}");
    let file = directory.join("certs/_.a.example.pem");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), cert + &key);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640);
    assert_eq!(
        std::fs::read_dir(directory.join("certs")).expect("a directory").count(),
        1,
        "nothing else is left"
    );
    assert_eq!(run(None).code, Some(2));
}
