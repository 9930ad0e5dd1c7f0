//! What targets are told: the text for people, and the same as JSON. Pure.

use serde::{Deserialize, Serialize};

use super::book::News;
use super::post::Message;
use super::span::{since, words};
use crate::mail::Timestamp;

/// Alerts of one message that are told in full; of the others, how many.
const MOST: usize = 20;

/// A message to a target. As JSON it is what a webhook gets; `text` alone is what Slack shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub text: String,
    /// `began`, `ended`, `several` or `test`.
    pub event: String,
    /// Stays the same when it is sent again.
    pub id: String,
    /// The relay's hostname.
    pub relay: String,
    pub time: Timestamp,
    pub alerts: Vec<NoteAlert>,
    /// Alerts that are not among these, since there are too many.
    pub more: usize,
    #[serde(skip)]
    pub subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteAlert {
    /// The same at its begin and its end, and of no other alert of this relay.
    pub alert: String,
    /// `began` or `ended`.
    pub state: String,
    pub rule: String,
    pub subject: String,
    pub since: Timestamp,
    pub ended: Option<Timestamp>,
    pub summary: String,
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// Who speaks, and when.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub relay: &'a str,
    pub id: &'a str,
    pub now: Timestamp,
}

pub fn note(message: &Message, by: By<'_>) -> Note {
    let Message(news) = message;
    let (subject, mut text) = match &news[..] {
        [] => (String::new(), String::new()),
        [one] => (headline(one), whole(one)),
        several => {
            let subject = sum(several);
            let lines: Vec<String> = several.iter().take(MOST).map(|one| format!("- {}", headline(one))).collect();
            let more = several.len().saturating_sub(MOST);
            let more = if more > 0 { format!("\n- and {more} more: waypost alerts") } else { String::new() };
            (subject.clone(), format!("{subject}\n{}{more}", lines.join("\n")))
        }
    };
    text.insert_str(0, &format!("[{}] ", by.relay));
    let event = match &news[..] {
        [one] if one.over.is_some() => "ended",
        [_] => "began",
        _ => "several",
    };
    Note {
        text,
        event: event.to_owned(),
        id: by.id.to_owned(),
        relay: by.relay.to_owned(),
        time: by.now,
        alerts: news.iter().take(MOST).map(alert).collect(),
        more: news.len().saturating_sub(MOST),
        subject: format!("[{}] {subject}", by.relay),
    }
}

/// What `waypost alerts test` sends.
pub fn test(by: By<'_>) -> Note {
    let text = "This is a test of waypost's alerts: nothing is wrong.";
    Note {
        text: format!("[{}] {text}", by.relay),
        event: "test".to_owned(),
        id: by.id.to_owned(),
        relay: by.relay.to_owned(),
        time: by.now,
        alerts: Vec::new(),
        more: 0,
        subject: format!("[{}] a test of waypost's alerts", by.relay),
    }
}

/// One line.
fn headline(news: &News) -> String {
    match news.over {
        None => news.told.summary.clone(),
        Some(_) if news.withdrawn => format!("no longer watched, by the changed configuration: {}", news.told.summary),
        Some(over) => format!("{}, after {}", news.key.rule.over(&news.key.subject), words(since(news.since, over))),
    }
}

fn whole(news: &News) -> String {
    let mut text = headline(news);
    if news.withdrawn {
        return text;
    }
    if news.over.is_some() {
        text.push_str(&format!("\nIt was: {}", news.told.summary));
        return text;
    }
    for (name, value) in &news.told.details {
        text.push_str(&format!("\n{name}: {value}"));
    }
    text
}

fn sum(several: &[News]) -> String {
    let (over, on): (Vec<&News>, Vec<&News>) = several.iter().partition(|one| one.over.is_some());
    let phrase = |news: &[&News], ended: bool| {
        if let [one] = news {
            return Some(headline(one));
        }
        let first = news.first()?.key.rule;
        let alike = news.iter().all(|one| one.key.rule == first);
        Some(match (alike, ended) {
            (true, false) => first.several(news.len()),
            (false, false) => format!("{} alerts began", news.len()),
            (true, true) => format!("{} alerts are over ({})", news.len(), first.name()),
            (false, true) => format!("{} alerts are over", news.len()),
        })
    };
    [phrase(&on, false), phrase(&over, true)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn alert(news: &News) -> NoteAlert {
    NoteAlert {
        alert: news.which().to_string(),
        state: if news.over.is_some() { "ended" } else { "began" }.to_owned(),
        rule: news.key.rule.name().to_owned(),
        subject: news.key.subject.clone(),
        since: news.since,
        ended: news.over,
        summary: headline(news),
        details: details(&news.told.details),
    }
}

/// Names as keys: `last error` is `last_error`.
pub fn details(details: &[(String, String)]) -> serde_json::Map<String, serde_json::Value> {
    details.iter().map(|(name, text)| (name.replace(' ', "_"), text.clone().into())).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::rules::{Key, Rule, Told};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn outage(over: Option<Timestamp>) -> News {
        let told = Told {
            summary: "provider sendgrid is out: 503 service unavailable".to_owned(),
            details: vec![
                ("last error".to_owned(), "503 service unavailable".to_owned()),
                ("mail goes".to_owned(), "to ses (route all)".to_owned()),
            ],
        };
        News { key: Key::new(Rule::Breaker, "sendgrid"), since: at(0), began: at(60), over, withdrawn: false, told }
    }

    fn by(id: &str) -> By<'_> {
        By { relay: "relay.example", id, now: at(60) }
    }

    #[test]
    fn begin_and_end_say_what_is_and_what_was() {
        let begin = note(&Message(vec![outage(None)]), by("1"));
        assert_snapshot!(begin.text, @r"
        [relay.example] provider sendgrid is out: 503 service unavailable
        last error: 503 service unavailable
        mail goes: to ses (route all)
        ");
        assert_eq!(
            (begin.event.as_str(), begin.alerts[0].details["last_error"].as_str()),
            ("began", Some("503 service unavailable"))
        );
        let end = note(&Message(vec![outage(Some(at(725)))]), by("2"));
        assert_snapshot!(end.text, @r"
        [relay.example] provider sendgrid is back, after 12 min
        It was: provider sendgrid is out: 503 service unavailable
        ");
        assert_eq!((end.event.as_str(), end.alerts[0].ended), ("ended", Some(at(725))));
        assert_eq!(begin.alerts[0].alert, "breaker/1800000060000/sendgrid");
        assert_eq!(end.alerts[0].alert, begin.alerts[0].alert, "by which a program pairs them");
        let gone = note(&Message(vec![News { withdrawn: true, ..outage(Some(at(725))) }]), by("3"));
        assert_eq!(
            gone.text,
            "[relay.example] no longer watched, by the changed configuration: provider sendgrid is out: 503 service unavailable"
        );
    }

    #[test]
    fn many_are_summed_up() {
        let routes = (0..25).map(|n| News {
            key: Key::new(Rule::Oldest, format!("r{n}")),
            told: Told { summary: format!("route r{n}: old"), details: Vec::new() },
            ..outage(None)
        });
        let many = note(&Message(routes.collect()), by("1"));
        assert_eq!(many.subject, "[relay.example] 25 routes have mail that waits for long");
        assert!(many.text.ends_with("- route r19: old\n- and 5 more: waypost alerts"), "{}", many.text);
        assert_eq!((many.alerts.len(), many.more), (20, 5));
        let mixed = note(&Message(vec![outage(None), outage(Some(at(9)))]), by("1"));
        assert_eq!(
            mixed.subject,
            "[relay.example] provider sendgrid is out: 503 service unavailable; provider sendgrid is back, after 9 s"
        );
    }
}
