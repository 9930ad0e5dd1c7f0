//! What is taken although it is wrong, and what is refused because it is not safe.

use crate::page;
use crate::talk::{Door, Talk};

struct Row {
    what: &'static str,
    says: &'static [u8],
    codes: &'static str,
    understood: &'static str,
}

const fn row(what: &'static str, says: &'static [u8], codes: &'static str, understood: &'static str) -> Row {
    Row { what, says, codes, understood }
}

/// Wrong, and without danger: it can be read in one way only.
const TAKEN: &[Row] = &[
    row("a space behind the colon", b"MAIL FROM: <a@b.example>\r\n", "250 2.1.0", "from a@b.example"),
    row("the same, with parameters", b"MAIL FROM: <a@b.example> SIZE=100\r\n", "250 2.1.0", "from a@b.example"),
    row("a space before the colon", b"MAIL FROM :<a@b.example>\r\n", "250 2.1.0", "from a@b.example"),
    row("tabs for spaces", b"MAIL\tFROM:<a@b.example>\tSIZE=100\r\n", "250 2.1.0", "from a@b.example"),
    row("several spaces", b"MAIL  FROM:<a@b.example>  SIZE=100   BODY=7BIT\r\n", "250 2.1.0", "from a@b.example"),
    row("spaces at the end of a line", b"MAIL FROM:<a@b.example>  \r\n", "250 2.1.0", "from a@b.example"),
    row("spaces within the angle brackets", b"MAIL FROM:< a@b.example >\r\n", "250 2.1.0", "from a@b.example"),
    row("no angle brackets", b"MAIL FROM:a@b.example\r\n", "250 2.1.0", "from a@b.example"),
    row("the same, with parameters", b"MAIL FROM: a@b.example SIZE=100\r\n", "250 2.1.0", "from a@b.example"),
    row("lower case", b"mail from:<a@b.example> body=8bitmime\r\n", "250 2.1.0", "from a@b.example"),
    row("a dot at the end of a domain", b"MAIL FROM:<a@b.example.>\r\n", "250 2.1.0", "from a@b.example"),
    row("an underscore in a domain", b"MAIL FROM:<a@my_host.example>\r\n", "250 2.1.0", "from a@my_host.example"),
    row("a domain of one label", b"MAIL FROM:<root@localhost>\r\n", "250 2.1.0", "from root@localhost"),
    row(
        "dots in odd places of a local part",
        b"MAIL FROM:<.a..b.@c.example>\r\n",
        "250 2.1.0",
        "from .a..b.@c.example",
    ),
    row(
        "a domain in UTF-8 without SMTPUTF8",
        b"MAIL FROM:<a@b\xc3\xbccher.example>\r\n",
        "250 2.1.0",
        "from a@xn--bcher-kva.example",
    ),
    row(
        "a recipient given twice",
        b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<c@D.example>\r\n",
        "250 2.1.0, 250 2.1.5 (2)",
        "from <>, to c@d.example",
    ),
    row("EHLO with an underscore", b"EHLO my_host\r\n", "250", "my_host"),
    row("EHLO with an address without brackets", b"EHLO 192.0.2.1\r\n", "250", "192.0.2.1"),
    row("EHLO with more than a name", b"EHLO my host\r\n", "250", "my"),
    row("EHLO with a name in an old code page", b"EHLO B\xdcRO-PC\r\n", "250", "B\u{fffd}RO-PC"),
    row("EHLO or HELO without a name", b"HELO\r\n", "250", "unknown"),
    row(
        "HELO, and then extensions",
        b"HELO me\r\nMAIL FROM:<> BODY=8BITMIME SIZE=100\r\n",
        "250, 250 2.1.0",
        "from <>, me",
    ),
    row(
        "8 bit without BODY=8BITMIME",
        b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n\xc3\xbc\r\n.\r\n",
        "250 2.1.0, 250 2.1.5, 354, 250 2.0.0",
        "from <>, to c@d.example, as me.example with ESMTP, 8bit \"\u{fc}\\r\\n\"",
    ),
    row(
        "BDAT whose last line has no CRLF",
        b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 1 LAST\r\na",
        "250 2.1.0, 250 2.1.5, 250 2.0.0",
        "from <>, to c@d.example, as me.example with ESMTP, 7bit \"a\\r\\n\"",
    ),
    row("AUTH LOGIN with an initial response", b"AUTH LOGIN dQ==\r\nc2VjcmV0\r\n", "334, 235 2.7.0", "user u"),
    row("base64 without its padding", b"AUTH PLAIN dQB1AHNlY3JldA\r\n", "235 2.7.0", "user u"),
    row("SCRAM on behalf of an empty name", b"AUTH SCRAM-SHA-256 bixhPSxuPXUscj1hYmM=\r\n", "334", ""),
    row("AUTH behind HELO", b"HELO me\r\nAUTH PLAIN AHUAc2VjcmV0\r\n", "250, 235 2.7.0", "user u, me"),
    row(
        "arguments of NOOP, HELP and QUIT",
        b"NOOP a b\r\nHELP MAIL\r\nQUIT now\r\n",
        "250 2.0.0, 214 2.0.0, 221 2.0.0",
        "",
    ),
];

/// Not safe: it could be read in two ways, here or at a later hop.
const REFUSED: &[Row] = &[
    row("a line that ends in LF", b"NOOP\nNOOP\r\n", "500 5.5.2", ""),
    row("a line with a CR in it", b"NOOP\rMAIL FROM:<>\r\n", "500 5.5.2", ""),
    row("CR CR LF", b"NOOP\r\r\n", "500 5.5.2", ""),
    row("NUL and other control characters", b"MAIL FROM:<a\x00@b.example>\r\n", "500 5.5.2", ""),
    row("the same, quoted", b"MAIL FROM:<\"a\x07\"@b.example>\r\n", "500 5.5.2", ""),
    row("control characters of UTF-8", b"MAIL FROM:<a\xc2\x85@b.example> SMTPUTF8\r\n", "500 5.5.2", ""),
    row("what is no UTF-8, in an address", b"MAIL FROM:<a\xfc@b.example>\r\n", "500 5.5.2", ""),
    row("a tab in a local part", b"MAIL FROM:<\"a\tb\"@c.example>\r\n", "501 5.1.7", ""),
    row("a line beyond 4096 octets", LONG, "500 5.5.2, 250 2.0.0", ""),
    row(
        "one angle bracket of two",
        b"MAIL FROM:<a@b.example\r\nMAIL FROM:a@b.example>\r\n",
        "501 5.5.4, 501 5.1.7",
        "",
    ),
    row("two paths", b"MAIL FROM:<a@b.example><c@d.example>\r\n", "501 5.5.4", ""),
    row("the same, with a space", b"MAIL FROM:<a@b.example> <c@d.example>\r\n", "555 5.5.4", ""),
    row("a name beside the address", b"MAIL FROM:\"A B\" <a@b.example>\r\n", "555 5.5.4", ""),
    row("no colon", b"MAIL FROM <a@b.example>\r\n", "501 5.5.4", ""),
    row("no domain", b"MAIL FROM:<root>\r\n", "501 5.1.7", ""),
    row(
        "two @ without quotes",
        b"MAIL FROM:<>\r\nRCPT TO:<a@evil.example@d.example>\r\n",
        "250 2.1.0, 501 5.1.3",
        "from <>",
    ),
    row("a source route that is none", b"MAIL FROM:<@x y:a@b.example>\r\n", "501 5.5.4", ""),
    row("a route within a route", b"MAIL FROM:<@x.example:@y.example:a@b.example>\r\n", "501 5.1.7", ""),
    row(
        "several recipients in one RCPT",
        b"MAIL FROM:<>\r\nRCPT TO:<a@b.example,c@d.example>\r\n",
        "250 2.1.0, 501 5.1.3",
        "from <>",
    ),
    row("header fields in ENVID", b"MAIL FROM:<> ENVID=x+0D+0ABcc:+20c@d.example\r\n", "501 5.5.4", ""),
    row(
        "header fields in ORCPT",
        b"MAIL FROM:<>\r\nRCPT TO:<c@d.example> ORCPT=rfc822;c@d.example+0D+0ATo:+20x\r\n",
        "250 2.1.0, 501 5.5.4",
        "from <>",
    ),
    row("header fields in AUTH=", b"MAIL FROM:<> AUTH=a@b.example+0AX:y\r\n", "501 5.5.4", ""),
    row("8 bit in xtext", b"MAIL FROM:<> ENVID=+C3+BC\r\n", "501 5.5.4", ""),
    row("a parameter given twice", b"MAIL FROM:<> SIZE=1 SIZE=2\r\n", "501 5.5.4", ""),
    row("a parameter that is not known", b"MAIL FROM:<> XYZZY=1\r\n", "555 5.5.4", ""),
    row("a control character in a user's name", b"AUTH PLAIN AHUKeABzZWNyZXQ=\r\n", "501 5.5.2", ""),
    row("to act for another user", b"AUTH PLAIN dgB1AHNlY3JldA==\r\n", "535 5.7.8", ""),
    row("DATA, RSET or STARTTLS with an argument", b"DATA x\r\nRSET x\r\nSTARTTLS x\r\n", "501 5.5.4 (3)", ""),
    row("BDAT whose size cannot be read: closed", b"BDAT x\r\nMAIL FROM:<>\r\n", "501 5.5.4", ""),
    row("HTTP: closed", b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<>\r\n", "421 4.7.0", ""),
    row(
        "commands in clear behind STARTTLS: dropped",
        b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<c@d.example>\r\n",
        "220 2.0.0",
        "",
    ),
];

const LONG: &[u8] = &{
    let mut line = [b'x'; 5000];
    let (start, end) = (*b"NOOP ", *b"\r\nNOOP\r\n");
    let mut at = 0;
    while at < start.len() {
        line[at] = start[at];
        at += 1;
    }
    at = 0;
    while at < end.len() {
        line[5000 - end.len() + at] = end[at];
        at += 1;
    }
    line
};

fn hears(row: &Row, packet: usize) -> (String, String) {
    let mut talk = Talk::new(Door::Local);
    let greets = row.says.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"EHLO") || verb == b"HELO");
    if !greets {
        talk.say(b"EHLO me.example\r\n", packet);
    }
    let before = talk.heard.len();
    talk.say(row.says, packet);
    let codes = talk.codes(before);
    // How it was greeted shows in what follows.
    let content = talk.understood.iter().any(|what| what.starts_with("as "));
    if greets && !talk.ended && !content {
        talk.say(b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", packet);
        let name = talk.understood.pop().unwrap();
        talk.understood.truncate(talk.understood.len() - 2);
        talk.understood.push(name.split(' ').nth(1).unwrap().to_owned());
    }
    (codes, talk.understood.join(", "))
}

fn holds(rows: &[Row]) {
    for row in rows {
        for packet in [usize::MAX, 1] {
            let (codes, understood) = hears(row, packet);
            assert_eq!((codes.as_str(), understood.as_str()), (row.codes, row.understood), "{}", row.what);
        }
    }
}

fn table(rows: &[Row], head: &str) -> String {
    let mut table = format!("{head}\n|---|---|---|\n");
    for row in rows {
        let said = if row.says.len() > 200 { "`NOOP xxx…\\r\\n`".to_owned() } else { page::cell(row.says) };
        table.push_str(&format!("| {} | {said} | {} |\n", row.what, row.codes));
    }
    table
}

#[test]
fn what_clients_get_wrong_is_taken_where_it_is_safe() {
    holds(TAKEN);
    page::shows("docs/smtp.md", "taken", &table(TAKEN, "| wrong | for example | reply |"));
}

#[test]
fn what_is_not_safe_is_refused() {
    holds(REFUSED);
    page::shows("docs/smtp.md", "refused", &table(REFUSED, "| not safe | for example | reply |"));
}
