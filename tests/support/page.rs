//! Tables of `docs/` that are made by tests, so that they stay true. `WAYPOST_WRITE_DOCS=1` writes them anew.

use std::path::Path;

/// Compares the part of a page between `<!-- NAME -->` and `<!-- end -->` with `table`.
pub fn shows(page: &str, name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let mark = format!("<!-- {name} -->\n");
    let start = text.find(&mark).unwrap_or_else(|| panic!("{page} has no {mark}")) + mark.len();
    let end = start + text[start..].find("<!-- end -->").unwrap();
    if std::env::var_os("WAYPOST_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{table}{}", &text[..start], &text[end..])).unwrap();
        return;
    }
    assert_eq!(&text[start..end], table, "{page} is out of date: run this test with WAYPOST_WRITE_DOCS=1");
}

/// Octets as a table's cell shows them.
pub fn cell(octets: &[u8]) -> String {
    let mut shown = String::new();
    for &octet in octets {
        match octet {
            b'\r' => shown.push_str("\\r"),
            b'\n' => shown.push_str("\\n"),
            0 => shown.push_str("\\0"),
            b'|' => shown.push_str("\\|"),
            32..=126 => shown.push(octet as char),
            _ => shown.push_str(&format!("\\x{octet:02x}")),
        }
    }
    format!("`{shown}`")
}
