//! The command line of sendmail, as programs of forty years write it. Pure.

use std::ffi::OsString;
use std::path::PathBuf;

use super::SendError;
use crate::mail::{Address, AddressError, Domain, Notify, Ret};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-t`: recipients are read from To, Cc and Bcc.
    pub from_header: bool,
    /// `-i`, `-oi`: a line with a lone dot does not end the message.
    pub ignore_dots: bool,
    /// `-f`, `-r`: the reverse-path; `Some(None)` is the null one.
    pub sender: Option<Option<Address>>,
    /// `-F`: the name beside the sender's address.
    pub name: Option<String>,
    /// `-N`, `-R`, `-V`: what the sender wants to hear (RFC 3461).
    pub notify: Option<Notify>,
    pub ret: Option<Ret>,
    pub envid: Option<String>,
    /// `-bs`: the caller speaks SMTP itself.
    pub dialogue: bool,
    pub verbose: bool,
    pub server: Option<String>,
    /// Where a message waits that the relay cannot take now.
    pub pickup: Option<PathBuf>,
    pub recipients: Vec<Address>,
}

/// The words of a command line, letter by letter where they are glued together (`-tif ADDRESS`).
struct Words<I> {
    rest: I,
    /// What follows the letter in its word.
    glued: String,
}

impl<I: Iterator<Item = String>> Words<I> {
    /// The letter's value: the rest of its word, else the next word.
    fn value(&mut self, letter: char) -> Result<String, SendError> {
        let glued = std::mem::take(&mut self.glued);
        let given = if glued.is_empty() { self.rest.next() } else { Some(glued) };
        given.ok_or_else(|| SendError::Usage(format!("-{letter} wants a value")))
    }
}

impl Options {
    pub fn parse(arguments: &[OsString]) -> Result<Self, SendError> {
        let mut options = Self::default();
        let rest = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
        let mut words = Words { rest, glued: String::new() };
        while let Some(word) = words.rest.next() {
            if word == "--" {
                break;
            } else if let Some(long) = word.strip_prefix("--") {
                options.long(long, &mut words)?;
            } else if word.len() > 1 && word.starts_with('-') {
                words.glued = word[1..].to_owned();
                while let Some(letter) = words.glued.chars().next() {
                    words.glued.drain(..letter.len_utf8());
                    options.short(letter, &mut words)?;
                }
            } else {
                options.add(&word)?;
            }
        }
        for word in words.rest {
            options.add(&word)?;
        }
        Ok(options)
    }

    fn long(&mut self, word: &str, words: &mut Words<impl Iterator<Item = String>>) -> Result<(), SendError> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
        if !matches!(name, "server" | "pickup") {
            return Err(SendError::Usage(format!("unknown option --{name}")));
        }
        let value = value.or_else(|| words.rest.next());
        let value = value.ok_or_else(|| SendError::Usage(format!("--{name} wants a value")))?;
        match name {
            "server" => self.server = Some(value),
            _ => self.pickup = Some(value.into()),
        }
        Ok(())
    }

    fn short(&mut self, letter: char, words: &mut Words<impl Iterator<Item = String>>) -> Result<(), SendError> {
        match letter {
            't' => self.from_header = true,
            'i' => self.ignore_dots = true,
            'v' => self.verbose = true,
            // What the queue, aliases or a daemon of sendmail's would do is the relay's business here.
            'c' | 'G' | 'I' | 'm' | 'n' | 's' | 'T' | 'U' => {}
            'f' | 'r' => self.sender = Some(reverse_path(&words.value(letter)?)?),
            'F' => self.name = Some(words.value(letter)?),
            'N' => self.notify = Some(notify(&words.value(letter)?)?),
            'R' => self.ret = Some(ret(&words.value(letter)?)?),
            'V' => self.envid = Some(words.value(letter)?),
            'o' => self.option(&words.value(letter)?),
            'O' => {
                let value = words.value(letter)?;
                let (name, value) = value.split_once('=').unwrap_or((&value, "true"));
                if name.eq_ignore_ascii_case("IgnoreDots") {
                    self.option(if value.to_ascii_lowercase().starts_with(['t', 'y']) { "i" } else { "" });
                }
            }
            'b' => match words.value(letter)?.as_str() {
                "m" => {}
                "s" => self.dialogue = true,
                other => return Err(SendError::Usage(format!("-b{other} is no way to send a message"))),
            },
            'B' | 'C' | 'D' | 'e' | 'h' | 'L' | 'M' | 'p' | 'X' => drop(words.value(letter)?),
            // ssmtp's user, password and mechanism: whoever may run this needs none. What else begins so has its value glued.
            'a' => {
                let kind = words.glued.chars().next();
                if words.glued.len() == 1 && matches!(kind, Some('u' | 'p' | 'm')) {
                    words.glued.clear();
                    words.value(letter)?;
                }
                words.glued.clear();
            }
            'A' | 'd' => words.glued.clear(),
            'q' => return Err(SendError::Usage("-q is no way to send a message".to_owned())),
            other => return Err(SendError::Usage(format!("unknown option -{other}"))),
        }
        Ok(())
    }

    /// `-o`: sendmail's own options (-oem, -odb, -o8 …) say nothing about this message, but for one.
    fn option(&mut self, value: &str) {
        self.ignore_dots |= value == "i";
    }

    fn add(&mut self, list: &str) -> Result<(), SendError> {
        for recipient in list.split(',').map(str::trim).filter(|recipient| !recipient.is_empty()) {
            self.recipients.push(address(recipient)?);
        }
        Ok(())
    }
}

fn reverse_path(text: &str) -> Result<Option<Address>, SendError> {
    if text.trim_matches(['<', '>', ' ']).is_empty() { Ok(None) } else { address(text).map(Some) }
}

fn notify(text: &str) -> Result<Notify, SendError> {
    let mut notify = Notify::default();
    if text.eq_ignore_ascii_case("never") {
        return Ok(notify);
    }
    for word in text.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            other => return Err(SendError::Usage(format!("-N {other}: never, or of success, failure and delay"))),
        }
    }
    Ok(notify)
}

fn ret(text: &str) -> Result<Ret, SendError> {
    match text.to_ascii_lowercase().as_str() {
        "full" => Ok(Ret::Full),
        "hdrs" => Ok(Ret::Headers),
        other => Err(SendError::Usage(format!("-R {other}: full or hdrs"))),
    }
}

/// The domain of names that have none: this host.
pub fn here() -> Domain {
    let own = crate::os::hostname().and_then(|name| name.parse().ok());
    own.unwrap_or_else(|| "localhost".parse().expect("a constant that is a domain"))
}

/// An address as users write it: with or without angle brackets; a bare name is one on this host.
pub fn address(text: &str) -> Result<Address, SendError> {
    let plain = text.trim().trim_start_matches('<').trim_end_matches('>');
    let parsed = match plain.parse() {
        Err(AddressError::NoDomain(_)) => Address::new(plain, here()),
        parsed => parsed,
    };
    parsed.map_err(|error| SendError::Usage(format!("'{text}' is no address: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, SendError> {
        Options::parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_programs_write_is_understood() {
        let a: Address = "a@example.com".parse().unwrap();
        for line in [
            "-t -i -f a@example.com",
            "-ti -fa@example.com",
            "-t -oi -r a@example.com",
            "-oi -oem -t -f <a@example.com>",
            "-tif a@example.com",
            // PHP's default, cronie, Debian's cron, git send-email, mutt, msmtp's and ssmtp's users.
            "-t -i -f a@example.com -odi -oem",
            "-FCronDaemon -i -odi -oem -oi -t -f a@example.com",
            "-FCronDaemon -i -B8BITMIME -oem -t -f a@example.com",
            "-i -t -O IgnoreDots=True -O DeliveryMode=b -f a@example.com",
            "-t -oem -oi -f a@example.com -Ac -auuser -apsecret -am LOGIN -d0.1 -X /dev/null -h 20",
            "-bm -G -n -m -U -s -v -t -i -p SMTP:me -L tag -C /etc/x.cf -f a@example.com",
            "-t -o i -e m -f a@example.com -V id -R hdrs -N never",
        ] {
            let options = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(options.from_header && options.ignore_dots, "{line}");
            assert_eq!(options.sender, Some(Some(a.clone())), "{line}");
            assert!(options.recipients.is_empty(), "{line}: {:?}", options.recipients);
        }
        assert_eq!(parse("-f <> a@example.com").unwrap().sender, Some(None));
        assert_eq!(parse("-f  a@example.com").unwrap().sender, Some(None));
        let options = parse("-B 8BITMIME -N success,delay -- a@example.com,b@example.com").unwrap();
        assert_eq!(options.recipients.len(), 2);
        assert_eq!(options.notify, Some(Notify { success: true, failure: false, delay: true }));
        let options = parse("-bs --server=h:1 --pickup /x").unwrap();
        assert_eq!(
            (options.dialogue, options.server.as_deref(), options.pickup),
            (true, Some("h:1"), Some(PathBuf::from("/x")))
        );
        let root = parse("root").unwrap().recipients.remove(0);
        assert_eq!((root.local(), root.domain()), ("root", &here()));
    }

    #[test]
    fn what_is_not_understood_is_a_usage_error() {
        for line in ["-f", "-bp", "-bd", "-q", "-z", "--no", "-N sometimes", "-R some", "no address@@", "-t --server"] {
            assert!(matches!(parse(line), Err(SendError::Usage(_))), "{line}");
        }
    }
}
