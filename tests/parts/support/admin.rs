//! The relay's admin server, asked in plain HTTP, and the verbs that ask it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Output;

use serde_json::Value;

use super::relay::{Relay, waypost};
use super::{BOUND, until};

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Relay {
    /// Where its admin server listens, once it does.
    pub fn admin(&self) -> SocketAddr {
        until("the admin server listens", BOUND, || {
            let address = std::fs::read_to_string(self.beside.join("admin.address")).ok()?;
            let address = address.trim().parse().ok()?;
            TcpStream::connect(address).ok().map(|_| address)
        })
    }

    pub fn token(&self) -> String {
        // A former run's is replaced before the address is.
        self.admin();
        std::fs::read_to_string(self.beside.join("admin.token")).unwrap().trim().to_owned()
    }

    /// One request; `head` are lines such as `Authorization: ...`.
    pub fn http(&self, method: &str, path: &str, head: &[&str], body: &str) -> Answer {
        let address = self.admin();
        let mut head: Vec<String> = head.iter().map(|line| (*line).to_owned()).collect();
        if !head.iter().any(|line| line.starts_with("Host:")) {
            head.push(format!("Host: {address}"));
        }
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            head.join("\r\n"),
            body.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).unwrap();
        let text = String::from_utf8(octets).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer { status: status.unwrap_or_else(|| panic!("{head}")), head: head.to_owned(), body: body.to_owned() }
    }

    /// The same as an operator.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.http(method, path, &[&format!("Authorization: Bearer {}", self.token())], body)
    }

    pub fn status(&self) -> Value {
        let answer = self.ask("GET", "/api/v1/status", "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A provider of the status.
    pub fn provider(&self, name: &str) -> Value {
        named(&self.status()["providers"], name)
    }

    /// A verb of the binary, for this relay.
    pub fn verb(&self, args: &[&str]) -> Output {
        let mut all = args.to_vec();
        all.extend(["--config", "."]);
        waypost(self.path(), &all)
    }

    /// What a verb prints that must succeed.
    pub fn told(&self, args: &[&str]) -> String {
        let out = self.verb(args);
        let (told, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{args:?}: {}\n{told}{error}", out.status);
        told.into_owned()
    }
}

/// The member of a list that has this name.
pub fn named(list: &Value, name: &str) -> Value {
    let found = list.as_array().unwrap().iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list:#}")).clone()
}
