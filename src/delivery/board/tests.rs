//! Turns, gates and alarms.

use super::*;
use crate::delivery::fixtures::{moment, provider};

fn lane(name: &str) -> Lane {
    Lane { route: RouteName::new(name), destination: None, via: None }
}

fn nudge(board: &mut Board, name: &str, priority: Priority, due: u64, now: u64) {
    board.nudge(LaneDue { lane: lane(name), due: moment(due) }, priority, moment(now));
}

fn line(board: &mut Board) -> String {
    let names = std::iter::from_fn(|| board.next()).map(|lane| lane.route.to_string());
    names.collect::<Vec<_>>().join(" ")
}

fn gate() -> Gate {
    Gate::Provider(provider("p"))
}

#[test]
fn lanes_stand_in_line_by_priority_and_then_by_arrival() {
    let mut board = Board::default();
    for (name, priority) in
        [("b1", Priority::Bulk), ("n1", Priority::Normal), ("h1", Priority::High), ("n2", Priority::Normal)]
    {
        nudge(&mut board, name, priority, 0, 5);
        nudge(&mut board, name, priority, 1, 5);
    }
    assert_eq!(line(&mut board), "h1 n1 n2 b1");
}

#[test]
fn a_lane_sleeps_until_its_first_leg_is_due_and_goes_when_it_is_empty() {
    let mut board = Board::default();
    nudge(&mut board, "a", Priority::Normal, 100, 0);
    nudge(&mut board, "a", Priority::Normal, 50, 0);
    assert_eq!((line(&mut board), board.next_alarm()), (String::new(), Some(moment(50))));
    board.ring(moment(49));
    assert_eq!(line(&mut board), "");
    board.ring(moment(50));
    assert_eq!(line(&mut board), "a");
    board.reading(&lane("a"));
    board.has_read(&lane("a"), Vec::new(), None, moment(50));
    assert_eq!((board.lanes().count(), board.next_alarm()), (0, None));
}

#[test]
fn a_nudge_during_a_read_is_not_lost() {
    let mut board = Board::default();
    nudge(&mut board, "a", Priority::Normal, 0, 0);
    assert_eq!(line(&mut board), "a");
    board.reading(&lane("a"));
    nudge(&mut board, "a", Priority::Normal, 0, 0);
    assert_eq!(line(&mut board), "", "the read is under way");
    board.has_read(&lane("a"), Vec::new(), None, moment(0));
    assert_eq!(line(&mut board), "a");
}

#[test]
fn an_open_gate_lets_on_one_after_the_other_and_leaves_nobody_behind() {
    let mut board = Board::default();
    for name in ["a", "b", "c"] {
        nudge(&mut board, name, Priority::Normal, 0, 0);
    }
    assert_eq!(line(&mut board), "a b c");
    board.enter(gate());
    for name in ["a", "b", "c"] {
        board.park(&lane(name), [gate()], None);
    }
    let open = |_: &Gate, in_use: usize| in_use < 1;
    assert!(!board.let_on(open), "nothing has changed");
    board.leave(&gate());
    // The first passes by without taking the slot: the next is let on, too.
    assert!(board.let_on(open));
    assert_eq!(line(&mut board), "a");
    assert!(board.let_on(open));
    assert_eq!(line(&mut board), "b");
    board.enter(gate());
    assert!(!board.let_on(open), "taken");
    board.leave(&gate());
    assert!(board.let_on(open));
    assert_eq!(line(&mut board), "c");
    assert!(!board.let_on(open));
    assert!(board.gates.is_empty() && board.stirred.is_empty());
}

#[test]
fn who_was_let_on_in_vain_keeps_its_turn() {
    let mut board = Board::default();
    for name in ["a", "b"] {
        nudge(&mut board, name, Priority::Normal, 0, 0);
    }
    line(&mut board);
    board.park(&lane("a"), [gate()], None);
    board.park(&lane("b"), [gate()], None);
    board.shut(gate(), moment(10));
    board.ring(moment(10));
    assert!(board.let_on(|_, _| true));
    assert_eq!(line(&mut board), "a");
    // Another took the permit before it.
    board.park(&lane("a"), [gate()], None);
    board.shut(gate(), moment(20));
    assert!(!board.let_on(|_, _| true));
    board.ring(moment(20));
    assert!(board.let_on(|_, _| true));
    assert_eq!(line(&mut board), "a");
    board.took_its_turn(&lane("a"));
    board.park(&lane("a"), [gate()], None);
    assert!(board.let_on(|_, _| true));
    assert_eq!(line(&mut board), "b");
}

#[test]
fn a_parked_lane_goes_on_by_its_alarm_and_leaves_all_gates() {
    let mut board = Board::default();
    nudge(&mut board, "a", Priority::Normal, 0, 0);
    line(&mut board);
    let other = Gate::Route(RouteName::new("r"));
    board.park(&lane("a"), [gate(), other.clone()], Some(moment(30)));
    nudge(&mut board, "a", Priority::Normal, 0, 0);
    assert_eq!(line(&mut board), "", "new mail does not wake it");
    board.ring(moment(30));
    assert_eq!(line(&mut board), "a");
    board.wake_all(&gate());
    board.wake_all(&other);
    assert_eq!(line(&mut board), "");
    assert!(board.gates.is_empty());
}
