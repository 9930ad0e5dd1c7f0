//! Whether one condition implies another: the ground of "this route never takes any mail". Sound, not complete: what
//! cannot be shown is taken as not implied.

use crate::config::{AddressPattern, Condition, DomainPattern, Glob, SizeOrder, SizeTest, Test};

/// Whatever `specific` takes, `general` takes too.
pub(super) fn implies(specific: &Condition, general: &Condition) -> bool {
    match (specific.negated, general.negated) {
        (false, false) => test(&specific.test, &general.test),
        (true, true) => test(&general.test, &specific.test),
        (true, false) | (false, true) => false,
    }
}

fn test(specific: &Test, general: &Test) -> bool {
    match (specific, general) {
        (Test::Sender(s), Test::Sender(g)) | (Test::Recipient(s), Test::Recipient(g)) => each(s, g, address),
        (Test::SenderDomain(s), Test::SenderDomain(g)) | (Test::RecipientDomain(s), Test::RecipientDomain(g)) => {
            each(s, g, domain)
        }
        // An address pattern whose domain is covered says as much of the domain.
        (Test::Sender(s), Test::SenderDomain(g)) | (Test::Recipient(s), Test::RecipientDomain(g)) => {
            each(s, g, |s, g| s.domain().is_some_and(|s| domain(s, g)))
        }
        (Test::Listener(s), Test::Listener(g)) | (Test::User(s), Test::User(g)) => each(s, g, any_text),
        (Test::Client(s), Test::Client(g)) => each(s, g, |s, g| g.contains(s)),
        (Test::Header(s), Test::Header(g)) => g.iter().all(|(name, globs)| {
            s.iter().any(|(other, specific)| other.eq_ignore_ascii_case(name) && each(specific, globs, any_text))
        }),
        (Test::Size(s), Test::Size(g)) => {
            let ((s_from, s_to), (g_from, g_to)) = (range(*s), range(*g));
            g_from <= s_from && s_to <= g_to
        }
        _ => false,
    }
}

fn each<S, G>(specific: &[S], general: &[G], covers: impl Fn(&S, &G) -> bool) -> bool {
    specific.iter().all(|s| general.iter().any(|g| covers(s, g)))
}

fn domain(specific: &DomainPattern, general: &DomainPattern) -> bool {
    glob(&specific.to_string(), &general.to_string())
}

fn any_text(specific: &Glob, general: &Glob) -> bool {
    glob(&specific.to_string().to_lowercase(), &general.to_string().to_lowercase())
}

fn address(specific: &AddressPattern, general: &AddressPattern) -> bool {
    let (specific, general) = (specific.to_string(), general.to_string());
    match (specific.rsplit_once('@'), general.rsplit_once('@')) {
        (Some(s), Some(g)) => glob(s.0, g.0) && glob(s.1, g.1),
        // The null reverse-path has no @.
        (None, _) | (_, None) => specific == general,
    }
}

/// `general` matches every text that `specific` matches: shown by matching it against `specific` as a text in which a
/// star is a character that only a star covers.
fn glob(specific: &str, general: &str) -> bool {
    let (specific, general): (Vec<char>, Vec<char>) = (specific.chars().collect(), general.chars().collect());
    let (mut s, mut g) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while s < specific.len() {
        if general.get(g) == Some(&'*') {
            back = Some((s, g));
            g += 1;
        } else if general.get(g) == specific.get(s) {
            s += 1;
            g += 1;
        } else if let Some((from, star)) = back {
            back = Some((from + 1, star));
            s = from + 1;
            g = star + 1;
        } else {
            return false;
        }
    }
    general[g..].iter().all(|&c| c == '*')
}

/// The sizes that the test takes, both ends included.
fn range(test: SizeTest) -> (u64, u64) {
    match test.order {
        SizeOrder::Less => (0, test.size.0.saturating_sub(1)),
        SizeOrder::LessOrEqual => (0, test.size.0),
        SizeOrder::Greater => (test.size.0.saturating_add(1), u64::MAX),
        SizeOrder::GreaterOrEqual => (test.size.0, u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_glob_covers_what_it_matches_and_no_more() {
        for (specific, general, covered) in [
            ("a.example", "*.example", true),
            ("*.a.example", "*.example", true),
            ("*.example", "*.a.example", false),
            ("example", "*.example", false),
            ("*", "*", true),
            ("*", "*a*", false),
            ("a*c", "a*", true),
            ("a*", "a*c", false),
            ("**", "*", true),
            ("", "*", true),
        ] {
            assert_eq!(glob(specific, general), covered, "{specific} {general}");
        }
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(specific in "[ab*]{1,6}", general in "[ab*]{1,6}", text in "[ab]{0,8}") {
            let (s, g) = (Glob::parse(&specific).unwrap(), Glob::parse(&general).unwrap());
            if glob(&specific, &general) && s.matches(&text) {
                prop_assert!(g.matches(&text), "{specific} {general} {text}");
            }
        }
    }
}
