//! The journal's files: damaged, missing, done with.

use super::disk::Disk;
use super::*;

async fn filled(disk: &Disk, count: u128, size: usize) -> Queue {
    let queue = on(disk).unwrap();
    for n in 1..=count {
        queue.accept(message(n, size, vec![leg("a", 0, &[0])])).await.unwrap();
    }
    queue
}

async fn settle(queue: &Queue, numbers: impl IntoIterator<Item = u128>) {
    for n in numbers {
        let claim = queue.claim_one(mid(n), 0).await.unwrap().unwrap();
        queue.settle(done(&claim)).await.unwrap();
    }
}

fn segments(disk: &Disk) -> Vec<String> {
    disk.names().into_iter().filter(|name| crate::queue::journal::segment_of(name).is_some()).collect()
}

/// Crashes the queue so that the journal is ahead of its index, by all that was ever told.
async fn crashed(count: u128) -> Disk {
    let disk = Disk::default();
    let queue = filled(&disk, count, 3000).await;
    disk.cut_power(1);
    drop(queue);
    disk
}

#[tokio::test]
async fn any_bit_that_turns_where_it_was_durable_is_told() {
    let size = crashed(6).await.octets();
    for at in (0..size - 3200).step_by(97) {
        let disk = crashed(6).await;
        let name = segments(&disk)[0].clone();
        disk.damage(&name, at);
        match on(&disk) {
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("0000000001.journal") && text.contains("damaged"), "octet {at}: {text}");
                assert!(text.contains("left as it is"), "octet {at}: {text}");
            }
            Ok(queue) => panic!("octet {at} was not missed: {:?}", queue.depth().await),
        }
    }
}

#[tokio::test]
async fn a_group_that_was_never_acknowledged_may_be_torn() {
    let size = crashed(6).await.octets();
    for at in [size - 1, size - 1000, size - 3000] {
        let disk = crashed(6).await;
        disk.damage(&segments(&disk)[0], at);
        let queue = on(&disk).unwrap();
        assert_eq!(queue.depth().await.unwrap().messages, 5, "octet {at}");
        // And goes on behind it, once more after the next crash.
        queue.accept(message(70, 100, vec![leg("a", 0, &[0])])).await.unwrap();
        disk.cut_power(2);
        assert_eq!(on(&disk).unwrap().depth().await.unwrap().messages, 6);
    }
}

#[tokio::test]
async fn content_that_was_altered_is_not_sent() {
    let disk = Disk::default();
    let queue = filled(&disk, 1, 3000).await;
    let envelope = queue.message(mid(1)).await.unwrap().unwrap().envelope;
    queue.close().await;
    let name = segments(&disk)[0].clone();
    disk.damage(&name, disk.octets() - 1500);
    let queue = on(&disk).unwrap();
    let error = queue.content(mid(1), &envelope).all().await.unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains(&name), "{error}");
}

#[tokio::test]
async fn a_segment_or_an_index_that_is_gone_is_told() {
    let disk = Disk::default();
    let queue = filled(&disk, 3, 3000).await;
    queue.close().await;
    let name = segments(&disk)[0].clone();
    disk.attach();
    disk.folder().remove(&name).unwrap();
    let error = on(&disk).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("put the file back"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    for _ in 0..2 {
        let queue = Queue::open(options(path.clone())).unwrap();
        queue.accept(message(1, 10, vec![leg("x", 0, &[0])])).await.unwrap();
        settle(&queue, [1]).await;
        queue.close().await;
    }
    let first = folder.path().join("queue.journal/0000000001.journal");
    assert!(!first.exists(), "the start began a second segment, and a checkpoint removed the first");
    std::fs::remove_file(&path).unwrap();
    let error = Queue::open(options(path)).unwrap_err().to_string();
    assert!(error.contains("put the index back"), "{error}");
}

#[tokio::test]
async fn what_is_delivered_leaves_the_disk() {
    let disk = Disk::default();
    let size = 1 << 20;
    let queue = filled(&disk, 80, size).await;
    assert!(disk.octets() > 80 * size && segments(&disk).len() == 2);
    settle(&queue, 1..=79).await;
    let queue = again(queue, &disk).await;
    let envelope = queue.message(mid(80)).await.unwrap().unwrap().envelope;
    assert!(queue.content(mid(80), &envelope).all().await.unwrap() == octets(80, size));
    settle(&queue, [80]).await;
    let queue = again(queue, &disk).await;
    assert!(disk.octets() < size, "{:?} {}", segments(&disk), disk.octets());
    queue.close().await;
    crash::tables_agree(&disk, 0);
}

/// Restarts it, and has it make a checkpoint.
async fn again(queue: Queue, disk: &Disk) -> Queue {
    queue.close().await;
    let queue = on(disk).unwrap();
    queue.accept(message(900, 10, vec![leg("b", 0, &[0])])).await.unwrap();
    settle(&queue, [900]).await;
    queue.close().await;
    on(disk).unwrap()
}

#[tokio::test]
async fn one_that_stays_keeps_little_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let size = 1 << 20;
    let queue = Queue::open(options(path.clone())).unwrap();
    for n in 1..=70 {
        queue.accept(message(n, size, vec![leg("a", 0, &[0])])).await.unwrap();
    }
    settle(&queue, (1..=70).filter(|n| *n != 30)).await;
    queue.close().await;
    let queue = Queue::open(options(path.clone())).unwrap();
    queue.accept(message(99, 10, vec![leg("a", 0, &[0])])).await.unwrap();
    settle(&queue, [99]).await;
    queue.close().await;
    let queue = Queue::open(options(path)).unwrap();
    let envelope = queue.message(mid(30)).await.unwrap().unwrap().envelope;
    assert!(queue.content(mid(30), &envelope).all().await.unwrap() == octets(30, size));
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt as _;
        let files = std::fs::read_dir(folder.path().join("queue.journal")).unwrap();
        let blocks: u64 = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum();
        assert!(blocks < 4 * size as u64, "{blocks} octets of the disk for one message of {size}");
    }
}
