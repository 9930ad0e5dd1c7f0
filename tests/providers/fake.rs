//! Prism and moto, as `tests/run` installs them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// A stand-in's process and address; it ends with this.
struct Process {
    child: Child,
    address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    async fn start(program: PathBuf, arguments: impl FnOnce(&str) -> Vec<String>) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let child = Command::new(&program)
            .args(arguments(&address.port().to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: tests/run installs it", program.display()));
        let mut process = Self { child, address: address.to_string() };
        let answers = async {
            while TcpStream::connect(address).await.is_err() {
                assert!(process.child.try_wait().unwrap().is_none(), "{} ended", program.display());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(STARTS_WITHIN, answers).await.unwrap();
        process
    }

    /// The status line and the rest of an answer.
    async fn ask(&self, request: &str, header: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{header}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

fn tool(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools").join(path)
}

/// A provider by its own API description.
pub struct Prism {
    pub url: String,
    process: Process,
}

impl Prism {
    pub async fn start(spec: &str) -> Self {
        let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers/spec").join(spec);
        let arguments = |port: &str| {
            let arguments = ["mock", "-h", "127.0.0.1", "-p", port, "--errors", spec.to_str().unwrap()];
            arguments.map(str::to_owned).to_vec()
        };
        let process = Process::start(tool("node_modules/.bin/prism"), arguments).await;
        Self { url: format!("http://{}", process.address), process }
    }

    /// It does check: otherwise its acceptance would prove nothing.
    pub async fn refuses_nonsense(&self, path: &str, header: &str) {
        let (status, _) = self.process.ask(&format!("POST {path}"), header, "{}").await;
        assert!(status.contains(" 400") || status.contains(" 422"), "{status}");
    }
}

/// Amazon SES, with one verified identity.
pub struct Moto {
    pub url: String,
    process: Process,
}

impl Moto {
    pub async fn start(identity: &str) -> Self {
        let arguments = |port: &str| ["-H", "127.0.0.1", "-p", port].map(str::to_owned).to_vec();
        let process = Process::start(tool("moto/bin/moto_server"), arguments).await;
        let body = format!("{{\"EmailIdentity\":\"{identity}\"}}");
        // It goes by the service and region that a signature names.
        let header = "Content-Type: application/json\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKID/20261124/eu-west-1/ses/aws4_request, SignedHeaders=host, Signature=0\r\n";
        let (status, body) = process.ask("POST /v2/email/identities", header, &body).await;
        assert!(status.contains(" 200"), "{status} {body}");
        Self { url: format!("http://{}", process.address), process }
    }

    pub async fn messages(&self) -> Vec<serde_json::Value> {
        let (_, body) = self.process.ask("GET /moto-api/data.json", "", "").await;
        let start = body.find('{').unwrap();
        let end = body.rfind('}').unwrap();
        let data: serde_json::Value = serde_json::from_str(&body[start..=end]).unwrap();
        data["ses"]["RawMessage"].as_array().unwrap().clone()
    }
}
