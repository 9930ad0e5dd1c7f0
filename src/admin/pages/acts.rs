//! What is done to queued mail from the pages: chosen, counted and confirmed first, then carried out in steps that fit a request.

use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use maud::{Markup, html};
use tokio::time::Instant;

use super::door::see_other;
use super::fields::{Fields, link};
use super::layout::{Place, Told, Trouble, View};
use super::queue::{filter, names, pairs};
use super::session::Notice;
use super::show::{number, plural, size};
use crate::admin::{Fault, Operator, Shared};
use crate::delivery::operate::{Act, ActAnswer, ActRequest, By, Count, Filter};
use crate::routing::Table;

/// Steps of one request take about so long; then the page says how far it is, and asks to go on.
const STRETCH: Duration = Duration::from_secs(5);
/// Messages that a confirmation names, at most.
const NAMED: usize = 10;

/// The word in forms, what the button says, and what it means.
const ACTS: [(&str, &str, &str); 6] = [
    ("retry", "Retry now", "Waiting mail is due at once."),
    ("hold", "Hold", "It stays in the queue until it is released."),
    ("release", "Release", "Held mail is due at once, past the route that held it."),
    ("move", "Move", "It goes by another route or provider, whatever the table says."),
    ("bounce", "Bounce", "It leaves the queue, and its senders are told that it was not delivered."),
    ("delete", "Delete", "It leaves the queue, and nobody is told. This cannot be undone."),
];

pub fn routes() -> Router<Shared> {
    Router::new().route("/queue/confirm", post(confirm)).route("/queue/act", post(carry_out))
}

/// The filter, in a form.
pub fn hidden(filter: &Filter) -> Markup {
    html! {
        @for (name, value) in pairs(filter) {
            @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
        }
    }
}

/// What may be done with the entries of a list.
pub fn choice(filter: &Filter) -> Markup {
    html! {
        fieldset.acts {
            legend.hidden { "What to do with them" }
            div {
                label for="act" { "Do" }
                select #act name="act" { @for (act, name, _) in ACTS { option value=(act) { (name) } } }
            }
            button type="submit" name="scope" value="ticked" { "with the ticked\u{2026}" }
            button type="submit" name="scope" value="all" {
                @if filter.is_empty() { "with all that is queued\u{2026}" } @else { "with all that match\u{2026}" }
            }
        }
    }
}

/// What may be done with one message.
pub fn choice_of_one(view: &View, mid: &str) -> Markup {
    html! {
        form.acts method="post" action="/queue/confirm" {
            (view.form_token())
            input type="hidden" name="mid" value=(mid);
            input type="hidden" name="scope" value="ticked";
            @for (act, name, means) in ACTS {
                button type="submit" name="act" value=(act) title=(means) { (name) "\u{2026}" }
            }
        }
    }
}

/// A form as an act.
struct Asked {
    request: ActRequest,
    /// Of `ACTS`.
    name: &'static str,
    means: &'static str,
    /// Where the list goes on.
    back: String,
}

fn read(fields: &Fields) -> Result<Asked, Trouble> {
    let wrong = |text: &str| Trouble(Fault::bad_request(text));
    let filter = filter(fields)?;
    let mids: Vec<String> = fields.all("mid").map(str::to_owned).collect();
    let back = link("/queue", pairs(&filter));
    let all = fields.get("scope") == Some("all");
    if !all && mids.is_empty() {
        return Err(wrong("No message is ticked: tick some, or choose all that match."));
    }
    let asked = fields.get("act").unwrap_or_default();
    let known = ACTS.iter().find(|(act, _, _)| *act == asked);
    let (word, name, means) = known.ok_or_else(|| wrong("That is nothing that can be done with mail."))?;
    let act = match *word {
        "retry" => Act::Retry,
        "hold" => Act::Hold,
        "release" => Act::Release,
        "move" => Act::Move { route: fields.owned("to_route"), provider: fields.owned("to_provider") },
        "bounce" => Act::Bounce,
        _ => Act::Delete,
    };
    let request = ActRequest {
        act,
        mids: if all { Vec::new() } else { mids },
        filter: if all { filter } else { Filter::default() },
        all,
        after: fields.owned("after"),
        reason: fields.owned("why"),
    };
    Ok(Asked { request, name, means, back })
}

async fn confirm(
    State(deps): State<Shared>,
    Extension(fields): Extension<Fields>,
    view: View,
) -> Result<Markup, Trouble> {
    let asked = read(&fields)?;
    let count = deps.operator.count_of(&asked.request).await?;
    let table = deps.operator.table();
    Ok(view.page(Place::Queue, asked.name, &confirmation(&view, &asked, count, &table)))
}

fn confirmation(view: &View, asked: &Asked, count: Count, table: &Table) -> Markup {
    let Asked { request, name, means, back } = asked;
    let danger = matches!(request.act, Act::Delete | Act::Bounce);
    html! {
        h1 { (name) " " (plural(count.messages, "message")) "?" }
        div.card.bad[danger].warn[!danger && request.all] {
            p { (means) }
            dl.facts {
                dt { "Found" }
                dd { (plural(count.messages, "message")) " to " (plural(count.recipients, "recipient")) ", " (size(count.octets)) }
                @if request.all {
                    dt { "By" }
                    dd {
                        @if request.filter.is_empty() { "no filter: " strong { "all that is queued" } }
                        @else {
                            @for (name, value) in pairs(&request.filter) {
                                @if let Some(value) = value { code { (name) "=" (value) } " " }
                            }
                        }
                    }
                } @else {
                    dt { "Messages" }
                    dd {
                        @for mid in request.mids.iter().take(NAMED) { a href={ "/message/" (mid) } { code { (mid) } } " " }
                        @if request.mids.len() > NAMED { "and " (number((request.mids.len() - NAMED) as u64)) " more" }
                    }
                }
            }
        }
        @if count.messages == 0 {
            p { "Nothing of that is in the queue (any more). " a href=(back) { "Back to the list" } }
        } @else {
            form method="post" action="/queue/act" {
                (carried(view, request, &Sums { of: count.messages, ..Sums::default() }))
                @if let Act::Move { .. } = request.act {
                    div.fields {
                        div { label for="to_route" { "To route" } input #to_route name="to_route" list="names-route"; }
                        div { label for="to_provider" { "To provider" } input #to_provider name="to_provider" list="names-provider"; }
                    }
                    p.muted { "Neither: it goes by the table again." }
                    (names(table))
                }
                div.acts {
                    div { label for="why" { "Why (it is recorded)" } input #why name="why" maxlength="200" autocomplete="off"; }
                    @if danger { button.danger type="submit" { (name) } } @else { button.primary type="submit" { (name) } }
                    a.button href=(back) { "Leave it" }
                }
            }
        }
    }
}

/// What steps before have come to; forms carry it along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    /// As many as were counted.
    of: u64,
    messages: u64,
    recipients: u64,
    unchanged: u64,
    in_attempt: u64,
    refused: u64,
    missing: u64,
}

impl Sums {
    fn read(fields: &Fields) -> Self {
        let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            of: number("sum_of"),
            messages: number("sum_messages"),
            recipients: number("sum_recipients"),
            unchanged: number("sum_unchanged"),
            in_attempt: number("sum_in_attempt"),
            refused: number("sum_refused"),
            missing: number("sum_missing"),
        }
    }

    fn pairs(&self) -> [(&'static str, u64); 7] {
        [
            ("sum_of", self.of),
            ("sum_messages", self.messages),
            ("sum_recipients", self.recipients),
            ("sum_unchanged", self.unchanged),
            ("sum_in_attempt", self.in_attempt),
            ("sum_refused", self.refused),
            ("sum_missing", self.missing),
        ]
    }

    fn add(&mut self, answer: &ActAnswer) {
        // Forms carry any number.
        let sum = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        sum(&mut self.messages, answer.messages);
        sum(&mut self.recipients, answer.recipients);
        sum(&mut self.unchanged, answer.unchanged);
        sum(&mut self.in_attempt, answer.in_attempt.len() as u64);
        sum(&mut self.refused, answer.refused.len() as u64);
        sum(&mut self.missing, answer.missing.len() as u64);
    }

    /// In a sentence.
    fn told(&self, act: &Act, first_refusal: Option<&str>) -> String {
        let mut text = format!("{} {}", plural(self.messages, "message"), act.done());
        if self.recipients != self.messages {
            text.push_str(&format!(" ({})", plural(self.recipients, "recipient")));
        }
        if self.unchanged > 0 {
            text.push_str(&format!("; {} {}", plural(self.unchanged, "recipient"), act.unchanged()));
        }
        if self.in_attempt > 0 {
            text.push_str(&format!("; {} in an attempt just now, left alone", plural(self.in_attempt, "message")));
        }
        if self.missing > 0 {
            text.push_str(&format!("; {} not in the queue any more", plural(self.missing, "message")));
        }
        if self.refused > 0 {
            text.push_str(&format!("; {} refused", plural(self.refused, "message")));
            if let Some(why) = first_refusal {
                text.push_str(&format!(", the first because {why}"));
            }
        }
        text.push('.');
        text
    }
}

/// A request and what it came to so far, in a form.
fn carried(view: &View, request: &ActRequest, sums: &Sums) -> Markup {
    html! {
        (view.form_token())
        (hidden(&request.filter))
        input type="hidden" name="act" value=(request.act.name());
        @if request.all { input type="hidden" name="scope" value="all"; }
        @for mid in &request.mids { input type="hidden" name="mid" value=(mid); }
        @for (name, sum) in sums.pairs() { input type="hidden" name=(name) value=(sum); }
    }
}

async fn carry_out(
    State(deps): State<Shared>,
    Extension(fields): Extension<Fields>,
    Extension(Operator(who)): Extension<Operator>,
    told: Told,
    view: View,
) -> Result<Response, Trouble> {
    let Asked { mut request, name, back, .. } = read(&fields)?;
    let by = By { who, why: request.reason.clone() };
    let mut sums = Sums::read(&fields);
    let mut first_refusal = None;
    let began = Instant::now();
    loop {
        let answer = deps.operator.act(&request, &by).await?;
        sums.add(&answer);
        first_refusal = first_refusal.or_else(|| answer.refused.first().map(|refused| refused.why.clone()));
        request.after = answer.next;
        if request.after.is_none() || began.elapsed() >= STRETCH {
            break;
        }
    }
    if request.after.is_some() {
        return Ok(view.page(Place::Queue, name, &so_far(&view, &request, name, &sums, &back)).into_response());
    }
    let good = sums.refused == 0 && sums.in_attempt == 0 && sums.missing == 0;
    told.tell(Notice { good, text: sums.told(&request.act, first_refusal.as_deref()) });
    let to = match (request.all, &request.mids[..]) {
        (false, [mid]) if !matches!(request.act, Act::Delete | Act::Bounce) => format!("/message/{mid}"),
        _ => back,
    };
    Ok(see_other(&to))
}

fn so_far(view: &View, request: &ActRequest, name: &str, sums: &Sums, back: &str) -> Markup {
    html! {
        h1 { (name) ": " (number(sums.messages)) " of " (number(sums.of)) " messages" }
        progress max=(sums.of.max(1)) value=(sums.messages) aria-label="How far it is" {}
        p { (sums.told(&request.act, None)) }
        // The script presses the button.
        form.acts method="post" action="/queue/act" data-go-on {
            (carried(view, request, sums))
            input type="hidden" name="after" value=[request.after.as_deref()];
            @if let Act::Move { route, provider } = &request.act {
                input type="hidden" name="to_route" value=[route.as_deref()];
                input type="hidden" name="to_provider" value=[provider.as_deref()];
            }
            input type="hidden" name="why" value=[request.reason.as_deref()];
            button.primary type="submit" { "Go on" }
            a.button href=(back) { "Stop here" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_which_mail_and_what_is_done_with_it() {
        let read = |form: &str| read(&Fields::read(form.as_bytes())).map(|asked| asked.request);
        let ticked = read("act=delete&scope=ticked&mid=A&mid=B&route=x").unwrap();
        assert_eq!((ticked.mids.len(), ticked.all, ticked.filter.is_empty()), (2, false, true));
        let all = read("act=move&scope=all&mid=A&route=x&to_provider=ses&why=because").unwrap();
        assert_eq!(all.act, Act::Move { route: None, provider: Some("ses".to_owned()) });
        assert_eq!((all.mids.len(), all.all, all.filter.route.as_deref()), (0, true, Some("x")));
        assert_eq!(all.reason.as_deref(), Some("because"));
        for wrong in
            ["act=delete&scope=ticked", "act=delete", "scope=all", "act=burn&scope=all", "act=hold&mid=A&state=x"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_an_act_came_to_is_told_whole() {
        let sums = Sums { messages: 2, recipients: 3, unchanged: 1, in_attempt: 1, refused: 1, ..Sums::default() };
        assert_eq!(
            sums.told(&Act::Hold, Some("it is so")),
            "2 messages held (3 recipients); 1 recipient are held already; 1 message in an attempt just now, left alone; \
             1 message refused, the first because it is so."
        );
        let form: String = sums.pairs().iter().map(|(name, sum)| format!("{name}={sum}&")).collect();
        assert_eq!(Sums::read(&Fields::read(form.as_bytes())), sums);
    }
}
