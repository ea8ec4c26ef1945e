//! The C programs under `testdata/peers`: built once, and their output about themselves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::listing::sha256_of;
use crate::support::sha256;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers");

const TLS_CASES: [&str; 8] = [
    "tls_cases.c",
    "mapped.c",
    "nested.c",
    "shared.c",
    "unannounced.c",
    "volume.c",
    "deaths.c",
    "peer.c",
];

/// The program with a case for each way of using the library.
pub(crate) fn tls_cases() -> String {
    build("tls_cases", &TLS_CASES, &["-lssl", "-lcrypto"])
}

/// The same with the library linked into it.
pub(crate) fn tls_cases_static() -> String {
    let libraries = ["-Wl,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic", "-ldl"];
    build("tls_cases_static", &TLS_CASES, &libraries)
}

/// The same without symbols, so that its library is not found.
pub(crate) fn tls_cases_stripped() -> String {
    let libraries = ["-s", "-Wl,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic", "-ldl"];
    build("tls_cases_stripped", &TLS_CASES, &libraries)
}

/// The program whose coroutines stop within calls.
pub(crate) fn coroutines() -> String {
    build("coroutines", &["coroutines.c", "peer.c"], &["-lssl", "-lcrypto"])
}

/// The program that speaks HTTP faster than a stopped recorder can follow.
pub(crate) fn http_flood() -> String {
    build("http_flood", &["http_flood.c", "peer.c"], &["-lssl", "-lcrypto"])
}

/// The program that holds a probe which the recorder's cannot share a function with.
pub(crate) fn rival_tracer() -> String {
    build("rival_tracer", &["rival_tracer.c"], &[])
}

/// The program with a TLS library of its own that does nothing, quickly.
pub(crate) fn fake_tls() -> String {
    build("fake_tls", &["fake_tls.c"], &[])
}

/// The program with the same library that strains the recorder otherwise than by its speed.
pub(crate) fn bookkeeping() -> String {
    build("bookkeeping", &["bookkeeping.c"], &[])
}

/// Returns the folder for built programs: the build's own, or if others than root could write to
/// that, a folder in /opt. The recorder runs the code only of files that root alone can write.
fn folder() -> PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_private = |part: &Path| {
        let meta = fs::metadata(part).unwrap();
        meta.uid() == 0 && meta.mode() & 0o022 == 0
    };
    if own.ancestors().all(is_private) {
        return own.to_owned();
    }
    let checkout = sha256(env!("CARGO_MANIFEST_DIR").as_bytes());
    let folder = Path::new("/opt").join(format!("sslrec-tests-{}", &checkout[..16]));
    // Without root the live tests skip, and only the build's own folder can be written.
    match fs::create_dir_all(&folder) {
        Ok(()) => folder,
        Err(_) => own.to_owned(),
    }
}

/// Compiles if any source is newer. The file is renamed at once, so that a concurrent test never
/// starts an incomplete program.
pub(crate) fn build(name: &str, sources: &[&str], libraries: &[&str]) -> String {
    let program = folder().join(name);
    let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified());
    let newest =
        fs::read_dir(SOURCES).unwrap().map(|f| modified(&f.unwrap().path()).unwrap()).max();
    if modified(&program).ok() < newest {
        let new = program.with_extension(std::process::id().to_string());
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&new);
        gcc.args(sources).args(libraries).current_dir(SOURCES);
        assert!(gcc.status().unwrap().success(), "{gcc:?}");
        fs::rename(&new, &program).unwrap();
    }
    program.into_os_string().into_string().unwrap()
}

/// An end of a connection with its data, either from the program's output or as recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) role: String,
    pub(crate) from_client: (u64, String),
    pub(crate) from_server: (u64, String),
    pub(crate) client: Option<String>,
    pub(crate) server: Option<String>,
    /// The program's name for it; empty for a recorded end.
    pub(crate) name: String,
}

impl End {
    fn from_truth(line: &Value) -> Self {
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        let address = |field: &str| Some(text(field)).filter(|a| !a.is_empty());
        let bytes = |field: &str| (line[field].as_u64().unwrap(), text(&format!("{field}_sha256")));
        let mut end = End {
            role: text("role"),
            from_client: bytes("sent"),
            from_server: bytes("received"),
            client: address("local"),
            server: address("remote"),
            name: text("end"),
        };
        if end.role == "server" {
            std::mem::swap(&mut end.from_client, &mut end.from_server);
            std::mem::swap(&mut end.client, &mut end.server);
        }
        end
    }

    /// From a `stream` object with bodies.
    pub(crate) fn from_stream(stream: &Value) -> Self {
        let text = |field: &str| stream[field].as_str().map(str::to_owned);
        let bytes =
            |count: &str, data: &str| (stream[count].as_u64().unwrap(), sha256_of(stream, data));
        End {
            role: text("role").unwrap_or_else(|| "unknown".to_owned()),
            from_client: bytes("client_bytes", "client_data"),
            from_server: bytes("server_bytes", "server_data"),
            client: text("client"),
            server: text("server"),
            name: String::new(),
        }
    }
}

/// The output of a `tls_cases` run about the ends of its connections, or the reason why the case
/// cannot run on this machine.
pub(crate) fn truth(stdout: &str) -> Result<Vec<End>, String> {
    let lines: Vec<Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    if let Some(reason) = lines.iter().find_map(|line| line["skipped"].as_str()) {
        return Err(reason.to_owned());
    }
    Ok(lines.iter().map(End::from_truth).collect())
}

/// Command line of a case.
pub(crate) fn case(arguments: &[&str]) -> Vec<String> {
    [tls_cases()].into_iter().chain(arguments.iter().map(|&a| a.to_owned())).collect()
}

/// A path as text, for command lines.
pub(crate) fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}
