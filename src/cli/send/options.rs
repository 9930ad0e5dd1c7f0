//! The command line of sendmail, as programs of forty years write it. Pure.

use std::ffi::OsString;

use super::SendError;
use crate::mail::Address;

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
    pub verbose: bool,
    pub server: Option<String>,
    pub recipients: Vec<Address>,
}

impl Options {
    pub fn parse(arguments: &[OsString]) -> Result<Self, SendError> {
        let mut options = Self::default();
        let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
        while let Some(argument) = arguments.next() {
            let mut value = |glued: &str, option: &str| {
                let given = if glued.is_empty() { arguments.next() } else { Some(glued.to_owned()) };
                given.ok_or_else(|| SendError::Usage(format!("{option} wants a value")))
            };
            match argument.as_str() {
                "--" => break,
                "--server" => options.server = Some(value("", "--server")?),
                "-t" => options.from_header = true,
                "-i" | "-oi" => options.ignore_dots = true,
                "-ti" | "-it" => (options.from_header, options.ignore_dots) = (true, true),
                "-v" => options.verbose = true,
                // What the queue, aliases or a daemon of sendmail's would do is the relay's business here.
                "-bm" | "-G" | "-n" | "-m" | "-U" | "-em" | "-ep" | "-eq" => {}
                "-bs" | "-bd" | "-bi" | "-bp" | "-bt" | "-bv" | "-q" => {
                    return Err(SendError::Usage(format!("{argument} is no way to send a message")));
                }
                _ => {
                    if let Some(server) = argument.strip_prefix("--server=") {
                        options.server = Some(server.to_owned());
                    } else if let Some(rest) = argument.strip_prefix("-f").or_else(|| argument.strip_prefix("-r")) {
                        options.sender = Some(reverse_path(&value(rest, "-f")?)?);
                    } else if let Some(rest) = argument.strip_prefix("-F") {
                        options.name = Some(value(rest, "-F")?);
                    } else if ["-o", "-e"].iter().any(|known| argument.starts_with(known)) && argument.len() > 2 {
                        // Options of sendmail's own (-oem, -odb …) say nothing about this message.
                    } else if ["-o", "-B", "-N", "-R", "-V", "-h", "-O", "-L", "-X", "-C", "-p", "-d"]
                        .iter()
                        .any(|known| argument.starts_with(known))
                    {
                        value(argument.get(2..).unwrap_or(""), &argument)?;
                    } else if argument.starts_with('-') {
                        return Err(SendError::Usage(format!("unknown option {argument}")));
                    } else {
                        options.add(&argument)?;
                    }
                }
            }
        }
        for argument in arguments {
            options.add(&argument)?;
        }
        Ok(options)
    }

    fn add(&mut self, list: &str) -> Result<(), SendError> {
        for recipient in list.split(',').map(str::trim).filter(|recipient| !recipient.is_empty()) {
            self.recipients.push(address(recipient)?);
        }
        Ok(())
    }
}

fn reverse_path(text: &str) -> Result<Option<Address>, SendError> {
    if text.trim_matches(['<', '>']).is_empty() { Ok(None) } else { address(text).map(Some) }
}

/// An address as users write it: with or without angle brackets; a bare name is one on this host.
pub fn address(text: &str) -> Result<Address, SendError> {
    let plain = text.trim().trim_start_matches('<').trim_end_matches('>');
    let full = if plain.contains('@') {
        plain.to_owned()
    } else {
        format!("{plain}@{}", crate::os::hostname().unwrap_or_else(|| "localhost".to_owned()))
    };
    full.parse().map_err(|error| SendError::Usage(format!("'{text}' is no address: {error}")))
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
        ] {
            let options = parse(line).unwrap();
            assert!(options.from_header && options.ignore_dots, "{line}");
            assert_eq!(options.sender, Some(Some(a.clone())), "{line}");
        }
        assert_eq!(parse("-f <> a@example.com").unwrap().sender, Some(None));
        let options = parse("-B 8BITMIME -N never -- a@example.com,b@example.com").unwrap();
        assert_eq!(options.recipients.len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_a_usage_error() {
        for line in ["-f", "-bp", "-z", "no address@@"] {
            assert!(matches!(parse(line), Err(SendError::Usage(_))), "{line}");
        }
    }
}
