//! Tests of the test support: an origin and a client that disagree would make every other test worthless.

use crate::support::*;

#[test]
fn the_little_origin_and_the_client_agree_on_every_framing() {
    let origin = bodies(Uploads::default());
    for framing in ["length", "chunked", "close"] {
        let answer = get(&origin.address, &format!("/{framing}/300000/7"));
        assert_eq!(hash_of(&answer.body), content_hash(7, 300_000));
    }
}

#[test]
fn a_refusing_address_refuses_and_a_full_listener_never_answers() {
    let refusing = RefusingAddress::new();
    let error = Client::try_connect(&refusing.address, None).err().expect("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);

    let full = FullListener::new();
    let address: std::net::SocketAddr = full.address.parse().unwrap();
    let error = std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300));
    assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn a_dropped_origin_refuses_and_can_come_back_at_its_address() {
    let address = format!("127.0.0.1:{}", free_port());
    let origin = Origin::named_at(&address, "first");
    assert_eq!(get(&address, "/").text(), "first");
    drop(origin);
    assert!(Client::try_connect(&address, None).is_err(), "it is gone at once");
    let again = Origin::named_at(&address, "second");
    assert_eq!(get(&again.address, "/").text(), "second");
}
