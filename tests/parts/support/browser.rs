//! The admin pages, asked as a browser without scripts asks them: cookies, forms, no redirect followed unless it is asked for.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use super::relay::Relay;
use super::{BOUND, until};

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    /// Names in lower case.
    pub head: BTreeMap<String, String>,
    pub body: String,
}

impl Page {
    pub fn header(&self, name: &str) -> &str {
        self.head.get(name).map_or("", String::as_str)
    }

    /// The value of the first field of a form with this name.
    pub fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let start = self.body.find(&mark).unwrap_or_else(|| panic!("no field {name} in {}", self.body)) + mark.len();
        self.body[start..].split('"').next().unwrap().to_owned()
    }
}

pub struct Browser {
    data: PathBuf,
    pub address: SocketAddr,
    cookie: Option<String>,
    form_token: String,
}

impl Browser {
    pub fn at(relay: &Relay) -> Self {
        let data = relay.path().join("data");
        let address = until("the admin server listens", BOUND, || {
            let address = std::fs::read_to_string(data.join("admin.address")).ok()?.trim().parse().ok()?;
            TcpStream::connect(address).ok().map(|_| address)
        });
        Self { data, address, cookie: None, form_token: String::new() }
    }

    pub fn signed_in(relay: &Relay) -> Self {
        let mut browser = Self::at(relay);
        let token = browser.token();
        let page = browser.post("/sign-in", &[("token", &token), ("name", "alice"), ("next", "/queue")]);
        assert_eq!((page.status, page.header("location")), (303, "/queue"), "{page:?}");
        browser.form_token = browser.get("/queue").field("form_token");
        browser
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.data.join("admin.token")).unwrap().trim().to_owned()
    }

    pub fn get(&mut self, path: &str) -> Page {
        self.ask("GET", path, &[], "")
    }

    /// A form without the token that its page gives.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_from(path, fields, &[])
    }

    /// The same with lines of the head, such as `Origin: ...`.
    pub fn post_from(&mut self, path: &str, fields: &[(&str, &str)], head: &[&str]) -> Page {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        self.ask("POST", path, head, &body.join("&"))
    }

    /// A form as its page sends it.
    pub fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = self.form_token.clone();
        let mut all = vec![("form_token", token.as_str())];
        all.extend_from_slice(fields);
        let origin = format!("Origin: http://{}", self.address);
        self.post_from(path, &all, &[&origin, "Sec-Fetch-Site: same-origin"])
    }

    pub fn ask(&mut self, method: &str, path: &str, head: &[&str], body: &str) -> Page {
        let mut lines: Vec<String> = head.iter().map(|line| (*line).to_owned()).collect();
        lines.push(format!("Host: {}", self.address));
        lines.extend(self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}")));
        if !body.is_empty() {
            lines.push("Content-Type: application/x-www-form-urlencoded".to_owned());
        }
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            lines.join("\r\n"),
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).unwrap();
        let text = String::from_utf8(octets).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
        let head: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        if let Some(cookie) = head.get("set-cookie") {
            self.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        }
        Page { status, head, body: body.to_owned() }
    }

    /// Forgets who it is.
    pub fn without_cookie(&mut self) {
        self.cookie = None;
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
