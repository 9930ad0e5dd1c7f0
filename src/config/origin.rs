//! Where a configuration is found, and its files as text.
//!
//! One unreadable file hides no error of the others: it stays in the list, and loading tells what is wrong with it.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::model::Place;
use super::secret::plain;
use super::tree::{self, Value};

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Directory(PathBuf),
    /// The shipped default, compiled in.
    BuiltIn,
}

/// The files of a configuration.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What relative paths in the configuration are relative to.
    base: PathBuf,
    files: Vec<Source>,
}

/// One file.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
    pub(super) text: Result<String, Unreadable>,
    /// Where each line lies; found when first asked for.
    lines: OnceLock<Vec<Range<usize>>>,
}

/// What a file is about; known by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Server,
    /// The file that `users: {file: ...}` names.
    Users,
    Routes,
    Providers,
}

/// Why a file has no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("cannot read the file: {0}")]
    Io(String),
    #[error("the file is larger than 64 MiB")]
    Large,
    #[error("the file is no UTF-8 text; save it as UTF-8")]
    NotUtf8 { line: usize, column: usize },
    #[error("the file is UTF-16 text; save it as UTF-8")]
    Utf16,
}

/// Why there is no configuration to look at.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no directory {dir}; `waypost init {dir}` writes a first configuration there", dir = .0.display())]
    NoDirectory(PathBuf),
    #[error("{dir} is a file; a configuration is a directory with routes/ and providers/ in it", dir = .0.display())]
    NoDirectoryButFile(PathBuf),
    #[error("{dir} has no routes/*.yaml; `waypost init {dir}` writes a first configuration there", dir = .0.display())]
    NoRoutes(PathBuf),
    #[error("{dir} has both waypost.yaml and waypost.yml; keep one", dir = .0.display())]
    TwoServers(PathBuf),
    #[error("cannot read {path}: {error}", path = .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// The shipped default: each file's path below a configuration directory, and its text.
pub const DEFAULT: [(&str, &str); 3] = [
    ("waypost.yaml", include_str!("../../waypost.yaml")),
    ("routes/50-default.yaml", include_str!("../../routes/50-default.yaml")),
    ("providers/50-default.yaml", include_str!("../../providers/50-default.yaml")),
];

const LARGEST_FILE: u64 = 64 << 20;

/// `--config`, `$WAYPOST_CONFIG`, `.` where it holds `routes/`, the system's directory, the shipped default.
pub fn locate(explicit: Option<&Path>) -> Origin {
    let named = std::env::var_os("WAYPOST_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    locate_among(explicit, named, Path::new("."), &system_directory())
}

fn locate_among(explicit: Option<&Path>, named: Option<PathBuf>, here: &Path, system: &Path) -> Origin {
    if let Some(dir) = explicit.map(Path::to_owned).or(named) {
        return Origin::Directory(dir);
    }
    if here.join("routes").is_dir() {
        return Origin::Directory(here.to_owned());
    }
    // A system directory that is there but has no routes is a broken set-up: to run the default in its stead would
    // put mail into a folder that nobody reads.
    if system.is_dir() {
        return Origin::Directory(system.to_owned());
    }
    Origin::BuiltIn
}

fn system_directory() -> PathBuf {
    if cfg!(windows) {
        let data = std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
        return PathBuf::from(data).join("waypost");
    }
    PathBuf::from("/etc/waypost")
}

/// All files of the configuration: `waypost.yaml`, then `routes/` and `providers/`, each in name order.
pub fn read(origin: &Origin) -> Result<Sources, ReadError> {
    let sources = read_what_is_there(origin)?;
    match origin {
        Origin::Directory(dir) if !sources.files().iter().any(|source| source.kind == Kind::Routes) => {
            Err(ReadError::NoRoutes(dir.clone()))
        }
        Origin::Directory(_) | Origin::BuiltIn => Ok(sources),
    }
}

/// The same, though there be no routes: enough to find the relay that runs with what it was before.
pub fn read_what_is_there(origin: &Origin) -> Result<Sources, ReadError> {
    let dir = match origin {
        Origin::Directory(dir) => dir,
        Origin::BuiltIn => {
            return Ok(DEFAULT.iter().fold(Sources::new(""), |sources, (name, text)| sources.with(name, *text)));
        }
    };
    match std::fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(ReadError::NoDirectoryButFile(dir.clone())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::NoDirectory(dir.clone())),
        Err(error) => return Err(ReadError::Io { path: dir.clone(), error }),
    }
    // Of `.`, names stay as short as users know them.
    let base = if dir == Path::new(".") { PathBuf::new() } else { dir.clone() };
    let servers: Vec<PathBuf> =
        ["waypost.yaml", "waypost.yml"].iter().map(|name| base.join(name)).filter(|path| path.is_file()).collect();
    let mut files: Vec<Source> = match servers.as_slice() {
        [_, _, ..] => return Err(ReadError::TwoServers(dir.clone())),
        servers => servers.iter().map(|path| Source::read(path, Kind::Server)).collect(),
    };
    let users = files.first().and_then(|server| users_file(server, &base));
    files.extend(users.map(|path| Source::read(&path, Kind::Users)));
    files.extend(yaml_files(&base.join("routes"))?.iter().map(|path| Source::read(path, Kind::Routes)));
    files.extend(yaml_files(&base.join("providers"))?.iter().map(|path| Source::read(path, Kind::Providers)));
    Ok(Sources { base, files })
}

/// Where the files of a configuration lie now, without reading them; those that it refers to are not among them.
pub fn files(origin: &Origin) -> Vec<PathBuf> {
    let Origin::Directory(dir) = origin else { return Vec::new() };
    let mut files: Vec<PathBuf> = ["waypost.yaml", "waypost.yml"].iter().map(|name| dir.join(name)).collect();
    for folder in ["routes", "providers"] {
        // One that cannot be read is one without files: that it was otherwise before is seen.
        files.extend(yaml_files(&dir.join(folder)).unwrap_or_default());
    }
    files
}

/// `users: {file: ...}` of the server's file.
fn users_file(server: &Source, base: &Path) -> Option<PathBuf> {
    let tree = tree::parse(server.text.as_ref().ok()?).ok()?;
    let Value::Text(file) = &tree.under("users")?.under("file")?.value else { return None };
    Some(base.join(file))
}

/// `*.yaml` and `*.yml` in name order. Hidden files are no part of it: editors and mounted volumes leave some.
fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let fault = |error| ReadError::Io { path: dir.to_owned(), error };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        if yaml && !hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Source {
    fn read(path: &Path, kind: Kind) -> Self {
        let mut octets = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut octets));
        let text = match read {
            Ok(_) if octets.len() as u64 > LARGEST_FILE => Err(Unreadable::Large),
            Ok(_) => decode(octets),
            Err(error) => Err(Unreadable::Io(plain(&error))),
        };
        let name = path.to_string_lossy();
        let name = if cfg!(windows) { name.replace('\\', "/") } else { name.into_owned() };
        Self { name: name.into(), kind, text, lines: OnceLock::new() }
    }
}

/// The text, without its byte order mark.
fn decode(octets: Vec<u8>) -> Result<String, Unreadable> {
    if octets.starts_with(&[0xff, 0xfe]) || octets.starts_with(&[0xfe, 0xff]) {
        return Err(Unreadable::Utf16);
    }
    let text = String::from_utf8(octets).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let good = String::from_utf8_lossy(good);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Unreadable::NotUtf8 { line, column }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

impl Sources {
    /// No files yet; relative paths will be relative to `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), files: Vec::new() }
    }

    /// One more file. Its place says its kind: `routes/…`, `providers/…`, anything else is the server's.
    #[must_use]
    pub fn with(mut self, name: &str, text: impl Into<Vec<u8>>) -> Self {
        let kind = match Path::new(name).parent().and_then(Path::file_name).and_then(|folder| folder.to_str()) {
            Some("routes") => Kind::Routes,
            Some("providers") => Kind::Providers,
            Some(_) | None => Kind::Server,
        };
        self.files.push(Source { name: name.into(), kind, text: decode(text.into()), lines: OnceLock::new() });
        self
    }

    /// The file that `users: {file: ...}` names.
    #[must_use]
    pub fn with_users(mut self, name: &str, text: impl Into<Vec<u8>>) -> Self {
        let text = decode(text.into());
        self.files.push(Source { name: name.into(), kind: Kind::Users, text, lines: OnceLock::new() });
        self
    }

    /// The same files, whose relative paths are relative to something else.
    #[must_use]
    pub fn relative_to(self, base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), ..self }
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    pub(super) fn files(&self) -> &[Source] {
        &self.files
    }

    /// The names of all files, in the order in which they are read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|source| &*source.name)
    }

    /// The line of a place, without its line end.
    pub fn line(&self, place: &Place) -> Option<&str> {
        let source = self.files.iter().find(|source| source.name == place.file)?;
        let text = source.text.as_ref().ok()?;
        let lines = source.lines.get_or_init(|| lines(text));
        text.get(lines.get(place.line.checked_sub(1)?)?.clone())
    }
}

/// Lines as YAML 1.2 ends them: LF, CRLF or CR.
fn lines(text: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for end in memchr::memchr2_iter(b'\n', b'\r', text.as_bytes()) {
        let behind_cr = end > 0 && end == start && text.as_bytes().get(end - 1) == Some(&b'\r');
        if !(behind_cr && text.as_bytes().get(end) == Some(&b'\n')) {
            lines.push(start..end);
        }
        start = end + 1;
    }
    lines.push(start..text.len());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_first_place_that_is_there_wins() {
        let here = tempfile::tempdir().unwrap();
        let system = tempfile::tempdir().unwrap();
        let (here, system, none) = (here.path(), system.path(), Path::new("/nowhere/at/all"));
        let at = |path: &Path| Origin::Directory(path.to_owned());
        let (a, b) = (Path::new("a"), PathBuf::from("b"));
        assert_eq!(locate_among(Some(a), Some(b.clone()), here, system), at(a));
        assert_eq!(locate_among(None, Some(b.clone()), here, system), at(&b));
        assert_eq!(locate_among(None, None, here, system), at(system));
        assert_eq!(locate_among(None, None, here, none), Origin::BuiltIn);
        fs::create_dir(here.join("routes")).unwrap();
        assert_eq!(locate_among(None, None, here, system), at(here));
    }

    #[test]
    fn files_are_read_in_name_order() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["routes", "providers", "routes/sub.yaml"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for name in [
            "waypost.yml",
            "routes/20-b.yaml",
            "routes/10-a.yml",
            "providers/p.yaml",
            "routes/.a.yaml",
            "routes/README.md",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let sources = read(&Origin::Directory(dir.path().to_owned())).unwrap();
        let prefix = format!("{}/", dir.path().display());
        let names: Vec<&str> = sources.names().map(|name| name.strip_prefix(&prefix).unwrap()).collect();
        assert_eq!(names, ["waypost.yml", "routes/10-a.yml", "routes/20-b.yaml", "providers/p.yaml"]);
    }

    #[test]
    fn a_missing_configuration_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| read(&Origin::Directory(path.to_owned())).unwrap_err().to_string();
        let here = dir.path().display().to_string();
        assert_eq!(
            error(dir.path()),
            format!("{here} has no routes/*.yaml; `waypost init {here}` writes a first configuration there")
        );
        assert_eq!(
            error(&dir.path().join("none")),
            format!("there is no directory {here}/none; `waypost init {here}/none` writes a first configuration there")
        );
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(error(&dir.path().join("file")).contains("is a file"));
        fs::write(dir.path().join("waypost.yaml"), "").unwrap();
        fs::write(dir.path().join("waypost.yml"), "").unwrap();
        assert!(error(dir.path()).contains("keep one"));
    }

    #[test]
    fn lines_end_as_in_yaml() {
        let text = "a\r\n\r\nb\nc\rd\n";
        let found: Vec<&str> = lines(text).into_iter().map(|line| &text[line]).collect();
        assert_eq!(found, ["a", "", "b", "c", "d", ""]);
    }

    #[test]
    fn texts_are_utf8_and_a_mark_is_no_text() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1".to_vec()), Ok("a: 1".to_owned()));
        assert_eq!(decode(b"a: 1\nb\xc3\xa9: \xff".to_vec()), Err(Unreadable::NotUtf8 { line: 2, column: 5 }));
        assert_eq!(decode(b"\xff\xfea\0".to_vec()), Err(Unreadable::Utf16));
    }
}
