use super::*;

/// Asserts that all of the bytes are a preamble, that a part of them is not enough, and that what
/// follows does not belong to it.
fn assert_preamble(client: &[u8], server: &[u8]) -> Found {
    let Verdict::Preamble { found, client: of_client, server: of_server } = judge(client, server)
    else {
        panic!("{:?} {client:?}", judge(client, server))
    };
    assert_eq!((of_client, of_server), (client.len(), server.len()));
    for cut in 1..client.len() {
        assert_eq!(judge(&client[..cut], b""), Verdict::Unsure, "{cut}");
        assert_ne!(judge(&client[..cut], server), judge(client, server), "{cut}");
    }
    for cut in 0..server.len() {
        assert_eq!(judge(client, &server[..cut]), Verdict::Unsure, "{cut}");
    }
    let (more, back) = ([client, b"GET /"].concat(), [server, b"HTTP"].concat());
    let back = if server.is_empty() { server } else { &back };
    assert_eq!(judge(&more, back), judge(client, server));
    found
}

fn proxied(client: &[u8]) -> (u8, Option<String>, Option<String>) {
    let Found::Proxied(proxied) = assert_preamble(client, b"") else { panic!("no proxy") };
    let text = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    (proxied.version, text(proxied.client), text(proxied.server))
}

fn tunnel(client: &[u8], server: &[u8]) -> (&'static str, String) {
    let Found::Tunnel(tunnel) = assert_preamble(client, server) else { panic!("no tunnel") };
    (tunnel.protocol, String::from_utf8(tunnel.target).unwrap())
}

#[test]
fn proxy_headers_name_both_ends() {
    let some = |text: &str| Some(text.to_owned());
    for (header, expected) in [
        (
            &b"PROXY TCP4 1.2.3.4 5.6.7.8 9 65535\r\n"[..],
            (1, some("1.2.3.4:9"), some("5.6.7.8:65535")),
        ),
        (b"PROXY TCP6 ::1 ::2 9 10\r\n", (1, some("[::1]:9"), some("[::2]:10"))),
        (b"PROXY UNKNOWN\r\n", (1, None, None)),
        (b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 9 10\r\n", (1, None, None)),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a",
            (2, some("1.2.3.4:9"), some("5.6.7.8:10")),
        ),
        // LOCAL, and with an extension.
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0", (2, None, None)),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0axyz",
            (2, None, None),
        ),
        // Too short for its addresses; a UNIX socket.
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab", (2, None, None)),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\x02ab", (2, None, None)),
    ] {
        assert_eq!(proxied(header), expected, "{}", header.escape_ascii());
    }
    let six = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..],
        &[0; 15],
        &[1],
        &[0; 15],
        &[2],
        &[0, 9, 0, 10],
    ];
    assert_eq!(proxied(&six.concat()), (2, some("[::1]:9"), some("[::2]:10")));
}

#[test]
fn other_first_bytes_are_no_proxy_header() {
    for bytes in [
        &b"POST / HTTP/1.1\r\n"[..],
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9 70000\r\n",
        b"PROXY TCP4 ::1 ::2 9 10\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 9 10\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n",
        b"PROXY /a HTTP/1.1\r\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat(),
        b"",
        b"x",
    ] {
        assert_eq!(judge(bytes, b""), Verdict::Nothing, "{}", bytes.escape_ascii());
    }
    let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 91], b"\r\n"].concat();
    assert_eq!((longest.len(), proxied(&longest).0), (107, 1));
    assert_eq!(judge(b"PROXY UNKNOWN\r\n", b"HTTP"), Verdict::Nothing);
}

#[test]
fn granted_tunnels_of_socks_have_a_target() {
    for (client, server, expected) in [
        (
            &b"\x04\x01\0\x50\x01\x02\x03\x04\0"[..],
            &b"\0\x5a\0\0\0\0\0\0"[..],
            ("socks4", "1.2.3.4:80"),
        ),
        (b"\x04\x01\x01\xbb\x01\x02\x03\x04me\0", b"\0\x5a\0\0\0\0\0\0", ("socks4", "1.2.3.4:443")),
        (
            b"\x04\x01\0\x50\0\0\0\x01me\0h.example\0",
            b"\0\x5a\0\0\0\0\0\0",
            ("socks4", "h.example:80"),
        ),
        (
            b"\x05\x01\0\x05\x01\0\x03\x01h\0\x50",
            b"\x05\0\x05\0\0\x01\0\0\0\0\0\0",
            ("socks5", "h:80"),
        ),
        (
            b"\x05\x02\0\x02\x01\x01u\x02pw\x05\x01\0\x01\x01\x02\x03\x04\0\x50",
            b"\x05\x02\x01\0\x05\0\0\x03\x02ab\0\0",
            ("socks5", "1.2.3.4:80"),
        ),
        (
            b"\x05\x01\0\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50",
            b"\x05\0\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ("socks5", "[::1]:80"),
        ),
    ] {
        let (protocol, target) = tunnel(client, server);
        assert_eq!((protocol, &*target), expected);
    }
}

#[test]
fn what_is_refused_or_of_another_protocol_is_no_tunnel() {
    let long = [&b"\x04\x01\0\x50\x01\x02\x03\x04"[..], &[b'x'; 513]].concat();
    for (client, server) in [
        // Refused: by the request, the method, the password.
        (&b"\x04\x01\0\x50\x01\x02\x03\x04\0"[..], &b"\0\x5b\0\0\0\0\0\0"[..]),
        (b"\x05\x01\0\x05\x01\0\x03\x01h\0\x50", b"\x05\0\x05\x01\0\x01\0\0\0\0\0\0"),
        (b"\x05\x01\0", b"\x05\xff"),
        (b"\x05\x01\x02\x01\x01u\x01p", b"\x05\x02\x01\x01"),
        // Other commands, methods and versions.
        (b"\x04\x02\0\x50\x01\x02\x03\x04\0", b""),
        (b"\x05\x01\0\x05\x02\0\x03\x01h\0\x50", b"\x05\0"),
        (b"\x05\x01\0\x05\x01\0\x02\x01h\0\x50", b"\x05\0"),
        (b"\x05\x01\0", b"\x05\x02"),
        (b"\x05\x01\x01", b"\x05\x01"),
        (b"\x05\x01\0", b"\x04\0"),
        (b"\x05\x00", b""),
        (b"\x05\x01\x02\x02", b"\x05\x02"),
        (b"\x05\x01\0\x04\x01\0\x03\x01h", b"\x05\0"),
        (&long, b""),
    ] {
        assert_eq!(judge(client, server), Verdict::Nothing, "{client:?} {server:?}");
    }
    let fits = [&b"\x04\x01\0\x50\x01\x02\x03\x04"[..], &[b'x'; 512], b"\0"].concat();
    assert_eq!(judge(&fits, b""), Verdict::Unsure);
}
