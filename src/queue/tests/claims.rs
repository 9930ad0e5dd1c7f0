//! Leases, lanes and nudges.

use super::*;

async fn queue_with(legs: Vec<Vec<Leg>>) -> Queue {
    let queue = on(&disk::Disk::default()).unwrap();
    for (n, legs) in (1..).zip(legs) {
        queue.accept(message(n, 50, legs)).await.unwrap();
    }
    indexed(&queue).await;
    queue
}

fn ids(claims: &[Claim]) -> Vec<(u128, u32)> {
    claims.iter().map(|claim| (claim.mid.bits() - mid(0).bits(), claim.number)).collect()
}

#[tokio::test]
async fn claims_are_of_one_lane_in_due_order_and_never_twice() {
    let queue = queue_with(vec![
        vec![leg("a", 9, &[0]), leg("ab", 0, &[1])],
        vec![leg("a", 3, &[0]), leg("a/x.example", 0, &[1])],
        vec![leg("a", 5, &[0]), leg("a", 100, &[1])],
    ])
    .await;
    let a = lane("a");
    let early = claim_due(&queue, &a, t(2), 10).await.unwrap();
    assert!(early.claims.is_empty());
    assert_eq!(early.next_due, Some(t(3)));
    let two = claim_due(&queue, &a, t(50), 2).await.unwrap();
    assert_eq!((ids(&two.claims), two.next_due), (vec![(2, 0), (3, 0)], Some(t(9))));
    let rest = claim_due(&queue, &a, t(50), 2).await.unwrap();
    assert_eq!((ids(&rest.claims), rest.next_due), (vec![(1, 0)], Some(t(100))));
    assert!(queue.claim_one(mid(1), 0).await.unwrap().is_none(), "it is under lease");
    assert_eq!(ids(&[queue.claim_one(mid(3), 1).await.unwrap().unwrap()]), [(3, 1)]);
    let none = claim_due(&queue, &a, t(1000), 2).await.unwrap();
    assert_eq!((ids(&none.claims), none.next_due), (vec![], None));
    queue.release(mid(3), 0);
    assert_eq!(ids(&claim_due(&queue, &a, t(50), 2).await.unwrap().claims), [(3, 0)]);
}

#[tokio::test]
async fn a_lane_is_nudged_by_what_comes_and_what_comes_back() {
    let queue = queue_with(vec![vec![leg("a", 9, &[0]), held("h", &[1])], vec![leg("a", 4, &[0])]]).await;
    assert_eq!(queue.nudged().await, [LaneDue { lane: lane("a"), due: t(4) }]);
    let claim = queue.claim_one(mid(1), 1).await.unwrap().unwrap();
    queue.release(claim.mid, claim.number);
    let claim = claim_due(&queue, &lane("a"), t(4), 5).await.unwrap().claims.remove(0);
    queue.release(claim.mid, claim.number);
    assert_eq!(queue.nudged().await, [LaneDue { lane: lane("a"), due: t(4) }], "and nothing for what is held");
    let claim = claim_due(&queue, &lane("a"), t(4), 5).await.unwrap().claims.remove(0);
    queue.settle(Settled { legs: vec![leg("b/c.example", 70, &[0])], ..done(&claim) }).await.unwrap();
    indexed(&queue).await;
    assert_eq!(queue.nudged().await, [LaneDue { lane: lane("b/c.example"), due: t(70) }]);
}

#[tokio::test]
async fn a_leg_is_settled_in_parts() {
    let queue = queue_with(vec![vec![leg("a", 0, &[0, 1, 2])]]).await;
    let claim = claim_due(&queue, &lane("a"), t(0), 1).await.unwrap().claims.remove(0);
    let part = Settled { recipients: vec![1], legs: vec![leg("b", 9, &[1])], ..done(&claim) };
    queue.settle(part).await.unwrap();
    assert!(queue.claim_one(claim.mid, 0).await.unwrap().is_none(), "two recipients are under way still");
    let listed = queue.message(claim.mid).await.unwrap().unwrap();
    let seen: Vec<_> = listed.legs.iter().map(|(n, leg, leased)| (*n, leg.recipients.len(), *leased)).collect();
    assert_eq!(seen, [(0, 2, true), (1, 1, false)]);
    queue.settle(Settled { recipients: vec![2, 0], ..done(&claim) }).await.unwrap();
    let claim = queue.claim_one(claim.mid, 1).await.unwrap().unwrap();
    assert_eq!(claim.leg.recipients[0].index, 1);
    queue.settle(done(&claim)).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

#[tokio::test]
async fn a_dropped_claim_leases_nothing() {
    let queue = queue_with(vec![vec![leg("a", 0, &[0])]]).await;
    for _ in 0..20 {
        let a = lane("a");
        let mut claim = Box::pin(claim_due(&queue, &a, t(0), 1));
        // Polled once, the read is under way; then nobody wants it any more. Where it was that fast, it is given back.
        if let std::task::Poll::Ready(claimed) = futures_util::poll!(&mut claim) {
            claimed.unwrap().claims.iter().for_each(|claim| queue.release(claim.mid, claim.number));
        }
        drop(claim);
    }
    loop {
        let mut claimed = claim_due(&queue, &lane("a"), t(0), 1).await.unwrap();
        match claimed.claims.pop() {
            Some(_) => break,
            // A dropped read that still runs: its lease comes back with a nudge.
            None => drop(queue.nudged().await),
        }
    }
}

#[tokio::test]
async fn a_walk_sees_all_that_is_not_under_way() {
    let queue = queue_with(vec![vec![leg("a", 0, &[0]), held("b", &[1])], vec![leg("c", 9, &[0])]]).await;
    let walk = |after, before, most| queue.walk(after, before, most);
    assert!(walk(None, t(0), 9).await.unwrap().is_empty(), "nothing is that old");
    let first = walk(None, t(1), 2).await.unwrap();
    assert_eq!(ids(&first), [(1, 0), (1, 1)]);
    assert_eq!(ids(&walk(Some((mid(1), 1)), t(1), 2).await.unwrap()), [(2, 0)]);
    assert!(walk(Some((mid(2), 0)), t(1), 2).await.unwrap().is_empty());
    assert!(walk(Some((mid(2), 0)), t(-1), 2).await.unwrap().is_empty());
    queue.claim_one(mid(1), 1).await.unwrap().unwrap();
    assert_eq!(ids(&walk(None, t(1), 9).await.unwrap()), [(1, 0), (2, 0)]);
}

#[tokio::test]
async fn many_tasks_never_get_the_same_leg() {
    let queue = queue_with((0..60).map(|_| vec![leg("a", 0, &[0])]).collect()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let claimed = claim_due(&queue, &lane("a"), t(0), 3).await.unwrap();
                    if claimed.claims.is_empty() {
                        return mine;
                    }
                    for claim in claimed.claims {
                        mine.push(claim.mid);
                        queue.settle(done(&claim)).await.unwrap();
                    }
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (1..=60).map(mid).collect::<Vec<_>>());
}
