//! The Go program under `testdata/peers/go`, built in the ways in which such programs are shipped.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers/go");

/// Which Go, and how it links.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Build {
    /// Debian's, linked by itself for a fixed address.
    Debian,
    /// The same with its symbols, as `go build` makes it.
    DebianWithSymbols,
    /// Debian's, linked by gcc for any address, with the C library.
    DebianWithC,
    /// The newest that PyPI has, linked for a fixed address.
    Newest,
    /// The same, linked for any address.
    NewestAnyAddress,
}

impl Build {
    fn go(self) -> Option<PathBuf> {
        match self {
            Self::Debian | Self::DebianWithSymbols | Self::DebianWithC => {
                Some("/usr/bin/go".into())
            }
            Self::Newest | Self::NewestAnyAddress => {
                let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tools/venv/lib");
                let versions = fs::read_dir(venv).ok()?.flatten();
                let go = |python: fs::DirEntry| python.path().join("site-packages/go/bin/go");
                versions.map(go).find(|go| go.exists())
            }
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::DebianWithSymbols => &["-buildmode=exe"],
            Self::Debian | Self::Newest => &["-buildmode=exe", "-ldflags=-s -w"],
            Self::DebianWithC => &["-buildmode=pie", "-ldflags=-s -w -linkmode=external"],
            Self::NewestAnyAddress => &["-buildmode=pie", "-ldflags=-s -w"],
        }
    }

    /// The program of a build, made if any source is newer. `None`, with the reason printed,
    /// without that Go, which is a failure in CI.
    pub(crate) fn peer(self) -> Option<String> {
        let Some(go) = self.go().filter(|go| go.exists()) else {
            let missing = "skipped: packaging/install-deps.sh test installs Go";
            assert!(env::var_os("CI").is_none(), "{missing}");
            eprintln!("{missing}");
            return None;
        };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = folder.join(format!("go_peer_{self:?}"));
        let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
        let sources = fs::read_dir(SOURCES).unwrap().map(|file| file.unwrap().path());
        let newest = sources.chain([go.clone()]).map(|file| modified(&file).unwrap()).max();
        if modified(&program).ok() < newest {
            let new = program.with_extension(std::process::id().to_string());
            let with_c = if matches!(self, Self::DebianWithC) { "1" } else { "0" };
            let mut build = Command::new(go);
            build.arg("build").args(self.options()).arg("-o").arg(&new).arg(".");
            // Nothing of this machine's, nothing from elsewhere.
            build.env("GOCACHE", folder.join("go-cache")).env("GOTOOLCHAIN", "local");
            build.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("CGO_ENABLED", with_c);
            build.env_remove("GOROOT").env_remove("GOPATH").env("HOME", folder);
            assert!(build.current_dir(SOURCES).status().unwrap().success(), "{build:?}");
            fs::rename(&new, &program).unwrap();
        }
        Some(program.into_os_string().into_string().unwrap())
    }
}
