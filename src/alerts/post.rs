//! From news to messages: a bounded number a minute, the rest summed up in one. Pure; time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use super::book::News;
use super::span::since;
use crate::mail::Timestamp;

const SPAN: Duration = Duration::from_secs(60);
/// So many of one rule at one time are one message.
const ALIKE: usize = 3;

/// One message to each target: one piece of news, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(pub Vec<News>);

#[derive(Debug)]
pub struct Post {
    most: usize,
    waiting: Vec<Message>,
    sent: VecDeque<Timestamp>,
}

impl Post {
    /// `most`: messages in a minute.
    pub fn new(most: u32) -> Self {
        Self { most: usize::try_from(most).unwrap_or(usize::MAX).max(1), waiting: Vec::new(), sent: VecDeque::new() }
    }

    pub fn set_most(&mut self, most: u32) {
        self.most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
    }

    /// News of one moment.
    pub fn add(&mut self, news: Vec<News>) {
        let mut alike: Vec<Message> = Vec::new();
        for one in news {
            let same = |other: &News| other.key.rule == one.key.rule && other.over.is_some() == one.over.is_some();
            match alike.iter_mut().find(|message| message.0.first().is_some_and(same)) {
                Some(message) => message.0.push(one),
                None => alike.push(Message(vec![one])),
            }
        }
        for message in alike {
            if message.0.len() < ALIKE {
                self.waiting.extend(message.0.into_iter().map(|one| Message(vec![one])));
            } else {
                self.waiting.push(message);
            }
        }
    }

    /// What may be sent at `now`. The last one that may be is kept for the sum of all others.
    pub fn due(&mut self, now: Timestamp) -> Vec<Message> {
        while self.sent.front().is_some_and(|at| since(*at, now) >= SPAN) {
            self.sent.pop_front();
        }
        let room = self.most.saturating_sub(self.sent.len());
        if room == 0 || self.waiting.is_empty() {
            return Vec::new();
        }
        let mut due = std::mem::take(&mut self.waiting);
        if due.len() > room {
            let rest = due.split_off(room - 1);
            due.push(Message(rest.into_iter().flat_map(|message| message.0).collect()));
        }
        self.sent.extend(due.iter().map(|_| now));
        due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules::{Key, Rule, Told};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn news(rule: Rule, subject: &str, over: bool) -> News {
        let told = Told { summary: subject.to_owned(), details: Vec::new() };
        News {
            key: Key::new(rule, subject),
            since: at(0),
            began: at(0),
            over: over.then(|| at(1)),
            withdrawn: false,
            told,
        }
    }

    fn sizes(messages: &[Message]) -> Vec<usize> {
        messages.iter().map(|message| message.0.len()).collect()
    }

    #[test]
    fn many_alike_are_one_message_and_few_are_told_one_by_one() {
        let mut post = Post::new(5);
        post.add((0..10).map(|n| news(Rule::Oldest, &n.to_string(), false)).collect());
        assert_eq!(sizes(&post.due(at(0))), [10]);
        post.add(vec![news(Rule::Breaker, "a", false), news(Rule::Oldest, "b", false), news(Rule::Oldest, "c", true)]);
        assert_eq!(sizes(&post.due(at(1))), [1, 1, 1]);
        assert_eq!(post.due(at(2)), []);
    }

    #[test]
    fn what_is_too_much_for_a_minute_is_summed_up() {
        let mut post = Post::new(3);
        let rules = [Rule::Breaker, Rule::Oldest, Rule::Growth, Rule::Quota, Rule::Full];
        post.add(rules.map(|rule| news(rule, "x", false)).into());
        assert_eq!(sizes(&post.due(at(0))), [1, 1, 3]);
        post.add(vec![news(Rule::Breaker, "x", true)]);
        post.add(vec![news(Rule::Oldest, "x", true)]);
        assert_eq!(post.due(at(59)), []);
        assert_eq!(sizes(&post.due(at(60))), [1, 1]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_minute_has_more_than_may_be(
            most in 1u32..6,
            ticks in proptest::collection::vec((0usize..12, 1i64..40), 1..60),
        ) {
            let (mut post, mut now, mut added, mut sent) = (Post::new(most), 0, 0, Vec::new());
            let mut told = 0;
            for (count, pause) in ticks {
                let rules = [Rule::Breaker, Rule::Oldest, Rule::Quota];
                post.add((0..count).map(|n| news(rules[n % 3], &n.to_string(), n % 2 == 0)).collect());
                added += count;
                for message in post.due(at(now)) {
                    told += message.0.len();
                    sent.push(now);
                }
                now += pause;
            }
            now += 60;
            told += post.due(at(now)).iter().map(|message| message.0.len()).sum::<usize>();
            prop_assert_eq!(told, added);
            for begin in &sent {
                let within = sent.iter().filter(|at| (*begin..*begin + 60).contains(at)).count();
                prop_assert!(within <= most as usize, "{within} in a minute");
            }
        }
    }
}
