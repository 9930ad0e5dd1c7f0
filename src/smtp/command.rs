//! Commands (RFC 5321, 4.1). The parser is strict where a command could be read in two ways, and tolerant where it
//! cannot: lower case, white space behind the colon or at the end, a mailbox without angle brackets, odd names in EHLO.

mod params;
mod path;

pub use params::{MailParams, RcptParams};

use std::borrow::Cow;

use crate::mail::{Address, AddressError};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Ehlo(String),
    Helo(String),
    /// LMTP's EHLO (RFC 2033, 4.1).
    Lhlo(String),
    Mail {
        /// `None` is the null reverse-path.
        reverse_path: Option<Address>,
        params: MailParams,
    },
    Rcpt {
        forward_path: ForwardPath,
        params: RcptParams,
    },
    Data,
    Bdat {
        size: u64,
        last: bool,
    },
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    StartTls,
    Auth {
        /// In capitals.
        mechanism: String,
        /// As it stands: base64, or `=` for an empty one (RFC 4954, section 4).
        initial: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    Mailbox(Address),
    /// `<Postmaster>` without a domain: this host's (RFC 5321, 4.5.1).
    Postmaster,
}

/// Why a line is no command that could be obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Unknown,
    /// Known, and not offered.
    NotOffered,
    /// The peer speaks HTTP: something was made to send a request here, and its body may hold commands.
    Foreign,
    /// Control characters, or no UTF-8.
    NotText,
    /// How it should have been.
    Arguments(&'static str),
    /// Where the content of a chunk ends cannot be known, so what follows cannot be told from commands.
    Chunk,
    Sender(AddressError),
    Recipient(AddressError),
    /// An address beyond ASCII without SMTPUTF8 (RFC 6531, 3.4).
    NeedsSmtpUtf8,
    UnknownParameter(String),
    Value(String),
    Twice(String),
    BinaryMime,
}

const MAIL: &str = "MAIL FROM:<address> [parameters]";
const RCPT: &str = "RCPT TO:<address> [parameters]";

/// Reads a command from a line without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command, Fault> {
    let text = match std::str::from_utf8(line) {
        Ok(text) => Cow::Borrowed(text),
        // Hosts' names in some old code page: they prove nothing, and are shown with the odd octets replaced.
        Err(_) if greets(line) => String::from_utf8_lossy(line),
        Err(_) => return Err(Fault::NotText),
    };
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(Fault::NotText);
    }
    // White space of mail is ASCII: all else is part of a name.
    let text = text.trim_ascii_end();
    let (verb, argument) =
        text.split_once([' ', '\t']).map_or((text, ""), |(verb, rest)| (verb, rest.trim_ascii_start()));
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => Ok(Command::Ehlo(name(argument))),
        "HELO" => Ok(Command::Helo(name(argument))),
        "LHLO" => Ok(Command::Lhlo(name(argument))),
        "MAIL" => mail(argument),
        "RCPT" => rcpt(argument),
        "DATA" => bare(argument, Command::Data, "DATA"),
        "BDAT" => bdat(argument),
        "RSET" => bare(argument, Command::Rset, "RSET"),
        // Both may have an argument that means nothing (RFC 5321, 4.1.1.8 and 4.1.1.9).
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" if argument.is_empty() => Err(Fault::Arguments("VRFY name")),
        "VRFY" => Ok(Command::Vrfy),
        // Whatever stands behind it, the client goes.
        "QUIT" => Ok(Command::Quit),
        "STARTTLS" => bare(argument, Command::StartTls, "STARTTLS"),
        "AUTH" => auth(argument),
        "EXPN" | "TURN" | "ETRN" | "SEND" | "SOML" | "SAML" => Err(Fault::NotOffered),
        "GET" | "POST" | "PUT" | "CONNECT" | "OPTIONS" | "HEAD" | "PATCH" | "DELETE" => Err(Fault::Foreign),
        _ => Err(Fault::Unknown),
    }
}

fn bare(argument: &str, command: Command, usage: &'static str) -> Result<Command, Fault> {
    if argument.is_empty() { Ok(command) } else { Err(Fault::Arguments(usage)) }
}

fn greets(line: &[u8]) -> bool {
    let verb = line.get(..5).unwrap_or_default();
    verb.eq_ignore_ascii_case(b"EHLO ") || verb.eq_ignore_ascii_case(b"HELO ")
}

/// A client's name for itself proves nothing and is never refused for its form (RFC 5321, 4.1.4); real ones have
/// underscores, no dots, are addresses without brackets, or are left out, which reads as `unknown`.
fn name(argument: &str) -> String {
    let name = argument.split_ascii_whitespace().next().unwrap_or("unknown");
    name.chars().take(255).collect()
}

fn mail(argument: &str) -> Result<Command, Fault> {
    let split = path::split(argument, "FROM", MAIL)?;
    let params = params::mail(split.rest)?;
    let reverse_path =
        if split.path.is_empty() { None } else { Some(path::mailbox(split.path).map_err(Fault::Sender)?) };
    // A domain beyond ASCII is kept as A-labels, which every hop can carry.
    if !params.smtputf8 && reverse_path.as_ref().is_some_and(Address::needs_smtputf8) {
        return Err(Fault::NeedsSmtpUtf8);
    }
    Ok(Command::Mail { reverse_path, params })
}

fn rcpt(argument: &str) -> Result<Command, Fault> {
    let split = path::split(argument, "TO", RCPT)?;
    let params = params::rcpt(split.rest)?;
    let forward_path = if split.path.eq_ignore_ascii_case("postmaster") {
        ForwardPath::Postmaster
    } else {
        ForwardPath::Mailbox(path::mailbox(split.path).map_err(Fault::Recipient)?)
    };
    Ok(Command::Rcpt { forward_path, params })
}

fn bdat(argument: &str) -> Result<Command, Fault> {
    let mut words = argument.split_ascii_whitespace();
    let size = words.next().filter(|word| word.bytes().all(|b| b.is_ascii_digit())).ok_or(Fault::Chunk)?;
    let size = size.parse().map_err(|_| Fault::Chunk)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(Fault::Chunk),
    };
    if words.next().is_some() { Err(Fault::Chunk) } else { Ok(Command::Bdat { size, last }) }
}

fn auth(argument: &str) -> Result<Command, Fault> {
    let mut words = argument.split_ascii_whitespace();
    let (mechanism, initial) = (words.next(), words.next());
    match (mechanism, words.next()) {
        (Some(mechanism), None) => {
            Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial: initial.map(str::to_owned) })
        }
        _ => Err(Fault::Arguments("AUTH mechanism [initial-response]")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sender(line: &str) -> Result<String, Fault> {
        match parse(line.as_bytes())? {
            Command::Mail { reverse_path, .. } => Ok(reverse_path.map_or("<>".into(), |a| a.to_string())),
            other => panic!("{other:?}"),
        }
    }

    fn recipient(line: &str) -> Result<String, Fault> {
        match parse(line.as_bytes())? {
            Command::Rcpt { forward_path: ForwardPath::Mailbox(address), .. } => Ok(address.to_string()),
            Command::Rcpt { forward_path: ForwardPath::Postmaster, .. } => Ok("postmaster".into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_that_can_be_read_in_one_way_are_read() {
        for (line, path) in [
            ("MAIL FROM:<a@b.example>", "a@b.example"),
            ("mail from:<a@b.example>", "a@b.example"),
            ("MAIL FROM: <a@b.example>  ", "a@b.example"),
            ("MAIL FROM :<a@b.example>", "a@b.example"),
            ("MAIL\tFROM:<a@b.example>", "a@b.example"),
            ("MAIL FROM:< a@b.example >", "a@b.example"),
            ("MAIL FROM:a@b.example", "a@b.example"),
            ("MAIL FROM:a@b.example SIZE=3", "a@b.example"),
            ("MAIL FROM:<>", "<>"),
            ("MAIL FROM: <> BODY=7BIT", "<>"),
            ("MAIL FROM:<@x.example,@y.example:a@b.example>", "a@b.example"),
            ("MAIL FROM:<@[IPv6:::1]:a@b.example>", "a@b.example"),
            ("MAIL FROM:<@x.example, @y.example:a@b.example>", "a@b.example"),
            ("MAIL FROM:<\"a b>c\"@b.example> SIZE=3", "\"a b>c\"@b.example"),
            ("MAIL FROM:<\"a\\\">\"@b.example>", "\"a\\\">\"@b.example"),
            ("MAIL FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("MAIL FROM:<ü@b.example> SMTPUTF8", "ü@b.example"),
            ("MAIL FROM:<\u{a0}ü@b.example> SMTPUTF8", "\u{a0}ü@b.example"),
            ("MAIL FROM:<a@bücher.example> SMTPUTF8", "a@xn--bcher-kva.example"),
            ("MAIL FROM:<a@bücher.example>", "a@xn--bcher-kva.example"),
        ] {
            assert_eq!(sender(line).as_deref(), Ok(path), "{line}");
        }
        for (line, path) in [
            ("RCPT TO:<a@b.example>", "a@b.example"),
            ("rcpt to: a@b.example", "a@b.example"),
            ("RCPT TO:<Postmaster>", "postmaster"),
            ("RCPT TO:<postmaster> NOTIFY=NEVER", "postmaster"),
            ("RCPT TO:<Postmaster@B.example>", "Postmaster@b.example"),
        ] {
            assert_eq!(recipient(line).as_deref(), Ok(path), "{line}");
        }
    }

    #[test]
    fn paths_that_cannot_are_refused() {
        for line in [
            "MAIL",
            "MAIL FROM",
            "MAIL FROM:",
            "MAIL FROM: SIZE=3",
            "MAIL FRÖM:<a@b.example>",
            "MAIL TO:<a@b.example>",
            "MAIL FROM <a@b.example>",
            "MAIL FROM:<a@b.example",
            "MAIL FROM:<a@b.example>SIZE=3",
            "MAIL FROM:<a@b.example><c@d.example>",
            "MAIL FROM:<a@b.example> <c@d.example>",
            "MAIL FROM:a@b.example>",
            "MAIL FROM:<a b@c.example>",
            "MAIL FROM:<<a@b.example>>",
            "MAIL FROM:<root>",
            "MAIL FROM:<@x.example>",
            "MAIL FROM:<@:a@b.example>",
            "MAIL FROM:<@x y:a@b.example>",
            "MAIL FROM:<@x.example,y.example:a@b.example>",
            "MAIL FROM:<@x.example,:a@b.example>",
            "MAIL FROM:<@x.example:@y.example:a@b.example>",
            "MAIL FROM:<@\"x:a@b.example>",
            "MAIL FROM:<ü@b.example>",
        ] {
            assert!(sender(line).is_err(), "{line}");
        }
        for line in ["RCPT TO:<>", "RCPT TO:", "RCPT TO:<a@b.example,c@d.example>", "RCPT TO:<x>", "RCPT FROM:<a@b.c>"]
        {
            assert!(recipient(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_other_commands() {
        for (line, command) in [
            ("EHLO a_b", Command::Ehlo("a_b".into())),
            ("ehlo [192.0.2.1] junk", Command::Ehlo("[192.0.2.1]".into())),
            ("HELO  x ", Command::Helo("x".into())),
            ("EHLO", Command::Ehlo("unknown".into())),
            ("helo  ", Command::Helo("unknown".into())),
            ("QUIT now", Command::Quit),
            ("data ", Command::Data),
            ("BDAT 0", Command::Bdat { size: 0, last: false }),
            ("bdat 86 last", Command::Bdat { size: 86, last: true }),
            ("NOOP anything", Command::Noop),
            ("HELP", Command::Help),
            ("VRFY bob", Command::Vrfy),
            ("auth plain =", Command::Auth { mechanism: "PLAIN".into(), initial: Some("=".into()) }),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(command), "{line}");
        }
        for (line, fault) in [
            ("", Fault::Unknown),
            (" QUIT", Fault::Unknown),
            ("XYZZY", Fault::Unknown),
            ("DATA now", Fault::Arguments("DATA")),
            ("STARTTLS x", Fault::Arguments("STARTTLS")),
            ("BDAT", Fault::Chunk),
            ("BDAT -1", Fault::Chunk),
            ("BDAT +1", Fault::Chunk),
            ("BDAT 99999999999999999999", Fault::Chunk),
            ("BDAT 1 LAST 2", Fault::Chunk),
            ("BDAT 1 FIRST", Fault::Chunk),
            ("GET / HTTP/1.1", Fault::Foreign),
            ("EXPN list", Fault::NotOffered),
            ("NOOP \0", Fault::NotText),
            ("EHLO a\u{7f}b", Fault::NotText),
            ("EHLO a\u{85}b", Fault::NotText),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(fault), "{line:?}");
        }
        assert_eq!(parse(b"NOOP \xff"), Err(Fault::NotText));
        assert_eq!(parse(b"ehlo B\xdcRO-PC"), Ok(Command::Ehlo("B\u{fffd}RO-PC".into())));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) { let _ = parse(&line); }

        #[test]
        fn no_odd_path_panics(path in "(MAIL FROM|RCPT TO):?[ <>@,:\"\\\\a.é\\[\\]=;]{0,30}") { let _ = parse(path.as_bytes()); }
    }
}
