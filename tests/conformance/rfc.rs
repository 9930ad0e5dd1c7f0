//! One row a rule: its section, who says what, and which replies that gets.

use crate::page;
use crate::talk::{Door, MOST_RECIPIENTS, Talk};

/// Section, door, what is said behind the greeting, the replies.
type Row = (&'static str, Door, &'static str, &'static str);

/// EHLO.
const E: &str = "EHLO me.example\r\n";

/// `^` at the start stands for EHLO and its reply; `@` behind it for MAIL and RCPT and theirs.
const ROWS: &[Row] = &[
    // Mail, in the order that it has.
    ("5321, 3.1", Door::Local, "", "220"),
    ("5321, 3.2", Door::Local, "HELO me.example\r\n", "220, 250"),
    ("5321, 3.3", Door::Local, "^@DATA\r\nA: b\r\n\r\nc\r\n.\r\n", "354, 250 2.0.0"),
    ("5321, 3.3", Door::Local, "^RCPT TO:<c@d.example>\r\nDATA\r\n", "503 5.5.1 (2)"),
    ("5321, 3.3", Door::Local, "^MAIL FROM:<a@b.example>\r\nDATA\r\n", "250 2.1.0, 503 5.5.1"),
    (
        "5321, 3.3",
        Door::Local,
        "^MAIL FROM:<a@b.example>\r\nRCPT TO:<nobody@d.example>\r\nDATA\r\n",
        "250 2.1.0, 550 5.1.1, 554 5.5.1",
    ),
    ("5321, 3.5.1", Door::Local, "^VRFY a\r\nVRFY\r\nEXPN list\r\n", "252 2.5.2, 501 5.5.4, 502 5.5.1"),
    ("5321, 3.8", Door::Local, "^QUIT\r\nNOOP\r\n", "221 2.0.0"),
    // Each command.
    ("5321, 4.1.1.1", Door::Local, "^@EHLO me.example\r\nRCPT TO:<c@d.example>\r\n", "250, 503 5.5.1"),
    ("5321, 4.1.1.2", Door::Local, "^MAIL FROM:<a@b.example>\r\nMAIL FROM:<a@b.example>\r\n", "250 2.1.0, 503 5.5.1"),
    (
        "5321, 4.1.1.3",
        Door::Local,
        "^MAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<Postmaster>\r\n",
        "250 2.1.0, 501 5.1.3, 250 2.1.5",
    ),
    ("5321, 4.1.1.4", Door::Local, "^@DATA\r\n.\r\nMAIL FROM:<>\r\n", "354, 250 2.0.0, 250 2.1.0"),
    ("5321, 4.1.1.4", Door::Local, "^@DATA x\r\n", "501 5.5.4"),
    ("5321, 4.1.1.5", Door::Local, "RSET\r\n", "220, 250 2.0.0"),
    ("5321, 4.1.1.5", Door::Local, "^@RSET\r\nDATA\r\n", "250 2.0.0, 503 5.5.1"),
    ("5321, 4.1.1.8", Door::Local, "HELP\r\nHELP MAIL\r\n", "220, 214 2.0.0 (2)"),
    ("5321, 4.1.1.9", Door::Local, "^@NOOP\r\nNOOP x\r\nDATA\r\n.\r\n", "250 2.0.0 (2), 354, 250 2.0.0"),
    (
        "5321, 4.1.1.11",
        Door::Local,
        "^MAIL FROM:<> X=Y\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example> X=Y\r\n",
        "555 5.5.4, 250 2.1.0, 555 5.5.4",
    ),
    (
        "5321, 4.1.2",
        Door::Local,
        "^MAIL FROM:<\"a b\"@c.example>\r\nRCPT TO:<\"a\\\"@>b\"@c.example>\r\n",
        "250 2.1.0, 250 2.1.5",
    ),
    (
        "5321, 4.1.3",
        Door::Local,
        "^MAIL FROM:<a@[192.0.2.1]>\r\nRCPT TO:<a@[IPv6:2001:db8::1]>\r\nRCPT TO:<a@[192.0.2]>\r\n",
        "250 2.1.0, 250 2.1.5, 501 5.1.3",
    ),
    (
        "5321, 4.1.4",
        Door::Local,
        "MAIL FROM:<>\r\nNOOP\r\nHELP\r\nVRFY x\r\nRSET\r\nQUIT\r\n",
        "220, 503 5.5.1, 250 2.0.0, 214 2.0.0, 252 2.5.2, 250 2.0.0, 221 2.0.0",
    ),
    // Replies, lines, sizes.
    ("5321, 2.3.8", Door::Local, "^NOOP\nNOOP\r\n", "500 5.5.2"),
    (
        "5321, 2.4",
        Door::Local,
        "^mAiL fRoM:<a@b.example>\r\nrcpt to:<c@d.example>\r\ndata\r\n.\r\n",
        "250 2.1.0, 250 2.1.5, 354, 250 2.0.0",
    ),
    ("5321, 4.2.4", Door::Local, "^XYZZY\r\nTURN\r\nSEND FROM:<>\r\n", "500 5.5.1, 502 5.5.1 (2)"),
    (
        "5321, 4.5.1",
        Door::Local,
        "^MAIL FROM:<>\r\nRCPT TO:<postmaster@relay.example>\r\nRCPT TO:<PostMaster>\r\n",
        "250 2.1.0, 250 2.1.5 (2)",
    ),
    ("5321, 4.5.2", Door::Local, "^@DATA\r\n..\r\n.x\r\n...\r\n.\r\n", "354, 250 2.0.0"),
    ("5321, 4.5.5", Door::Local, "^MAIL FROM:<>\r\n", "250 2.1.0"),
    (
        "5321, app. C",
        Door::Local,
        "^MAIL FROM:<@x.example,@y.example:a@b.example>\r\nRCPT TO:<@x.example:c@d.example>\r\n",
        "250 2.1.0, 250 2.1.5",
    ),
    // Submission.
    ("6409, 4.1", Door::Local, "^MAIL FROM:<a b@c.example>\r\nMAIL FROM:<a@-.example>\r\n", "501 5.1.7 (2)"),
    ("6409, 4.3", Door::Users, "^MAIL FROM:<a@b.example>\r\n", "530 5.7.0"),
    ("6409, 4.3", Door::Users, "^AUTH PLAIN AHUAc2VjcmV0\r\nMAIL FROM:<a@b.example>\r\n", "235 2.7.0, 250 2.1.0"),
    // SIZE.
    (
        "1870, 5",
        Door::Local,
        "^MAIL FROM:<> SIZE=5000\r\nRSET\r\nMAIL FROM:<> SIZE=\r\nMAIL FROM:<> SIZE=1x\r\n",
        "250 2.1.0, 250 2.0.0, 501 5.5.4 (2)",
    ),
    (
        "1870, 6.1",
        Door::Local,
        "^MAIL FROM:<> SIZE=5001\r\nMAIL FROM:<> SIZE=99999999999999999999\r\nMAIL FROM:<>\r\n",
        "552 5.3.4 (2), 250 2.1.0",
    ),
    // Pipelining.
    (
        "2920, 3.1",
        Door::Local,
        "^MAIL FROM:<>\r\nRCPT TO:<nobody@d.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.\r\nQUIT\r\n",
        "250 2.1.0, 550 5.1.1, 250 2.1.5, 354, 250 2.0.0, 221 2.0.0",
    ),
    (
        "2920, 3.1",
        Door::Local,
        "^MAIL FROM:<>\r\nRCPT TO:<nobody@d.example>\r\nDATA\r\nNOOP\r\n",
        "250 2.1.0, 550 5.1.1, 554 5.5.1, 250 2.0.0",
    ),
    (
        "2920, 3.2",
        Door::Local,
        "^RSET\r\nNOOP\r\nVRFY x\r\nEXPN x\r\nHELP\r\nMAIL FROM:<>\r\n",
        "250 2.0.0 (2), 252 2.5.2, 502 5.5.1, 214 2.0.0, 250 2.1.0",
    ),
    // Chunks.
    ("3030, 2", Door::Local, "^@BDAT 4\r\na\r\n.BDAT 2 LAST\r\n\r\nNOOP\r\n", "250 2.0.0 (3)"),
    ("3030, 2", Door::Local, "^@BDAT 0 LAST\r\nBDAT 0 LAST\r\n", "250 2.0.0, 503 5.5.1"),
    (
        "3030, 2",
        Door::Local,
        "^@BDAT 3\r\na\r\nDATA\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.example>\r\nBDAT 0 LAST\r\n",
        "250 2.0.0, 503 5.5.1 (3), 250 2.0.0",
    ),
    ("3030, 2", Door::Local, "^@BDAT 3\r\na\r\nRSET\r\nBDAT 0 LAST\r\n", "250 2.0.0 (2), 503 5.5.1"),
    ("3030, 2", Door::Local, "^BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", "503 5.5.1, 250 2.0.0"),
    ("3030, 3", Door::Local, "^MAIL FROM:<> BODY=BINARYMIME\r\n", "504 5.5.4"),
    // STARTTLS.
    ("3207, 4", Door::Network, "^STARTTLS x\r\n", "501 5.5.4"),
    ("3207, 4", Door::Bare, "^STARTTLS\r\n", "502 5.5.1"),
    ("3207, 4", Door::Tls, "^STARTTLS\r\n", "503 5.5.1"),
    ("3207, 4.2", Door::Network, "^STARTTLS\r\nEHLO evil\r\n", "220 2.0.0"),
    // DSN.
    (
        "3461, 4.1",
        Door::Local,
        "^MAIL FROM:<>\r\nRCPT TO:<a@d.example> NOTIFY=SUCCESS,FAILURE,DELAY\r\nRCPT TO:<b@d.example> NOTIFY=NEVER\r\n",
        "250 2.1.0, 250 2.1.5 (2)",
    ),
    (
        "3461, 4.1",
        Door::Local,
        "^MAIL FROM:<>\r\nRCPT TO:<a@d.example> NOTIFY=NEVER,FAILURE\r\nRCPT TO:<a@d.example> NOTIFY=SOMETIMES\r\nRCPT TO:<a@d.example> NOTIFY\r\n",
        "250 2.1.0, 501 5.5.4 (3)",
    ),
    (
        "3461, 4.2",
        Door::Local,
        "^MAIL FROM:<>\r\nRCPT TO:<a@d.example> ORCPT=rfc822;Bob+2Bx@d.example\r\nRCPT TO:<b@d.example> ORCPT=b@d.example\r\nRCPT TO:<b@d.example> ORCPT=rfc822;+2b\r\n",
        "250 2.1.0, 250 2.1.5, 501 5.5.4 (2)",
    ),
    (
        "3461, 4.3",
        Door::Local,
        "^MAIL FROM:<> RET=FULL RET=HDRS\r\nMAIL FROM:<> RET=ALL\r\nMAIL FROM:<> RET=hdrs\r\n",
        "501 5.5.4 (2), 250 2.1.0",
    ),
    (
        "3461, 4.4",
        Door::Local,
        "^MAIL FROM:<> ENVID=QQ314159+2B\r\nRSET\r\nMAIL FROM:<> ENVID=a=b\r\n",
        "250 2.1.0, 250 2.0.0, 501 5.5.4",
    ),
    // AUTH.
    ("4954, 4", Door::Tls, "^AUTH PLAIN AHUAc2VjcmV0\r\nAUTH PLAIN AHUAc2VjcmV0\r\n", "235 2.7.0, 503 5.5.1"),
    ("4954, 4", Door::Tls, "^AUTH PLAIN\r\nAHUAc2VjcmV0\r\n", "334, 235 2.7.0"),
    ("4954, 4", Door::Tls, "^AUTH LOGIN\r\ndQ==\r\nc2VjcmV0\r\n", "334 (2), 235 2.7.0"),
    // The example of RFC 7677, and the same with another proof.
    (
        "7677, 3",
        Door::Tls,
        "^AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n\
         Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==\r\n\r\n",
        "334 (2), 235 2.7.0",
    ),
    (
        "7677, 3",
        Door::Tls,
        "^AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n\
         Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1lSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==\r\n",
        "334, 535 5.7.8",
    ),
    ("5802, 7", Door::Tls, "^AUTH SCRAM-SHA-256 eA==\r\n", "501 5.5.2"),
    ("5802, 6", Door::Tls, "^AUTH SCRAM-SHA-256-PLUS biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n", "504 5.5.4"),
    ("4954, 4", Door::Tls, "^AUTH PLAIN\r\n*\r\nNOOP\r\n", "334, 501 5.7.0, 250 2.0.0"),
    (
        "4954, 4",
        Door::Tls,
        "^AUTH PLAIN ?\r\nAUTH PLAIN =\r\nAUTH XYZZY\r\nAUTH\r\n",
        "501 5.5.2 (2), 504 5.5.4, 501 5.5.4",
    ),
    ("4954, 4", Door::Tls, "^MAIL FROM:<>\r\nAUTH PLAIN AHUAc2VjcmV0\r\n", "250 2.1.0, 503 5.5.1"),
    ("4954, 4", Door::Tls, "AUTH PLAIN AHUAc2VjcmV0\r\n", "220, 503 5.5.1"),
    (
        "4954, 5",
        Door::Local,
        "^MAIL FROM:<> AUTH=<>\r\nRSET\r\nMAIL FROM:<> AUTH=e+3Dmc2@b.example\r\n",
        "250 2.1.0, 250 2.0.0, 250 2.1.0",
    ),
    ("4954, 6", Door::Tls, "^AUTH PLAIN AHUAd3Jvbmc=\r\n", "535 5.7.8"),
    ("4954, 6", Door::Network, "^AUTH PLAIN AHUAc2VjcmV0\r\n", "538 5.7.11"),
    ("4954, 3", Door::Bare, "^AUTH PLAIN AHUAc2VjcmV0\r\n", "502 5.5.1"),
    // 8 bit, and UTF-8.
    (
        "6152, 2",
        Door::Local,
        "^MAIL FROM:<> BODY=8BITMIME\r\nRSET\r\nMAIL FROM:<> BODY=7BIT\r\nRSET\r\nMAIL FROM:<> BODY=9BIT\r\n",
        "250 2.1.0, 250 2.0.0, 250 2.1.0, 250 2.0.0, 501 5.5.4",
    ),
    (
        "6531, 3.4",
        Door::Local,
        "^MAIL FROM:<ü@b.example> SMTPUTF8\r\nRCPT TO:<用户@例子.example>\r\n",
        "250 2.1.0, 250 2.1.5",
    ),
    ("6531, 3.4", Door::Local, "^MAIL FROM:<> SMTPUTF8=1\r\n", "501 5.5.4"),
    (
        "6531, 3.5",
        Door::Local,
        "^MAIL FROM:<ü@b.example>\r\nMAIL FROM:<>\r\nRCPT TO:<ü@b.example>\r\n",
        "553 5.6.7, 250 2.1.0, 553 5.6.7",
    ),
    ("6531, 3.7.4.2", Door::Local, "^VRFY ü SMTPUTF8\r\n", "252 2.5.2"),
];

fn hears(door: Door, says: &str, packet: usize) -> Talk {
    let mut talk = Talk::new(door);
    let mut says = says;
    if let Some(rest) = says.strip_prefix('^') {
        talk.say(E.as_bytes(), packet);
        says = rest;
    }
    if let Some(rest) = says.strip_prefix('@') {
        talk.say(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n", packet);
        says = rest;
    }
    talk.say(says.as_bytes(), packet);
    talk
}

#[test]
fn each_rule_gets_its_reply() {
    for (section, door, says, codes) in ROWS {
        let skip = if says.starts_with("^@") {
            4
        } else if says.starts_with('^') {
            2
        } else {
            0
        };
        for packet in [usize::MAX, 1, 7] {
            assert_eq!(hears(*door, says, packet).codes(skip), *codes, "RFC {section}: {says:?}");
        }
    }
    let all: String = ROWS.iter().map(|row| row.0).collect();
    for rfc in ["5321", "6409", "1870", "2920", "3030", "3207", "3461", "4954", "6152", "6531"] {
        assert!(all.contains(rfc), "no row of RFC {rfc}");
    }
    // RFC 2034 holds for every reply: `Talk::hear`. RFC 8314 is about what is offered: the next test.
}

fn offered(door: Door, before: &str) -> Vec<String> {
    let mut talk = Talk::new(door);
    talk.say(before.as_bytes(), usize::MAX).say(E.as_bytes(), usize::MAX);
    talk.heard.last().unwrap().lines.clone()
}

/// RFC 5321, 4.1.1.1; RFC 1870, section 3; RFC 3207, 4.2; RFC 4954, section 3; RFC 8314, 3.3.
#[test]
fn what_is_offered() {
    let always =
        ["relay.example", "PIPELINING", "SIZE 5000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"];
    for (door, before, further) in [
        (Door::Bare, "", &[][..]),
        (Door::Local, "", &["STARTTLS", "AUTH PLAIN LOGIN SCRAM-SHA-256"]),
        (Door::Network, "", &["STARTTLS"]),
        (Door::Network, "EHLO x\r\nSTARTTLS\r\n", &["AUTH PLAIN LOGIN SCRAM-SHA-256"]),
        (Door::Tls, "", &["AUTH PLAIN LOGIN SCRAM-SHA-256"]),
    ] {
        assert_eq!(offered(door, before), [&always[..], further].concat(), "{door:?}");
    }
    let list: String = always[1..].iter().map(|keyword| format!("`{keyword}`")).collect::<Vec<_>>().join(", ");
    page::shows("docs/smtp.md", "offered", &format!("{}.\n", list.replace("SIZE 5000", "SIZE")));
}

/// RFC 3207, 4.2: what was learnt in clear is forgotten.
#[test]
fn starttls_begins_anew() {
    let mut talk = Talk::new(Door::Network);
    talk.say(b"EHLO me.example\r\n", 99).say(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x.example>\r\n", 99);
    let first = talk.heard.len();
    talk.say(b"MAIL FROM:<a@b.example>\r\nEHLO me.example\r\nMAIL FROM:<a@b.example>\r\n", 99);
    assert_eq!(
        (talk.codes(first).as_str(), talk.understood.join(",").as_str()),
        ("503 5.5.1, 250, 250 2.1.0", "from a@b.example")
    );
}

/// RFC 5321, 4.5.3.1: the least that must be taken, and what is told beyond the most.
#[test]
fn sizes_and_counts() {
    let a = |n: usize| "a".repeat(n);
    let domain = format!("{}.{}.{}.{}.example", a(61), a(61), a(61), a(61));
    let rcpts = |n: usize| (0..n).map(|n| format!("RCPT TO:<c{n}@d.example>\r\n")).collect::<String>();
    for (section, says, codes) in [
        ("5321, 4.5.3.1.1", format!("^MAIL FROM:<{}@b.example>\r\n", a(64)), "250 2.1.0"),
        ("5321, 4.5.3.1.2", format!("^MAIL FROM:<a@{domain}>\r\nMAIL FROM:<a@{domain}.x>\r\n"), "250 2.1.0, 501 5.1.7"),
        ("5321, 4.5.3.1.4", format!("^NOOP {}\r\nNOOP {}\r\n", a(505), a(4089)), "250 2.0.0 (2)"),
        ("5321, 4.5.3.1.4", format!("^NOOP {}\r\nNOOP\r\n", a(4090)), "500 5.5.2, 250 2.0.0"),
        ("5321, 4.5.3.1.6", format!("^@DATA\r\n{}\r\n.\r\n", a(998)), "354, 250 2.0.0"),
        ("5321, 4.5.3.1.8", format!("^MAIL FROM:<>\r\n{}", rcpts(100)), "250 2.1.0, 250 2.1.5 (100)"),
        (
            "5321, 4.5.3.1.10",
            format!("^MAIL FROM:<>\r\n{}DATA\r\n.\r\n", rcpts(MOST_RECIPIENTS + 2)),
            "250 2.1.0, 250 2.1.5 (150), 452 4.5.3 (2), 354, 250 2.0.0",
        ),
        ("1870, 6.3", format!("^@DATA\r\n{}\r\n.\r\nMAIL FROM:<>\r\n", a(5_000)), "354, 552 5.3.4, 250 2.1.0"),
        ("1870, 6.3", format!("^@DATA\r\n{}\r\n.\r\n", a(4_998)), "354, 250 2.0.0"),
        (
            "3461, 4.4",
            format!("^MAIL FROM:<> ENVID={}\r\nRSET\r\nMAIL FROM:<> ENVID={}\r\n", a(100), a(101)),
            "250 2.1.0, 250 2.0.0, 501 5.5.4",
        ),
        (
            "3461, 4.2",
            format!("^MAIL FROM:<>\r\nRCPT TO:<a@d.example> ORCPT=rfc822;{}\r\n", a(493)),
            "250 2.1.0, 250 2.1.5",
        ),
        (
            "4954, 4",
            format!("^AUTH PLAIN\r\n{}\r\nAUTH PLAIN\r\n{}\r\n", a(12_284), a(12_287)),
            "334, 501 5.5.2, 334, 500 5.5.6",
        ),
    ] {
        let skip = if says.starts_with("^@") { 4 } else { 2 };
        for packet in [usize::MAX, 61] {
            assert_eq!(hears(Door::Local, &says, packet).codes(skip), codes, "RFC {section}");
        }
    }
}

/// What arrives, and how a Received field will name it: RFC 5321, 4.4 and 4.5.2; RFC 3848; RFC 6531, 3.7.3.
#[test]
fn content_and_protocol_are_understood() {
    for (door, says, understood) in [
        (Door::Local, "HELO x\r\n@DATA\r\n..a\r\n.\r\n", r#"as x with SMTP, 7bit ".a\r\n""#),
        (Door::Local, "EHLO x\r\n@BDAT 5 LAST\r\n..a\r\n", r#"as x with ESMTP, 7bit "..a\r\n""#),
        (Door::Tls, "EHLO x\r\n@DATA\r\nü\r\n.\r\n", r#"as x with ESMTPS, 8bit "ü\r\n""#),
        (Door::Users, "EHLO x\r\nAUTH PLAIN AHUAc2VjcmV0\r\n@DATA\r\n.\r\n", r#"as x with ESMTPSA, 7bit """#),
    ] {
        let mut talk = Talk::new(door);
        let says = says.replace('@', "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
        talk.say(says.as_bytes(), 5);
        let last = talk.understood.len() - 2;
        assert_eq!(talk.understood[last..].join(", "), understood);
    }
    let mut talk = Talk::new(Door::Tls);
    talk.say("EHLO x\r\nMAIL FROM:<ü@b.example> SMTPUTF8\r\nRCPT TO:<c@d.example>\r\nDATA\r\n".as_bytes(), 99);
    assert_eq!(talk.understood.last().unwrap(), "as x with UTF8SMTPS");
}
