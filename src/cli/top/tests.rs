//! What stands on the screen.

use super::keys::Key;
use super::rates::Rates;
use super::table::{Line, plain, width};
use super::view::View;
use crate::admin::Status;
use crate::cli::status::tests::{at, status};

/// In an outage; `seconds` after three o'clock.
fn outage(seconds: u64) -> Status {
    let moved = |of: u64| of + seconds * 100;
    let mut status = status(
        serde_json::json!([
            {"name": "sendgrid", "state": "open", "since": at("02:39:00"), "until": at("03:00:12"), "rate": 0.1,
             "last_error": {"at": at("02:59:42"), "outcome": "unavailable",
                "text": "503 4.4.0 down\r\n\u{1b}[2J for maintenance until further notice (api.sendgrid.com)"},
             "recent": {"span": 300, "attempts": 9, "outcomes": {}, "p50": 0.1, "p99": 10.2}},
            {"name": "ses-of-the-whole-european-union", "under_way": 3, "allowed": 4, "rate": 1234.5,
             "recent": {"span": 300, "attempts": 9, "outcomes": {}, "p50": 0.05, "p99": 0.3}},
            {"name": "mx", "state": "paused", "since": at("02:59:00"),
             "order": {"kind": "pause", "since": at("02:59:00"), "until": at("03:59:00"), "by": "alice", "reason": "new network"}},
        ]),
        serde_json::json!([
            {"name": "internal", "chain": [["sendgrid"]], "goes_to": [], "waits_until": at("03:00:12"), "waiting": 11,
             "oldest": at("02:40:00"), "accepted": moved(20), "delivered": 9},
            {"name": "everything-else", "chain": [["sendgrid"], ["ses-of-the-whole-european-union"]],
             "goes_to": ["ses-of-the-whole-european-union"], "accepted": moved(4691), "delivered": moved(4683),
             "deferred": seconds * 2, "bounced": seconds / 2, "held": 12345},
        ]),
    );
    status.now = at("03:00:00") + jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap());
    status
}

fn view() -> View {
    let mut view = View::new("every 1s".to_owned());
    view.answered(outage(0));
    view.answered(outage(2));
    view
}

fn text(lines: &[Line], wide: usize) -> String {
    for line in lines {
        let taken: usize = line.iter().map(|piece| width(&piece.text)).sum();
        assert!(taken <= wide, "{taken} > {wide}: {}", plain(line));
    }
    lines.iter().map(plain).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_outage_on_eighty_columns() {
    let lines = view().screen(80, 24, at("03:00:02"));
    assert_eq!(lines.len(), 24);
    insta::assert_snapshot!(text(&lines, 80), @r"
    waypost 1.2.3, up 2h00m, /etc/waypost                                  03:00:02Z
    in 200/s   delivered 100/s   deferred 2.0/s   bounced 0.5/s
    12 messages queued (4.8 MiB), the oldest waits 20m02s, 1 held

    PROVIDER            STATE    SINCE  RATE/S      P50/P99  NOW/MAX  LAST ERROR
    sendgrid            OUT     21m02s     0.1  100ms/10.2s     0/32  503 4.4.0 dow…
    ses-of-the-whole-…  well         -   1,235   50ms/300ms      3/4
    mx                  paused   1m02s     0.0            -     0/32  by alice: new…

    ROUTE            IN/S  OUT/S  QUEUED    HELD  OLDEST  GOES TO
    internal          100    0.0      11       0  20m02s  NOWHERE: waits until 03:0…
    everything-else   100    100       0  12,345       -  ses-of-the-whole-european…

    LISTENER  ADDRESS         CONNECTED  TLS  TAKEN  REFUSED  FAILED LOGINS
    apps      127.0.0.1:2525     7/1000    3  4,711        8              2








    q quit  p pause  s sort: as given  ↑↓ scroll                            every 1s
    ");
    let wide = text(&view().page(200, at("03:00:02")), 200);
    let error =
        "503 4.4.0 down\\r\\n\\u{1b}[2J for maintenance until further notice (api.sendgrid.com) (unavailable, 20s ago)";
    assert!(wide.contains(error), "{wide}");
}

#[test]
fn little_is_left_on_a_narrow_screen() {
    let mut view = view();
    assert!(view.pressed(Key::Sort, 12));
    let lines = view.screen(40, 12, at("03:00:02"));
    assert_eq!(lines.len(), 12);
    insta::assert_snapshot!(text(&lines, 40), @r"
    waypost 1.2.3, up 2h00m, /et…  03:00:02Z
    in 200/s   delivered 100/s
    12 messages queued (4.8 MiB), the oldes…

    PROVIDER          STATE    SINCE  RATE/S
    ses-of-the-whol…  well         -   1,235
    sendgrid          OUT     21m02s     0.1
    mx                paused   1m02s     0.0

    ROUTE            IN/S  OUT/S  QUEUED
    everything-else   100    100       0
    q quit  p pause  s sor…  lines 1-7 of 11
    ");
    for wide in 0..200 {
        for height in [0, 1, 2, 5, 12, 50] {
            let lines = view.screen(wide, height, at("03:00:02"));
            text(&lines, wide);
            assert_eq!(lines.len(), height, "{wide}×{height}");
        }
    }
}

#[test]
fn keys_scroll_sort_and_pause() {
    let mut view = view();
    let mut first = |keys: &[Key]| {
        assert!(keys.iter().all(|key| view.pressed(*key, 10)));
        let lines: Vec<String> = view.screen(80, 10, at("03:00:02")).iter().map(plain).collect();
        (lines[4].clone(), lines[9].clone())
    };
    // The tables have eleven lines, and there is room for five.
    let (top, foot) = first(&[]);
    assert!(top.starts_with("PROVIDER") && foot.ends_with("lines 1-5 of 11  every 1s"), "{top}\n{foot}");
    let (top, foot) = first(&[Key::Down, Key::Down]);
    assert!(top.starts_with("ses-of-the-whole-…") && foot.contains("lines 3-7 of 11"), "{top}\n{foot}");
    let (_, foot) = first(&[Key::End, Key::PageDown]);
    assert!(foot.contains("lines 7-11 of 11"), "{foot}");
    let (_, foot) = first(&[Key::Up]);
    assert!(foot.contains("lines 6-10 of 11"), "{foot}");
    let (_, foot) = first(&[Key::PageUp]);
    assert!(foot.contains("lines 2-6 of 11"), "{foot}");
    let (top, _) = first(&[Key::Home, Key::Down, Key::Sort]);
    assert!(top.starts_with("ses-of-the-whole-…"), "the busiest: {top}");
    let (top, foot) = first(&[Key::Sort, Key::Pause]);
    assert!(top.starts_with("sendgrid") && foot.contains("sort: worst") && foot.ends_with("PAUSED"), "{top}\n{foot}");
    let (_, foot) = first(&[Key::Sort, Key::Pause]);
    assert!(foot.contains("sort: as given") && foot.ends_with("every 1s"), "{foot}");
    assert!(!view.pressed(Key::Quit, 10));
}

#[test]
fn a_relay_that_is_silent_is_told_and_what_was_known_stays() {
    let mut view = View::new("every 1s".to_owned());
    assert_eq!(plain(&view.screen(80, 24, at("03:00:00"))[0]), "asking the relay …");
    view.not_answered(at("03:00:00"), "the relay is not running: there is no \u{7}file".to_owned());
    view.not_answered(at("03:00:01"), "the relay is not running: there is no \u{7}file".to_owned());
    let told = "NO ANSWER since 03:00:00Z (7s), asking on: the relay is not running: there is no \\u{7}file";
    assert_eq!(plain(&view.screen(100, 24, at("03:00:07"))[0]), told);
    view.answered(outage(0));
    view.answered(outage(1));
    view.not_answered(at("03:00:05"), "gone".to_owned());
    let lines = view.screen(80, 24, at("03:00:07"));
    let text = text(&lines, 80);
    assert!(text.contains("NO ANSWER since 03:00:05Z (2s), asking on: gone") && text.contains("sendgrid"), "{text}");
    assert!(text.contains("in -/s"), "what moves is not known: {text}");
    view.answered(outage(9));
    assert!(!self::text(&view.screen(80, 24, at("03:00:09")), 80).contains("NO ANSWER"));
}

#[test]
fn what_moves_is_counted_between_two_answers_of_one_relay() {
    let rates = Rates::between(&outage(0), &outage(2)).unwrap();
    assert_eq!((rates.all.accepted, rates.all.delivered, rates.all.deferred), (200.0, 100.0, 2.0));
    assert_eq!((rates.routes["internal"].accepted, rates.routes["internal"].delivered), (100.0, 0.0));
    assert_eq!(Rates::between(&outage(0), &outage(0)), None);
    let mut restarted = outage(2);
    restarted.started = at("02:59:59");
    assert_eq!(Rates::between(&outage(0), &restarted), None);
    // A route that is new has no past.
    let mut without = outage(0);
    without.routes.remove(0);
    assert_eq!(Rates::between(&without, &outage(2)).unwrap().all.accepted, 100.0);
}
