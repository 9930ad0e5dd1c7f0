//! SCRAM against a client that is written for the test, and against the example of RFC 7677.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;
use crate::config::ScramVerifier;
use crate::smtp::scram;

const SALT: &[u8] = b"0123456789abcdef";

/// Of the password `pencil`.
pub(super) fn verifier() -> Arc<ScramVerifier> {
    let iterations = 4096.try_into().unwrap();
    let keys = scram::keys("pencil", SALT, iterations);
    Arc::new(ScramVerifier { iterations, salt: SALT.to_vec(), stored_key: keys.stored, server_key: keys.server })
}

/// What the client's second message is, and what the server must say then.
struct Answers {
    proof: String,
    signature: String,
}

/// The client's side (RFC 5802, 3); `channel` is what `c=` holds.
fn client(password: &str, first_bare: &str, server_first: &str, channel: &[u8]) -> Answers {
    let value = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let salt = BASE64.decode(value("s=")).unwrap();
    let mut salted = [0; 32];
    let iterations = value("i=").parse::<u32>().unwrap().try_into().unwrap();
    let algorithm = aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
    aws_lc_rs::pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted);
    let without = format!("c={},r={}", BASE64.encode(channel), value("r="));
    let message = format!("{first_bare},{server_first},{without}");
    let key = scram::mac(&salted, b"Client Key");
    let stored: [u8; 32] = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key).as_ref().try_into().unwrap();
    let signature = scram::mac(&stored, message.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(one, other)| one ^ other).collect();
    let server = scram::mac(&scram::mac(&salted, b"Server Key"), message.as_bytes());
    Answers {
        proof: format!("{without},p={}", BASE64.encode(proof)),
        signature: format!("v={}", BASE64.encode(server)),
    }
}

#[test]
fn the_example_of_rfc_7677() {
    let first = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let answers = client("pencil", first, server, b"n,,");
    assert!(answers.proof.ends_with(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{}", answers.proof);
    assert_eq!(answers.signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    let keys = scram::keys("pencil", &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096.try_into().unwrap());
    let (without, proof) = answers.proof.rsplit_once(",p=").unwrap();
    let message = format!("{first},{server},{without}");
    let proof: [u8; 32] = BASE64.decode(proof).unwrap().try_into().unwrap();
    assert!(scram::proves(&keys.stored, message.as_bytes(), &proof));
    assert!(!scram::proves(&keys.server, message.as_bytes(), &proof));
    assert_eq!(answers.signature, format!("v={}", BASE64.encode(scram::signature(&keys.server, message.as_bytes()))));
}

const EXPORTER: [u8; 32] = [7; 32];

fn scram_talk(exporter: Option<[u8; 32]>) -> Talk {
    let mut talk = Talk::new(Settings { scram: true, ..settings() }, LOCAL);
    talk.session.secured(Secured { exporter, user: None });
    assert_eq!(talk.codes("EHLO me\r\n"), "250");
    talk
}

fn last(talk: &Talk) -> String {
    let reply = talk.seen.replies.last().unwrap();
    String::from_utf8(BASE64.decode(reply.strip_prefix("334 ").unwrap()).unwrap()).unwrap()
}

/// An exchange with a first message of this GS2 header; the codes of all replies.
fn exchange(talk: &mut Talk, mechanism: &str, gs2: &str, user: &str, password: &str, channel: &[u8]) -> String {
    let bare = format!("n={user},r=CLIENT");
    let mut codes = talk.codes(&format!("AUTH {mechanism} {}\r\n", BASE64.encode(format!("{gs2}{bare}"))));
    if !codes.starts_with("334") {
        return codes;
    }
    let server = last(talk);
    assert!(server.starts_with("r=CLIENTSERVER,s="), "{server}");
    let answers = client(password, &bare, &server, &[gs2.as_bytes(), channel].concat());
    codes = format!("{codes}, {}", talk.codes(&format!("{}\r\n", BASE64.encode(answers.proof))));
    if codes.ends_with("334") {
        assert_eq!(last(talk), answers.signature);
        assert_eq!(talk.session.user(), None, "not before the client has seen the server's signature");
        codes = format!("{codes}, {}", talk.codes("\r\n"));
    }
    codes
}

#[test]
fn who_knows_the_password_gets_in() {
    const GOOD: &str = "334, 334, 235 2.7.0";
    const BAD: &str = "334, 535 5.7.8";
    const NO: &str = "535 5.7.8";
    let tls = Some(EXPORTER);
    for (exporter, mechanism, gs2, user, password, channel, codes) in [
        (None, "SCRAM-SHA-256", "n,,", "u", "pencil", &b""[..], GOOD),
        (None, "SCRAM-SHA-256", "n,a=u,", "u", "pencil", b"", GOOD),
        (None, "SCRAM-SHA-256", "n,a=,", "u", "pencil", b"", GOOD),
        (None, "SCRAM-SHA-256", "n,a=v,", "u", "pencil", b"", NO),
        (None, "SCRAM-SHA-256", "n,,", "u", "pen", b"", BAD),
        (None, "SCRAM-SHA-256", "n,,", "u=2Cv=3Dw", "pencil", b"", GOOD),
        (None, "SCRAM-SHA-256", "n,,", "u=2c", "pencil", b"", "501 5.5.2"),
        (None, "SCRAM-SHA-256", "n,,", "", "pencil", b"", "501 5.5.2"),
        (None, "SCRAM-SHA-256", "n,,", "throttled", "pencil", b"", "454 4.7.0"),
        // A client that could bind the channel: fine where the server cannot, an attack where it can.
        (None, "SCRAM-SHA-256", "y,,", "u", "pencil", b"", GOOD),
        (tls, "SCRAM-SHA-256", "y,,", "u", "pencil", b"", NO),
        (tls, "SCRAM-SHA-256", "n,,", "u", "pencil", b"", GOOD),
        (tls, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "u", "pencil", &EXPORTER, GOOD),
        (tls, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "u", "pencil", &[8; 32], BAD),
        (tls, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "u", "pencil", b"", BAD),
        (tls, "SCRAM-SHA-256-PLUS", "p=tls-unique,,", "u", "pencil", &EXPORTER, NO),
        (tls, "SCRAM-SHA-256-PLUS", "n,,", "u", "pencil", b"", NO),
        (tls, "SCRAM-SHA-256", "p=tls-exporter,,", "u", "pencil", &EXPORTER, NO),
        (None, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "u", "pencil", &EXPORTER, "504 5.5.4"),
        (None, "SCRAM-SHA-256", "x,,", "u", "pencil", b"", "501 5.5.2"),
    ] {
        let mut talk = scram_talk(exporter);
        assert_eq!(exchange(&mut talk, mechanism, gs2, user, password, channel), codes, "{mechanism} {gs2} {user}");
        let name = codes.ends_with("235 2.7.0").then(|| user.replace("=2C", ",").replace("=3D", "="));
        assert_eq!(talk.seen.user, name);
    }
}

#[test]
fn what_is_no_exchange_ends_it() {
    let first = format!("AUTH SCRAM-SHA-256 {}\r\n", BASE64.encode("n,,n=u,r=CLIENT"));
    let second = |text: &str| format!("{first}{}\r\n", BASE64.encode(text));
    let proof = BASE64.encode([1; 32]);
    for (said, codes) in [
        ("AUTH SCRAM-SHA-256\r\n*\r\nNOOP\r\n".to_owned(), "334, 501 5.7.0, 250 2.0.0"),
        (format!("{first}*\r\nNOOP\r\n"), "334, 501 5.7.0, 250 2.0.0"),
        (second("c=biws,r=CLIENTSERVER"), "334, 501 5.5.2"),
        (second(&format!("c=biws,r=CLIENTSERVER,p={}", BASE64.encode([1; 31]))), "334, 501 5.5.2"),
        (second(&format!("c=biws,r=CLIENTSERVER,p={proof}")), "334, 535 5.7.8"),
        (second(&format!("c=biws,r=CLIENT,p={proof}")), "334, 535 5.7.8"),
        (second(&format!("r=CLIENTSERVER,c=biws,p={proof}")), "334, 501 5.5.2"),
        (format!("AUTH SCRAM-SHA-256 {}\r\n", BASE64.encode("n,,m=x,n=u,r=CLIENT")), "501 5.5.2"),
        (format!("AUTH SCRAM-SHA-256 {}\r\n", BASE64.encode("n,,n=u,r=")), "501 5.5.2"),
        (format!("AUTH SCRAM-SHA-256 {}\r\n", BASE64.encode("n")), "501 5.5.2"),
        ("AUTH SCRAM-SHA-1\r\n".to_owned(), "504 5.5.4"),
    ] {
        let mut talk = scram_talk(None);
        assert_eq!(talk.codes(&said), codes, "{said:?}");
        assert_eq!(talk.seen.user, None);
    }
    // The server's signature is not the client's login: it may still say no.
    let mut talk = scram_talk(None);
    let bare = "n=u,r=CLIENT";
    talk.codes(&first);
    let answers = client("pencil", bare, &last(&talk), b"n,,");
    assert_eq!(talk.codes(&format!("{}\r\n*\r\n", BASE64.encode(answers.proof))), "334, 501 5.7.0");
    assert_eq!(talk.seen.user, None);
}

#[test]
fn it_is_offered_where_it_can_be_served() {
    for (scram, exporter, mechanisms) in [
        (false, Some(EXPORTER), "AUTH PLAIN LOGIN\""),
        (true, None, "AUTH PLAIN LOGIN SCRAM-SHA-256\""),
        (true, Some(EXPORTER), "AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\""),
    ] {
        let mut talk = Talk::new(Settings { scram, ..settings() }, LOCAL);
        talk.session.secured(Secured { exporter, user: None });
        let mut out = Vec::new();
        talk.session.step(Input::Octets(&mut BytesMut::from("EHLO me\r\n")), &mut out);
        let said = format!("{out:?}");
        assert!(said.contains(mechanisms), "{said}");
    }
}

#[test]
fn a_certificate_signs_in_and_a_password_after_it() {
    let peer = Peer { must_authenticate: true, tls: true, loopback: false };
    let mut talk = Talk::new(settings(), peer);
    talk.session.secured(Secured { exporter: None, user: Some("cert".into()) });
    assert_eq!(talk.codes("EHLO me\r\nMAIL FROM:<>\r\nRSET\r\n"), "250, 250 2.1.0, 250 2.0.0");
    assert_eq!(talk.session.user(), Some("cert"));
    let login = "AUTH PLAIN AHUAc2VjcmV0\r\n";
    assert_eq!(talk.codes(&format!("{login}{login}")), "235 2.7.0, 503 5.5.1");
    assert_eq!(talk.session.user(), Some("u"));
    // A handshake later, what was learnt before it is forgotten.
    let mut talk = Talk::new(settings(), LOCAL);
    talk.session.secured(Secured { exporter: None, user: Some("cert".into()) });
    talk.codes("EHLO me\r\nSTARTTLS\r\n");
    assert_eq!(talk.session.user(), None);
}
