//! The system's own name.

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
