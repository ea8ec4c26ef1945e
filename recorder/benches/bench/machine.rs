//! The place and time of figures, which mean nothing without them.

use std::fs;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The machine; an unreadable value is `None`.
pub(crate) struct Machine {
    os: Option<String>,
    kernel: Option<String>,
    cpu: Option<String>,
    cpus: Option<usize>,
    memory: Option<String>,
    /// Load of the last minute before the run: other programs that were busy then may still be.
    load: Option<f64>,
    unix_time: Option<u64>,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).ok();
        let field = |path: &str, name: &str, separator: char| {
            let text = text(path)?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(separator)?.1.trim().trim_matches('"').to_owned())
        };
        let load = || text("/proc/loadavg")?.split_whitespace().next()?.parse().ok();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            os: field("/etc/os-release", "PRETTY_NAME", '='),
            kernel: text("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            cpu: field("/proc/cpuinfo", "model name", ':'),
            cpus: available_parallelism().ok().map(usize::from),
            memory: field("/proc/meminfo", "MemTotal", ':'),
            load: load(),
            unix_time: now.ok().map(|time| time.as_secs()),
        }
    }

    /// Returns a line for people.
    pub(crate) fn describe(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        format!(
            "{}, kernel {}, {} x {}; load average before the run {:.1}",
            text(&self.os),
            text(&self.kernel),
            self.cpus.unwrap_or(1),
            text(&self.cpu),
            self.load.unwrap_or(f64::NAN),
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "sslrec": env!("CARGO_PKG_VERSION"),
            "os": self.os,
            "kernel": self.kernel,
            "cpu": self.cpu,
            "cpus": self.cpus,
            "memory": self.memory,
            "load_average_before": self.load,
            "unix_time": self.unix_time,
        })
    }
}
