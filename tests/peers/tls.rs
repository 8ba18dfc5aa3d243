//! TLS as other programs speak it: curl, OpenSSL's client, Python, Java, Go (hey), h2load, Chromium; and what sslscan
//! thinks of it.

use std::process::Command;

use crate::support::*;

const SAYS: &str = "rsp.on_request(function(req)
    return rsp.respond { status = 200, body = req.tls.version .. ' ' .. tostring(req.tls.client_subject) } end)";

fn listening(keys: &str) -> (Rsp, Authority) {
    let (directory, authority) = secured();
    authority.issue_rsa(&["localhost"]).write(&directory, "rsa");
    let certs = "certs = { { cert = 'rsa.crt', key = 'rsa.key' }, { cert = 'site.crt', key = 'site.key' } }";
    let config = format!("rsp.listen {{ '127.0.0.1:0', tls = {{ {certs}, {keys} }} }}\n{SAYS}");
    (Rsp::start_in(directory, &config), authority)
}

fn port(rsp: &Rsp) -> &str {
    rsp.address().rsplit_once(':').expect("a port").1
}

/// What the program says in rsp's directory.
fn ran(rsp: &Rsp, program: &str, arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(rsp.directory.path());
    run_with_input(command, input.as_bytes())
}

#[test]
fn curl_speaks_both_versions_and_reads_to_the_end() {
    if !have(&["curl"]) {
        return;
    }
    let (rsp, _) = listening("");
    let url = format!("https://localhost:{}/", port(&rsp));
    for (option, said) in [("--tlsv1.3", "1.3 nil"), ("--tls-max", "1.2 nil")] {
        let mut arguments = vec!["-sS", "--cacert", "ca.pem", option];
        arguments.extend((option == "--tls-max").then_some("1.2"));
        arguments.push(&url);
        let finished = ran(&rsp, "curl", &arguments, "");
        assert_eq!((finished.code, finished.said().as_str()), (Some(0), said), "{finished:?}");
    }
    let old = ran(&rsp, "curl", &["-sS", "--cacert", "ca.pem", "--tls-max", "1.1", &url], "");
    assert_ne!(old.code, Some(0), "{old:?}");
}

/// What `openssl s_client` with these options shows of a connection with one request.
fn s_client(rsp: &Rsp, options: &[&str]) -> String {
    let address = format!("localhost:{}", port(rsp));
    let mut arguments =
        vec!["s_client", "-connect", &address, "-CAfile", "ca.pem", "-servername", "localhost"];
    arguments.extend(["-ign_eof"]);
    arguments.extend(options);
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let finished = ran(rsp, "openssl", &arguments, request);
    format!("{finished:?}")
}

#[test]
fn openssl_verifies_resumes_and_gets_the_kind_of_key_that_it_asks_for() {
    if !have(&["openssl"]) {
        return;
    }
    let (rsp, _) = listening("");
    for version in ["-tls1_2", "-tls1_3"] {
        let first = s_client(&rsp, &[version, "-alpn", "h2,http/1.1", "-sess_out", "session"]);
        for words in ["Verification: OK", "ALPN protocol: http/1.1", "200 OK", "New, TLSv1."] {
            assert!(first.contains(words), "{version}: {words}: {first}");
        }
        let again = s_client(&rsp, &[version, "-sess_in", "session"]);
        assert!(again.contains("Reused, TLSv1.") && again.contains("200 OK"), "{version}: {again}");
    }
    let ecdsa = s_client(&rsp, &[]);
    assert!(ecdsa.contains("Peer signature type: ECDSA"), "{ecdsa}");
    let rsa = s_client(&rsp, &["-sigalgs", "RSA-PSS+SHA256"]);
    assert!(rsa.contains("Peer signature type: RSA-PSS") && rsa.contains("200 OK"), "{rsa}");
    let alpn = s_client(&rsp, &["-alpn", "h2"]);
    assert!(alpn.contains("no application protocol"), "{alpn}");
    let old = s_client(&rsp, &["-tls1_1", "-cipher", "ALL@SECLEVEL=0"]);
    assert!(!old.contains("200 OK"), "{old}");
    let again = s_client(&rsp, &["-tls1_2", "-legacy_renegotiation"]);
    assert!(again.contains("Secure Renegotiation IS supported") && again.contains("200 OK"), "{again}");
}

#[test]
fn openssl_shows_a_client_certificate_and_is_told_why_it_is_refused() {
    if !have(&["openssl"]) {
        return;
    }
    let (rsp, authority) = listening("client_ca = 'ca.pem'");
    authority.issue_to("alice").write(&rsp.directory, "alice");
    for version in ["-tls1_2", "-tls1_3"] {
        let with = s_client(&rsp, &[version, "-cert", "alice.crt", "-key", "alice.key"]);
        assert!(with.contains("200 OK") && with.contains("CN=alice"), "{version}: {with}");
        let without = s_client(&rsp, &[version]);
        assert!(!without.contains("200 OK") && without.contains("alert"), "{version}: {without}");
    }
}

/// Reads a response that ends with the connection, and says whether TLS said so too.
const PYTHON: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile="ca.pem")
plain = socket.create_connection(("localhost", int(sys.argv[1])))
with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
    tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
    got = b""
    while piece := tls.recv(1000):
        got += piece
    print(tls.version(), got.split(b"\r\n\r\n")[1].decode())
"#;

#[test]
fn python_sees_the_end_that_tls_announces() {
    if !have(&["/usr/bin/python3"]) {
        return;
    }
    let (rsp, _) = listening("");
    let finished = ran(&rsp, "/usr/bin/python3", &["-c", PYTHON, port(&rsp)], "");
    assert_eq!(finished.said(), "TLSv1.3 1.3 nil\n", "{finished:?}");
}

/// Verifies the certificate, and makes two requests on one connection.
const JAVA: &str = r#"
import java.io.*; import java.net.*; import java.net.http.*; import java.security.*; import java.security.cert.*;
import javax.net.ssl.*;
public class Client {
    public static void main(String[] words) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream file = new FileInputStream("ca.pem")) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        HttpClient client = HttpClient.newBuilder().sslContext(context).build();
        for (int i = 0; i < 2; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(words[0])).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
        }
    }
}
"#;

#[test]
fn java_verifies_and_falls_back_from_http_2() {
    if !have(&["javac", "java"]) {
        return;
    }
    let (rsp, _) = listening("");
    rsp.directory.write("Client.java", JAVA);
    let url = format!("https://localhost:{}/", port(&rsp));
    // OpenJDK runs a single source file.
    let finished = ran(&rsp, "java", &["-XX:TieredStopAtLevel=1", "Client.java", &url], "");
    assert_eq!(finished.said(), "200 HTTP_1_1 1.3 nil\n".repeat(2), "{finished:?}");
}

#[test]
fn go_s_client_has_no_failure() {
    if !have(&["hey"]) {
        return;
    }
    let (rsp, _) = listening("");
    let url = format!("https://localhost:{}/", port(&rsp));
    // Without -host it asks for the name `localhost:PORT`, which is none (RFC 6066 section 3).
    for more in [&["-n", "2000", "-c", "16"][..], &["-n", "320", "-c", "16", "-disable-keepalive"]] {
        let finished = ran(&rsp, "hey", &[more, &["-host", "localhost", &url]].concat(), "");
        let wanted = format!("[200]\t{} responses", more[1]);
        assert!(finished.said().contains(&wanted) && !finished.said().contains("Error"), "{finished:?}");
    }
}

#[test]
fn h2load_has_no_failure_and_agrees_on_http_1() {
    if !have(&["h2load"]) {
        return;
    }
    let (rsp, _) = listening("");
    let url = format!("https://localhost:{}/", port(&rsp));
    let finished = ran(&rsp, "h2load", &["--h1", "-n", "5000", "-c", "20", &url], "");
    let said = finished.said();
    assert!(said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{finished:?}");
    assert!(
        said.contains("TLS Protocol: TLSv1.3") && said.contains("Application protocol: http/1.1"),
        "{said}"
    );
}

#[test]
fn chromium_shows_a_page_of_an_authority_that_it_is_told_to_trust() {
    if !have(&["chromium", "openssl"]) {
        return;
    }
    let (rsp, _) = listening("");
    let hash = "openssl x509 -in site.crt -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64";
    let pin = ran(&rsp, "sh", &["-c", hash], "").said();
    let rsa = ran(&rsp, "sh", &["-c", &hash.replace("site.crt", "rsa.crt")], "").said();
    let profile = rsp.directory.join("chromium");
    let arguments = [
        "--headless=new".to_string(),
        "--no-sandbox".into(),
        "--disable-gpu".into(),
        format!("--user-data-dir={}", profile.display()),
        format!("--ignore-certificate-errors-spki-list={},{}", pin.trim(), rsa.trim()),
        "--dump-dom".into(),
        format!("https://localhost:{}/", port(&rsp)),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let finished = ran(&rsp, "chromium", &arguments, "");
    assert!(finished.said().contains("1.3 nil"), "{finished:?}");
}

#[test]
fn sslscan_finds_nothing_old_or_weak() {
    if !have(&["sslscan"]) {
        return;
    }
    let (rsp, _) = listening("");
    let finished =
        ran(&rsp, "sslscan", &["--no-colour", "--show-sigs", &format!("localhost:{}", port(&rsp))], "");
    let said = finished.said();
    for version in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        let line =
            said.lines().find(|line| line.starts_with(version)).unwrap_or_else(|| panic!("{finished:?}"));
        assert!(line.ends_with("disabled"), "{line}");
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        assert!(said.lines().any(|line| line.starts_with(version) && line.ends_with("enabled")), "{said}");
        assert!(said.contains(&format!("{version} not vulnerable to heartbleed")), "{said}");
    }
    assert!(
        said.contains("Session renegotiation not supported") || said.contains("Secure session renegotiation")
    );
    assert!(!said.contains("Compression enabled"), "{said}");
    let ciphers: Vec<&str> =
        said.lines().filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted")).collect();
    assert!(ciphers.len() >= 6, "{said}");
    for line in ciphers {
        assert!(line.contains("GCM") || line.contains("CHACHA20") || line.contains("POLY1305"), "{line}");
        assert!(line.contains("ECDHE-") || line.contains("TLS_"), "{line}: no forward secrecy");
    }
}

/// rsp in front of two of `openssl s_server`, one a name; neither has the other's certificate.
fn passing(authority: &Authority) -> (Rsp, [Program; 2]) {
    let servers = ["a.example", "b.example"].map(|name| {
        let pair = authority.issue(&[name]);
        Program::start("openssl", &|directory, port| {
            pair.write(directory, "site");
            let file = |name: &str| directory.join(name).display().to_string();
            let address = format!("127.0.0.1:{port}");
            let words = ["s_server", "-www", "-accept", &address, "-min_protocol", "TLSv1"];
            let files = ["-cert", &file("site.crt"), "-key", &file("site.key"), "-cipher", "ALL:@SECLEVEL=0"];
            words.into_iter().chain(files).map(String::from).collect()
        })
    });
    let directory = Directory::new();
    directory.write("ca.pem", &authority.pem);
    let config = format!(
        "local a, b = rsp.pool {{ servers = {{ '{}' }} }}, rsp.pool {{ servers = {{ '{}' }} }}
        rsp.listen {{ '127.0.0.1:0', sni = function(name)
          return name == 'a.example' and a or name == 'b.example' and b or nil end }}",
        servers[0].address, servers[1].address
    );
    (Rsp::start_in(directory, &config), servers)
}

#[test]
fn curl_gets_each_server_s_own_certificate_through_rsp() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let authority = Authority::new();
    let (rsp, _servers) = passing(&authority);
    let asks = |name: &str| {
        let to = format!("{name}:{0}:127.0.0.1:{0}", port(&rsp));
        let url = format!("https://{name}:{}/", port(&rsp));
        ran(&rsp, "curl", &["-sS", "--cacert", "ca.pem", "--connect-to", &to, &url], "")
    };
    for name in ["a.example", "b.example"] {
        let finished = asks(name);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.contains("Ciphers"), "{finished:?}");
    }
    let finished = asks("c.example");
    assert_eq!(finished.code, Some(35), "{finished:?}");
    assert!(finished.stderr.contains("unrecognized name"), "{finished:?}");
}

#[test]
fn openssl_s_hellos_of_every_version_and_size_are_read() {
    if !have(&["openssl"]) {
        return;
    }
    let authority = Authority::new();
    let (rsp, _servers) = passing(&authority);
    let address = format!("127.0.0.1:{}", port(&rsp));
    let shows = |name: &[&str], options: &[&str]| {
        let always = ["s_client", "-connect", &address, "-CAfile", "ca.pem", "-ign_eof"];
        let arguments = [&always, name, options].concat();
        format!("{:?}", ran(&rsp, "openssl", &arguments, "GET / HTTP/1.0\r\n\r\n"))
    };
    let a = ["-servername", "a.example", "-verify_hostname", "a.example"];
    let many: Vec<String> = (0..120).map(|i| format!("protocol-{i:03}-{}", "x".repeat(50))).collect();
    for options in [
        vec!["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        vec!["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        vec!["-tls1_2"],
        vec!["-tls1_3"],
        vec!["-tls1_3", "-split_send_frag", "512", "-max_send_frag", "512"],
        vec!["-alpn", many.join(",").leak()],
    ] {
        let said = shows(&a, &options);
        assert!(said.contains("Verification: OK") && said.contains("200 ok"), "{options:?}: {said}");
    }
    let none = shows(&["-noservername"], &[]);
    assert!(none.contains("unrecognized name"), "{none}");
}

/// What the manual says to run for a key of tickets makes a file that rsp takes.
#[test]
fn the_manual_s_commands_make_ticket_keys() {
    if !have(&["openssl", "base64", "sh"]) {
        return;
    }
    let manual = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/tls.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    let shell = manual.split("```sh\n").find(|block| block.starts_with("openssl rand")).expect("a command");
    let line = shell.lines().next().expect("a line");
    assert!(line.ends_with(" > /etc/rsp/ticket.key"), "{line}");
    let long = manual.split('`').find(|span| span.starts_with("openssl rand 80 ")).expect("another command");
    for command in [line.replace("/etc/rsp/", ""), format!("{long} > ticket.key")] {
        let (directory, _) = secured();
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(directory.path());
        assert_eq!(run_with_input(shell, b"").code, Some(0), "{command}");
        let tls = "tls = { cert = 'site.crt', key = 'site.key', tickets = 'ticket.key' }";
        directory.write("site.lua", format!("rsp.listen {{ '127.0.0.1:0', {tls} }}\n{SAYS}"));
        let checked = run(directory.path(), &["check", "site.lua"]);
        assert_eq!(checked.code, Some(0), "{command}: {checked:?}");
    }
}

/// Runs openssl in this directory.
fn openssl(directory: &Directory, arguments: &str) -> Finished {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(directory.path());
    let finished = run_with_input(command, b"");
    assert_eq!(finished.code, Some(0), "openssl {arguments}: {finished:?}");
    finished
}

#[test]
fn a_staple_is_sent_and_one_about_another_certificate_is_not_taken() {
    if !have(&["openssl"]) {
        return;
    }
    let (directory, authority) = secured();
    directory.write("ca.key", &authority.key);
    authority.issue(&["localhost"]).write(&directory, "other");
    for name in ["site", "other"] {
        let serial = openssl(&directory, &format!("x509 -noout -serial -in {name}.crt")).stdout;
        let serial = serial.trim().trim_start_matches("serial=");
        directory.write("index", format!("V\t401231000000Z\t\t{serial}\tunknown\t/CN=server\n"));
        let index = "ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -ndays 1";
        openssl(&directory, &format!("{index} -issuer ca.pem -cert {name}.crt -respout {name}.ocsp"));
    }
    let config = "rsp.listen { '127.0.0.1:0', name = 'https',
        tls = { cert = 'site.crt', key = 'site.key', ocsp = 'site.ocsp', watch = true } }";
    directory.write("wrong.lua", format!("{config}\n{SAYS}").replace("site.ocsp", "other.ocsp"));
    let checked = run(directory.path(), &["check", "wrong.lua"]);
    let wanted =
        "wrong.lua:2: tls.ocsp: other.ocsp: about another certificate, expected a response about the first";
    assert!(checked.code == Some(1) && checked.said().contains(wanted), "{checked:?}");
    let rsp = Rsp::start_in(directory, &format!("{config}\n{SAYS}"));
    let sent =
        |said: &str| said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good");
    let said = s_client(&rsp, &["-status"]);
    assert!(sent(&said) && said.contains("200 OK"), "{said}");
    // The certificate is renewed before its response is.
    for file in ["key", "crt"] {
        rsp.directory.write(&format!("site.{file}"), rsp.directory.read(&format!("other.{file}")));
    }
    rsp.wait_for_log("listener https: no OCSP response is sent: tls.ocsp: ");
    let said = s_client(&rsp, &["-status"]);
    assert!(said.contains("OCSP response: no response sent") && said.contains("200 OK"), "{said}");
    let response = std::fs::read(rsp.directory.join("other.ocsp")).expect("a response");
    rsp.directory.write("site.ocsp", response);
    until("it is sent again", || sent(&s_client(&rsp, &["-status"])));
}

/// rustls' own client takes the dot away; OpenSSL sends the name as it is given.
#[test]
fn the_dot_at_the_end_of_a_name_is_not_part_of_it() {
    if !have(&["openssl"]) {
        return;
    }
    let (directory, authority) = secured();
    authority.issue(&["a.example"]).write(&directory, "a");
    let certs = "certs = { { cert = 'site.crt', key = 'site.key' }, { cert = 'a.crt', key = 'a.key' } }";
    let says =
        "rsp.on_request(function(req) return rsp.respond { status = 200, body = 'sni ' .. req.tls.sni } end)";
    let rsp =
        Rsp::start_in(directory, &format!("rsp.listen {{ '127.0.0.1:0', tls = {{ {certs} }} }}\n{says}"));
    let address = format!("localhost:{}", port(&rsp));
    let named = ["-servername", "a.example.", "-verify_hostname", "a.example", "-CAfile", "ca.pem"];
    let arguments = [&["s_client", "-connect", &address, "-ign_eof"], &named[..]].concat();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let said = format!("{:?}", ran(&rsp, "openssl", &arguments, request));
    assert!(
        said.contains("Verification: OK")
            && said.contains("sni a.example")
            && !said.contains("sni a.example."),
        "{said}"
    );
}
