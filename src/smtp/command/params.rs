//! ESMTP parameters of MAIL and RCPT (RFC 5321, 4.1.1.11): SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET,
//! ENVID, NOTIFY, ORCPT (RFC 3461), AUTH (RFC 4954, section 5).

use super::Fault;
use crate::mail::{BodyKind, DsnRequest, Notify, Orcpt, Ret};
use crate::smtp::xtext;

/// The parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParams {
    /// What the client says the content's size will be; one beyond `u64` is `u64::MAX`.
    pub size: Option<u64>,
    pub body: BodyKind,
    pub smtputf8: bool,
    pub dsn: DsnRequest,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcptParams {
    pub notify: Option<Notify>,
    pub orcpt: Option<Orcpt>,
}

/// RFC 3461, 4.4: an ENVID has 100 characters at most; 4.2: an ORCPT has 500.
const MOST_ENVID: usize = 100;
const MOST_ORCPT: usize = 500;

pub(super) fn mail(text: &str) -> Result<MailParams, Fault> {
    let mut params = MailParams::default();
    each(text, |keyword, value| {
        let wrong = || Fault::Value(keyword.to_owned());
        match keyword {
            "SIZE" => {
                let digits = value.filter(|v| (1..=20).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_digit()));
                params.size = Some(digits.ok_or_else(wrong)?.parse().unwrap_or(u64::MAX));
            }
            "BODY" => {
                params.body = match value.unwrap_or_default().to_ascii_uppercase().as_str() {
                    "7BIT" => BodyKind::SevenBit,
                    "8BITMIME" => BodyKind::EightBit,
                    "BINARYMIME" => return Err(Fault::BinaryMime),
                    _ => return Err(wrong()),
                };
            }
            "SMTPUTF8" if value.is_none() => params.smtputf8 = true,
            "SMTPUTF8" => return Err(wrong()),
            "RET" => {
                params.dsn.ret = Some(match value.unwrap_or_default().to_ascii_uppercase().as_str() {
                    "FULL" => Ret::Full,
                    "HDRS" => Ret::Headers,
                    _ => return Err(wrong()),
                });
            }
            "ENVID" => {
                let envid = value.filter(|v| (1..=MOST_ENVID).contains(&v.len())).and_then(ascii);
                params.dsn.envid = Some(envid.ok_or_else(wrong)?);
            }
            // Who the first hop says the sender is. Only a trusted peer's word would count, and nothing here uses it.
            "AUTH" => drop(value.and_then(ascii).ok_or_else(wrong)?),
            _ => return Err(Fault::UnknownParameter(keyword.to_owned())),
        }
        Ok(())
    })?;
    Ok(params)
}

pub(super) fn rcpt(text: &str) -> Result<RcptParams, Fault> {
    let mut params = RcptParams::default();
    each(text, |keyword, value| {
        let wrong = || Fault::Value(keyword.to_owned());
        match keyword {
            "NOTIFY" => params.notify = Some(value.and_then(notify).ok_or_else(wrong)?),
            "ORCPT" => params.orcpt = Some(value.and_then(orcpt).ok_or_else(wrong)?),
            _ => return Err(Fault::UnknownParameter(keyword.to_owned())),
        }
        Ok(())
    })?;
    Ok(params)
}

/// Calls `take` for each parameter, its keyword in capitals. One that is given twice is refused (RFC 5321, 4.1.1.11,
/// leaves its meaning open).
fn each(text: &str, mut take: impl FnMut(&str, Option<&str>) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut seen: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let (keyword, value) = word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value)));
        let keyword = keyword.to_ascii_uppercase();
        if seen.contains(&keyword) {
            return Err(Fault::Twice(keyword));
        }
        take(&keyword, value)?;
        seen.push(keyword);
    }
    Ok(())
}

/// `NEVER`, or a list of the others (RFC 3461, 4.1).
fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for word in value.split(',') {
        let flag = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            _ => return None,
        };
        if std::mem::replace(flag, true) {
            return None;
        }
    }
    Some(notify)
}

/// xtext that stands for printable ASCII, as these parameters have it (RFC 3461, 4.2 and 4.4; RFC 4954, section 5).
fn ascii(value: &str) -> Option<String> {
    xtext::decode(value).filter(|text| text.is_ascii())
}

/// `type;address`, the address as xtext (RFC 3461, 4.2). One of type `utf-8` may be UTF-8 as it stands (RFC 6533,
/// section 3).
fn orcpt(value: &str) -> Option<Orcpt> {
    let (kind, address) = value.split_once(';').filter(|_| value.len() <= MOST_ORCPT)?;
    let is_atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let address =
        if kind.eq_ignore_ascii_case("utf-8") && !address.is_ascii() { address.to_owned() } else { ascii(address)? };
    (is_atom && !address.is_empty()).then(|| Orcpt { kind: kind.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_mail() {
        let all = mail(" size=1000  BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb AUTH=<>").unwrap();
        assert_eq!((all.size, all.body, all.smtputf8), (Some(1000), BodyKind::EightBit, true));
        assert_eq!(all.dsn, DsnRequest { ret: Some(Ret::Headers), envid: Some("a+b".into()) });
        assert_eq!(mail("SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
        assert_eq!(mail("  ").unwrap(), MailParams::default());
        let wrong = |keyword: &str| Fault::Value(keyword.into());
        for (text, fault) in [
            ("SIZE", wrong("SIZE")),
            ("SIZE=", wrong("SIZE")),
            ("SIZE=-1", wrong("SIZE")),
            ("SIZE=1e3", wrong("SIZE")),
            ("SIZE=1 size=1", Fault::Twice("SIZE".into())),
            ("BODY=9BIT", wrong("BODY")),
            ("BODY=BINARYMIME", Fault::BinaryMime),
            ("SMTPUTF8=1", wrong("SMTPUTF8")),
            ("RET=ALL", wrong("RET")),
            ("ENVID=", wrong("ENVID")),
            ("ENVID=+0D", wrong("ENVID")),
            ("ENVID=x+0D+0ABcc:+20y", wrong("ENVID")),
            ("ENVID=+C3+BC", wrong("ENVID")),
            ("AUTH=a+0D+0AX:y", wrong("AUTH")),
            (&format!("ENVID={}", "a".repeat(101)), wrong("ENVID")),
            ("AUTH", wrong("AUTH")),
            ("NOTIFY=NEVER", Fault::UnknownParameter("NOTIFY".into())),
            ("XYZZY", Fault::UnknownParameter("XYZZY".into())),
            ("=", Fault::UnknownParameter("".into())),
        ] {
            assert_eq!(mail(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn parameters_of_rcpt() {
        let some = rcpt("NOTIFY=success,DELAY ORCPT=rfc822;Bob+2Bx@Example.com").unwrap();
        assert_eq!(some.notify, Some(Notify { success: true, failure: false, delay: true }));
        assert_eq!(some.orcpt, Some(Orcpt { kind: "rfc822".into(), address: "Bob+x@Example.com".into() }));
        assert_eq!(rcpt("NOTIFY=never").unwrap().notify, Some(Notify::default()));
        assert_eq!(rcpt("ORCPT=utf-8;ü@example.com").unwrap().orcpt.unwrap().address, "ü@example.com");
        for bad in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=DELAY,DELAY",
            "ORCPT=a@b",
            "ORCPT=;a@b",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;ü@b",
            "ORCPT=rf c;a",
            "ORCPT=rfc822;+0A",
            "ORCPT=rfc822;+C3+BC@b",
            "ORCPT=utf-8;+0D+0ATo:+20x",
            &format!("ORCPT=rfc822;{}", "a".repeat(500)),
            "NOTIFY=NEVER NOTIFY=NEVER",
            "SIZE=1",
        ] {
            assert!(rcpt(bad).is_err(), "{bad}");
        }
    }
}
