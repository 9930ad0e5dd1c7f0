//! Who has signed in at the pages. In memory: a restart signs everybody out. Time is an argument.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::admin::Operator;
use crate::mail::Timestamp;

/// A day at the desk; whoever is still there signs in again.
pub const LASTS: Duration = Duration::from_secs(12 * 3600);
/// At one time; one more ends the one that would end first.
const MOST: usize = 256;

/// One browser that somebody signed in with.
#[derive(Debug, Clone)]
pub struct Session {
    /// What its cookie says: 256 random bits.
    pub id: Arc<str>,
    pub operator: Operator,
    /// What each form of it sends along, which no other site knows.
    pub form_token: Arc<str>,
    ends: Timestamp,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    /// What the next page tells.
    notice: Option<Notice>,
}

/// What became of something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub good: bool,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<Arc<str>, Entry>>);

impl Sessions {
    pub fn begin(&self, operator: Operator, now: Timestamp) -> Session {
        let ends = now.saturating_add(LASTS).unwrap_or(now);
        let session = Session { id: random(), operator, form_token: random(), ends };
        let mut all = self.all();
        all.retain(|_, entry| now < entry.session.ends);
        if all.len() >= MOST
            && let Some(first) = all.values().min_by_key(|entry| entry.session.ends).map(|e| e.session.id.clone())
        {
            all.remove(&first);
        }
        all.insert(session.id.clone(), Entry { session: session.clone(), notice: None });
        session
    }

    pub fn of(&self, id: &str, now: Timestamp) -> Option<Session> {
        let session = self.all().get(id)?.session.clone();
        (now < session.ends).then_some(session)
    }

    pub fn end(&self, id: &str) {
        self.all().remove(id);
    }

    /// For the next page that the session looks at.
    pub fn tell(&self, id: &str, notice: Notice) {
        if let Some(entry) = self.all().get_mut(id) {
            entry.notice = Some(notice);
        }
    }

    pub fn take_notice(&self, id: &str) -> Option<Notice> {
        self.all().get_mut(id)?.notice.take()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> Arc<str> {
    BASE64.encode(rand::random::<[u8; 32]>()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn alice() -> Operator {
        Operator("alice".to_owned())
    }

    #[test]
    fn a_session_ends_by_itself_or_when_it_is_ended() {
        let sessions = Sessions::default();
        let (one, two) = (sessions.begin(alice(), at(0)), sessions.begin(alice(), at(0)));
        assert!(one.id != two.id && one.form_token != two.form_token && one.id != one.form_token);
        let end = LASTS.as_secs() as i64;
        assert_eq!(sessions.of(&one.id, at(end - 1)).unwrap().operator, alice());
        assert!(sessions.of(&one.id, at(end)).is_none());
        assert!(sessions.of("", at(0)).is_none());
        sessions.end(&two.id);
        assert!(sessions.of(&two.id, at(0)).is_none());
    }

    #[test]
    fn no_number_of_sign_ins_takes_more_memory() {
        let sessions = Sessions::default();
        let first = sessions.begin(alice(), at(0));
        for n in 1..=MOST as i64 {
            sessions.begin(alice(), at(n));
        }
        assert_eq!(sessions.all().len(), MOST);
        assert!(sessions.of(&first.id, at(1)).is_none(), "the oldest had to go");
    }

    #[test]
    fn a_notice_is_told_once() {
        let sessions = Sessions::default();
        let session = sessions.begin(alice(), at(0));
        let notice = Notice { good: true, text: "3 messages held".to_owned() };
        sessions.tell(&session.id, notice.clone());
        assert_eq!(sessions.take_notice(&session.id), Some(notice));
        assert_eq!(sessions.take_notice(&session.id), None);
    }
}
