//! The demo's first screen: the address, the servers behind it, and what to try.

use std::fmt::Write;

use super::origin::AWAY;

/// `listening` is the bound address, `servers` are addresses and names.
pub fn first(listening: &str, servers: &[(String, &str)], colours: bool) -> String {
    let (bold, dim, plain) = if colours { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let (curl, url) = curl_and_url(listening);
    let mut text = format!(
        "\n  {bold}rsp {}{plain} is balancing over {} small servers, all in this one process:\n\n",
        env!("CARGO_PKG_VERSION"),
        servers.len()
    );
    for (i, (address, name)) in servers.iter().enumerate() {
        let (left, arrow) = if i == 0 { (url.as_str(), "──►") } else { ("", "  ►") };
        let _ = writeln!(text, "    {bold}{left:<26}{plain} {arrow} {name:<6} {dim}{address}{plain}");
    }
    let _ = writeln!(text, "\n  {bold}Try in another terminal{plain}, and watch the lines below:\n");
    for (command, meaning) in suggestions(&curl, &url) {
        let _ = writeln!(text, "    {command}\n        {dim}{meaning}{plain}");
    }
    let _ = writeln!(text, "\n  Ctrl-C ends the demo.\n\n{dim}{}{plain}", super::lines::HEADING);
    text
}

fn suggestions(curl: &str, url: &str) -> [(String, String); 5] {
    [
        (format!("{curl} {url}/"), "another server each time; it shows the request as rsp sent it on".into()),
        (format!("{curl} {url}/slow"), "a response that trickles in for five seconds".into()),
        (
            format!("{curl} --limit-rate 4M {url}/big | wc -c"),
            "a slow reader: 67108864 bytes arrive, and rsp holds no more than two blocks of 32 KiB".into(),
        ),
        (format!("{curl} --data-binary hello {url}/echo"), "what you send comes back".into()),
        (
            format!("{curl} {url}/kill; for i in 1 2 3 4 5 6; do {curl} {url}/ | head -1; done"),
            format!("one server is gone for {} seconds: no request fails", AWAY.as_secs()),
        ),
    ]
}

/// The curl command and the URL for the listening address.
fn curl_and_url(listening: &str) -> (String, String) {
    if let Some(path) = listening.strip_prefix("unix:") {
        return (format!("curl -s --unix-socket {path}"), "http://localhost".into());
    }
    let reachable = listening.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1);
    ("curl -s".into(), format!("http://{reachable}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Vec<(String, &'static str)> {
        vec![("127.0.0.1:4001".into(), "apple"), ("127.0.0.1:4002".into(), "pear")]
    }

    #[test]
    fn the_first_screen_names_the_url_the_servers_and_what_to_try() {
        let text = first("0.0.0.0:8080", &servers(), false);
        for wanted in ["http://127.0.0.1:8080 ", "apple  127.0.0.1:4001", "--limit-rate", "/kill", "Ctrl-C"] {
            assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
        }
        assert!(!text.contains('\x1b'));
        assert!(first("0.0.0.0:8080", &servers(), true).contains("\x1b[1m"));
    }

    #[test]
    fn the_suggested_commands_reach_the_listening_address() {
        assert_eq!(curl_and_url("[::]:80"), ("curl -s".into(), "http://[::1]:80".into()));
        assert_eq!(
            curl_and_url("unix:/tmp/x"),
            ("curl -s --unix-socket /tmp/x".into(), "http://localhost".into())
        );
    }
}
