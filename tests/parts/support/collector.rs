//! A collector of OpenTelemetry's traces.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::Process;
use super::{BOUND, free_port, until_true};

pub struct Collector {
    _server: Process,
    folder: tempfile::TempDir,
    port: u16,
}

impl Collector {
    /// Starts it; its first requests are answered with these statuses.
    pub fn start(refusals: &[u16]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".tools/otlp/bin/python3");
        assert!(python.is_file(), "OpenTelemetry's messages for Python are not installed: tests/run does it");
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new(python);
        command
            .arg(root.join("tests/parts/support/collector.py"))
            .arg(port.to_string())
            .arg(folder.path().join("took"));
        command.args(refusals.iter().map(u16::to_string));
        let server = Process::start("the collector", &mut command, &folder.path().join("log"));
        until_true("the collector listens", BOUND, || {
            std::net::TcpStream::connect_timeout(&super::loopback(1, port), Duration::from_secs(1)).is_ok()
        });
        Self { _server: server, folder, port }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("took")
    }

    /// Requests that it took.
    pub fn requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Their spans.
    pub fn spans(&self) -> Vec<Value> {
        let each = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let requests = self.requests();
        let of_request = |request: &Value| each(request, "resourceSpans");
        let scopes = requests.iter().flat_map(of_request).flat_map(|resource| each(&resource, "scopeSpans"));
        scopes.flat_map(|scope| each(&scope, "spans")).collect()
    }
}
