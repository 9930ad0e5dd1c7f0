//! The system's own name, and its user's.

/// What the system calls itself, where it says.
pub fn hostname() -> Option<String> {
    let named = |text: String| Some(text.trim().to_owned()).filter(|name| !name.is_empty());
    if cfg!(windows) {
        return std::env::var("COMPUTERNAME").ok().and_then(named);
    }
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()
        .and_then(named)
}

/// Who runs this program: what the environment says, else, as under a web server, the user that owns the process.
pub fn username() -> Option<String> {
    let named = |variable: &&str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    ["LOGNAME", "USER", "USERNAME"].iter().find_map(named).or_else(owner)
}

/// The user that a file belongs to, where that is another one than who runs this program.
pub fn other_owner(path: &std::path::Path) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt as _;
        let owner = std::fs::metadata(path).ok()?.uid();
        (owner != std::fs::metadata("/proc/self").ok()?.uid()).then(|| name_of(owner))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

#[cfg(target_os = "linux")]
fn owner() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    Some(name_of(std::fs::metadata("/proc/self").ok()?.uid()))
}

#[cfg(target_os = "linux")]
fn name_of(uid: u32) -> String {
    let uid = uid.to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid{uid}"))
}

#[cfg(not(target_os = "linux"))]
fn owner() -> Option<String> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_process_has_an_owner() {
        assert!(owner().is_some_and(|name| !name.is_empty()));
    }
}
