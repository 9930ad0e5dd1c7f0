//! Amazon SES as moto plays it: it stores raw messages with their envelope, and refuses senders it does not know.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::Process;
use super::{BOUND, free_port, loopback, until};

pub struct Moto {
    _server: Process,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

/// A message that SES took.
#[derive(Debug, Clone)]
pub struct Taken {
    pub id: String,
    pub destinations: Vec<String>,
    pub raw: String,
}

impl Moto {
    /// Starts it with `domain` as a verified sender.
    pub fn start(domain: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/moto/bin/moto_server");
        assert!(program.is_file(), "moto is not installed: tests/run does it");
        let folder = tempfile::tempdir().unwrap();
        let address = loopback(1, free_port());
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]).current_dir(folder.path());
        let server = Process::start("moto", &mut command, &folder.path().join("log"));
        let moto = Self { _server: server, _folder: folder, address };
        let body = format!("{{\"EmailIdentity\":\"{domain}\"}}");
        until("moto knows the sender", BOUND, || {
            moto.request("POST /v2/email/identities", &body).ok().filter(|answer| answer.contains(" 200 "))
        });
        moto
    }

    /// Keys of a provider of transport `ses` that uses it.
    pub fn as_provider(&self) -> String {
        format!(
            "transport: ses, region: us-east-1, endpoint: \"http://{}\", access_key_id: AKIDTEST, \
             secret_access_key: \"${{env:WAYPOST_TEST_SES_SECRET}}\"",
            self.address
        )
    }

    pub fn taken(&self) -> Vec<Taken> {
        let answer = self.request("GET /moto-api/data.json", "").unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body.trim()).unwrap();
        let list = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let messages = body["ses"]["RawMessage"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let message =
            |m: &Value| Taken { id: text(&m["id"]), destinations: list(&m["destinations"]), raw: text(&m["raw_data"]) };
        messages.iter().map(message).collect()
    }

    fn request(&self, line: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "{line} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nAuthorization: \
             AWS4-HMAC-SHA256 Credential=t/20260101/us-east-1/ses/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
