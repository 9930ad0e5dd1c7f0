//! Content written ahead: back-pressure, removal of what nobody owns.

use super::disk::Disk;
use super::*;

async fn spooled(queue: &Queue, n: u128, size: usize) -> Spooled {
    let mut spool = queue.spool(mid(n));
    for piece in octets(n, size).chunks(7001) {
        spool.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert_eq!(spool.size(), size as u64);
    spool.finish().await.unwrap()
}

#[tokio::test]
async fn what_is_spooled_reads_back() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let chunk = CHUNK;
    for (n, size) in (1u128..).zip([0, 1, chunk - 1, chunk, chunk + 1, 20 * chunk, 20 * chunk + 1]) {
        let mut message = message(n, size, vec![leg("a", 0, &[0])]);
        message.content = NewContent::Spooled(spooled(&queue, n, size).await);
        let envelope = message.envelope.clone();
        queue.accept(message).await.unwrap();
        file::assert_reads(&queue.content(mid(n), &envelope), &octets(n, size)).await;
    }
    queue.close().await;
    crash::tables_agree(&disk, 0);
}

#[tokio::test]
async fn what_nobody_owns_is_removed() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let size = 6 * CHUNK;
    let mut unfinished = queue.spool(mid(1));
    unfinished.write(octets(1, size)).await.unwrap();
    drop(unfinished);
    drop(spooled(&queue, 2, size).await);
    // Finished, and refused: it is another message's.
    let mut other = message(3, size, vec![leg("a", 0, &[0])]);
    other.content = NewContent::Spooled(spooled(&queue, 4, size).await);
    queue.accept(other).await.unwrap_err();
    // Accepted for nobody.
    let mut nobody = message(5, size, vec![]);
    nobody.content = NewContent::Spooled(spooled(&queue, 5, size).await);
    queue.accept(nobody).await.unwrap();
    queue.close().await;
    crash::tables_agree(&disk, 0);
}

#[tokio::test]
async fn what_a_crash_left_is_removed_after_the_start() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let mut spool = queue.spool(mid(1));
    spool.write(octets(1, 10 * CHUNK)).await.unwrap();
    // A later acceptance is committed after the chunks.
    queue.accept(message(2, 10, vec![leg("a", 0, &[0])])).await.unwrap();
    disk.cut_power(1);
    assert_eq!(disk.names().iter().filter(|name| bodies::mid_of(name).is_some()).count(), 1, "something was left");
    let again = on(&disk).unwrap();
    again.close().await;
    crash::tables_agree(&disk, 0);
    drop(spool);
}

#[tokio::test]
async fn a_chunk_that_was_lost_fails_the_message() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let mut spool = queue.spool(mid(1));
    spool.write(octets(1, 2 * CHUNK)).await.unwrap();
    disk.leave_room(Some(0));
    let failed = loop {
        match spool.write(octets(1, CHUNK)).await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, QueueError::Full { .. }), "{failed}");
    disk.leave_room(None);
    // Though the disk has room again, this content has a gap.
    spool.finish().await.unwrap_err();
}

#[tokio::test]
async fn a_write_that_was_cut_off_leaves_no_whole_content() {
    let queue = on(&disk::Disk::default()).unwrap();
    let mut spool = queue.spool(mid(1));
    let mut write = Box::pin(spool.write(octets(1, 30 * CHUNK)));
    // It waits for commits; where those were faster than it, nothing was cut off.
    if futures_util::poll!(&mut write).is_ready() {
        return;
    }
    drop(write);
    spool.write(octets(1, 10)).await.unwrap_err();
    spool.finish().await.unwrap_err();
}
