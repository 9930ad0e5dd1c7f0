//! The folder's files: what lies there, taking one, putting a bad one aside. All of it blocks.
//!
//! A file that is being sent is `.MID.NAME.taken`: nobody else takes it, and when a crash comes between the queue's word
//! and its removal, the next start asks the queue for that mid instead of sending it twice.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::watch::{Ready, Stamp};
use crate::mail::{Mid, Timestamp};
use crate::os;

/// Files that are looked at in one go.
pub(super) const MOST_FILES: usize = 10_000;
/// Names are up to 255 octets; the mid and its dots take some of them.
const LONGEST_NAME: usize = 200;
const TAKEN: &str = ".taken";
/// Octets of one read.
pub(super) const PIECE: usize = 64 * 1024;

/// Names, and what their files look like.
pub(super) type Found = Vec<(OsString, Stamp)>;

/// A file that nobody else has now.
#[derive(Debug)]
pub(super) struct Claim {
    pub mid: Mid,
    /// Its name while it is being sent.
    pub taken: OsString,
    /// The name under which it was put there.
    pub name: String,
    pub stamp: Stamp,
    pub file: File,
}

/// Why a file was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// Somebody is still writing it.
    Unfinished,
    /// Somebody else took it, or took it back.
    Gone,
    /// It is no file that could be sent, whoever may read it.
    Bad(String),
    /// It cannot be read.
    Unreadable(io::Error),
    /// The folder lets nothing be taken.
    Folder(io::Error),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// The messages in the folder, the taken ones too.
pub(super) fn scan(path: &Path) -> io::Result<Found> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let wanted = is_taken(&name) || is_message(&name);
        // Not followed: a link is told to be none.
        if wanted
            && let Ok(metadata) = entry.metadata()
            && !metadata.is_dir()
        {
            found.push((name, Stamp::of(&metadata)));
            if found.len() >= MOST_FILES {
                break;
            }
        }
    }
    Ok(found)
}

/// Removes files that `waypost send` began so long ago and never finished; gives their number.
pub(super) fn sweep(path: &Path, now: Timestamp, age: Duration) -> io::Result<usize> {
    let mut gone = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_old = || {
            let metadata = entry.metadata().ok()?;
            let modified = Timestamp::try_from(metadata.modified().ok()?).ok()?;
            let old = Duration::try_from(now.duration_since(modified)).ok()?;
            Some(metadata.is_file() && old > age)
        };
        if is_half_sent(&entry.file_name()) && is_old().unwrap_or(false) && fs::remove_file(entry.path()).is_ok() {
            gone += 1;
        }
    }
    Ok(gone)
}

/// `.send-NUMBER.tmp`, as `waypost send` names what it writes.
fn is_half_sent(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix(".send-")?.strip_suffix(".tmp"));
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(|octet| octet.is_ascii_hexdigit()))
}

/// `*.eml`, and not hidden: what begins with a dot is still being written.
fn is_message(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let end = name.len().saturating_sub(4);
    !name.starts_with(b".") && end > 0 && name[end..].eq_ignore_ascii_case(b".eml")
}

/// `.MID.NAME.taken`
pub(super) fn is_taken(name: &OsStr) -> bool {
    taken_parts(name).is_some()
}

/// Mid and name of a file that was taken.
pub(super) fn taken_parts(name: &OsStr) -> Option<(Mid, &str)> {
    let (mid, name) = name.to_str()?.strip_prefix('.')?.strip_suffix(TAKEN)?.split_once('.')?;
    Some((mid.parse().ok()?, name))
}

/// The name as logs and `badmail` have it.
pub(super) fn plain_name(name: &OsStr) -> String {
    let name = taken_parts(name).map_or_else(|| name.to_string_lossy(), |(_, name)| name.into());
    let plain = |c: char| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c };
    let mut short = String::new();
    for c in name.chars().map(plain) {
        if short.len() + c.len_utf8() > LONGEST_NAME {
            break;
        }
        short.push(c);
    }
    short
}

/// Takes a file, if it is whole.
pub(super) fn claim(folder: &Path, ready: &Ready, mid: Mid) -> Result<Claim, NotTaken> {
    let path = folder.join(&ready.name);
    let mut file = match os::open_plain(&path) {
        Ok(file) => file,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound => NotTaken::Gone,
                io::ErrorKind::InvalidInput => {
                    NotTaken::Bad("it is no plain file: links and pipes are not sent".into())
                }
                _ => NotTaken::Unreadable(error),
            });
        }
    };
    let opened = file.metadata().map_err(NotTaken::Unreadable)?;
    if Stamp::of(&opened) != ready.stamp {
        return Err(NotTaken::Unfinished);
    }
    if !ready.old && !ends_a_line(&mut file).map_err(NotTaken::Unreadable)? {
        return Err(NotTaken::Unfinished);
    }
    // A writer that locks what it writes is waited for; where locks are not known, they say nothing.
    if matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)) {
        return Err(NotTaken::Unfinished);
    }
    let name = plain_name(&ready.name);
    let taken = OsString::from(format!(".{mid}.{name}{TAKEN}"));
    fs::rename(&path, folder.join(&taken)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NotTaken::Gone,
        _ => NotTaken::Folder(error),
    })?;
    // Under that name there may have been another file by then: that one is taken now, and its turn comes.
    let same = fs::symlink_metadata(folder.join(&taken)).is_ok_and(|now| os::is_same_file(&now, &opened));
    if !same {
        return Err(NotTaken::Gone);
    }
    Ok(Claim { mid, taken, name, stamp: ready.stamp, file })
}

/// An empty file does.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    file.rewind()?;
    Ok(last == *b"\n")
}

impl Claim {
    /// The next piece; empty at the end.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE.min(usize::try_from(self.stamp.size).unwrap_or(PIECE) + 1));
        (&self.file).take(PIECE as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }

    /// Nobody has written to it since it was looked at.
    pub fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }
}

/// Puts a file aside, with the reason beside it; gives where it lies.
pub(super) fn put_aside(from: &Path, name: &str, badmail: &Path, reason: &str) -> io::Result<PathBuf> {
    os::create_private_folder(badmail)?;
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "eml"));
    for n in 1.. {
        let stem = if n == 1 { stem.to_owned() } else { format!("{stem}-{n}") };
        let (to, why) = (badmail.join(format!("{stem}.{extension}")), badmail.join(format!("{stem}.reason.txt")));
        if fs::symlink_metadata(&to).is_ok() {
            continue;
        }
        match os::create_private(&why) {
            Ok(mut file) => file.write_all(reason.as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        return match move_to(from, &to) {
            Ok(()) => Ok(to),
            Err(error) => {
                let _ = fs::remove_file(why);
                Err(error)
            }
        };
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            io::copy(&mut os::open_plain(from)?, &mut os::create_private(to)?)?;
            File::open(to)?.sync_all()?;
            fs::remove_file(from)
        }
        moved => moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_known_by_their_names() {
        for (name, message) in [
            ("a.eml", true),
            ("A.EML", true),
            ("a.b.eml", true),
            (".a.eml", false),
            (".eml", false),
            ("a.eml.tmp", false),
            ("a.txt", false),
            ("eml", false),
            ("", false),
        ] {
            assert_eq!(is_message(OsStr::new(name)), message, "{name}");
        }
    }

    #[test]
    fn what_send_left_half_written_is_swept_once_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let names = [".send-0123456789abcdef.tmp", "send-0123456789abcdef.eml", ".send-x.tmp", ".x.eml", "a.eml"];
        for name in names {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let modified = fs::metadata(folder.path().join(names[0])).unwrap().modified().unwrap();
        let hour = Duration::from_secs(3600);
        let at = |after: Duration| Timestamp::try_from(modified + after).unwrap();
        let there = || folder.path().join(names[0]).exists();
        assert_eq!((sweep(folder.path(), at(hour), hour).unwrap(), there()), (0, true), "it may still be written");
        assert_eq!((sweep(folder.path(), at(hour * 2), hour).unwrap(), there()), (1, false));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), names.len() - 1);
    }

    #[test]
    fn a_taken_file_keeps_its_name() {
        let mid = Mid::from_bits(7);
        let taken = OsString::from(format!(".{mid}.a.b.eml.taken"));
        assert_eq!(taken_parts(&taken), Some((mid, "a.b.eml")));
        assert_eq!(plain_name(&taken), "a.b.eml");
        for other in ["a.eml", ".x.a.eml.taken", ".taken", ".send-1.tmp"] {
            assert_eq!(taken_parts(OsStr::new(other)), None, "{other}");
        }
        assert_eq!(plain_name(OsStr::new(&"ä".repeat(300))).len(), LONGEST_NAME);
        assert_eq!(plain_name(OsStr::new("a\n/b.eml")), "a__b.eml");
    }

    #[test]
    fn bad_files_of_one_name_all_find_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let (from, badmail) = (folder.path().join("x"), folder.path().join("badmail"));
        for (n, name) in [(1, "a.eml"), (2, "a-2.eml"), (3, "a-3.eml")] {
            fs::write(&from, format!("{n}")).unwrap();
            let at = put_aside(&from, "a.eml", &badmail, &format!("reason {n}")).unwrap();
            assert_eq!(at, badmail.join(name));
            assert_eq!(fs::read_to_string(&at).unwrap(), format!("{n}"));
            let why = badmail.join(name.replace(".eml", ".reason.txt"));
            assert_eq!(fs::read_to_string(why).unwrap(), format!("reason {n}"));
            assert!(!from.exists());
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_half_lines_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "key\n").unwrap();
        std::os::unix::fs::symlink("secret", folder.path().join("link.eml")).unwrap();
        fs::write(folder.path().join("half.eml"), "To: a@b.exam").unwrap();
        fs::write(folder.path().join("whole.eml"), "To: a@b.example\n").unwrap();
        let mut found = scan(folder.path()).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let take = |n: usize, old: bool| {
            let (name, stamp) = found[n].clone();
            claim(folder.path(), &Ready { name, stamp, old }, Mid::from_bits(n as u128))
        };
        assert!(matches!(take(0, false), Err(NotTaken::Unfinished)));
        assert!(matches!(take(1, false), Err(NotTaken::Bad(_))));
        assert_eq!(take(2, false).unwrap().read().unwrap(), b"To: a@b.example\n");
        assert!(matches!(take(2, false), Err(NotTaken::Gone)));
        // It grew between the look and the claim.
        fs::write(folder.path().join("half.eml"), "To: a@b.example\n").unwrap();
        assert!(matches!(take(0, true), Err(NotTaken::Unfinished)));
        let locked = File::open(folder.path().join("half.eml")).unwrap();
        locked.lock().unwrap();
        found = scan(folder.path()).unwrap();
        found.retain(|(name, _)| name == "half.eml");
        let take = || {
            claim(folder.path(), &Ready { name: found[0].0.clone(), stamp: found[0].1, old: true }, Mid::from_bits(9))
        };
        assert!(matches!(take(), Err(NotTaken::Unfinished)));
        locked.unlock().unwrap();
        assert_eq!(take().unwrap().name, "half.eml");
    }
}
