//! `show sess`: a line for each connection of a client. The first words are haproxy's; what it waits for follows.

use crate::worker::Session;

/// The id that `show sess` and `shutdown session` take.
fn id(worker: usize, token: u64) -> u128 {
    (worker as u128) << 64 | u128::from(token)
}

/// `now`: the worker's clock.
pub fn line(session: &Session, worker: usize, listeners: &[(u8, String)], now: u64) -> String {
    let listener = listeners.iter().find(|(number, _)| *number == session.listener);
    let listener = listener.map_or("<removed>", |(_, name)| name);
    let (proto, source) = match session.client {
        Some((ip, port)) if ip.is_ipv4() => ("tcpv4", format!("{ip}:{port}")),
        Some((ip, port)) => ("tcpv6", format!("[{ip}]:{port}")),
        None => ("unix_stream", "unix".into()),
    };
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "<none>".into());
    let since = |at: u64| seconds(now.saturating_sub(at));
    let mut text = format!(
        "0x{:x}: proto={proto} src={source} fe={listener} be={} srv={} age={} waits={} since={}",
        id(worker, session.token),
        name(&session.pool),
        name(&session.server),
        session.began.map_or("-".into(), since),
        if session.waits.is_empty() { "-" } else { session.waits },
        since(session.since),
    );
    text += &session
        .until
        .map_or(" exp=-".into(), |until| format!(" exp={}", seconds(until.saturating_sub(now))));
    text += &format!(" tls={} sent={} received={}", u8::from(session.is_tls), session.sent, session.received);
    if session.status != 0 {
        text += &format!(" status={}", session.status);
    }
    if let Some(request) = &session.request {
        let shown: String = request.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        text += &format!(" request=\"{}\"", shown.replace('"', "'"));
    }
    text + "\n"
}

fn seconds(micros: u64) -> String {
    format!("{}.{}s", micros / 1_000_000, micros / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_waited_for_since_when_and_until_when() {
        let session = Session {
            token: 0x20,
            client: Some(([10, 0, 0, 1].into(), 4711)),
            listener: 3,
            is_tls: true,
            request: Some("GET /\x1b\"x".into()),
            pool: Some("web".into()),
            server: None,
            status: 0,
            waits: "queue",
            since: 1_000_000,
            until: Some(6_500_000),
            began: Some(500_000),
            sent: 1,
            received: 2,
        };
        assert_eq!(
            line(&session, 1, &[(3, "https".into())], 3_000_000),
            "0x10000000000000020: proto=tcpv4 src=10.0.0.1:4711 fe=https be=web srv=<none> age=2.5s waits=queue \
             since=2.0s exp=3.5s tls=1 sent=1 received=2 request=\"GET /?'x\"\n"
        );
    }
}
