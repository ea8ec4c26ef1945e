//! The rules: their syntax, and the check of items against them.

use std::borrow::Cow;
use std::fmt;

use clap::Args;
use serde::Deserialize;
use sslrec_analyzer::exchange::{ConnectionInfo, Exchange, Item, Note};
use sslrec_analyzer::filter::{self, Filter};
use sslrec_analyzer::pipeline::Summary;

use super::secrets;
use crate::text::Duration;

/// Maximum number of findings kept for a rule; all are counted.
const MAX_KEPT: usize = 100;

/// Rules as they are written, as options and in a file alike.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Given {
    /// Allowed hosts, such as api.example.org or *.example.org
    ///
    /// For other protocols than HTTP the server name is compared, or the address. An unknown host
    /// violates the rule. A list with commas, or repeated.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    allowed_hosts: Vec<String>,

    /// Highest allowed status of a response, such as 399
    #[arg(long, value_name = "STATUS")]
    max_status: Option<u16>,

    /// Longest allowed duration of an exchange, such as 500ms or 2s
    #[arg(long, value_name = "TIME")]
    max_duration: Option<String>,

    /// Most allowed requests to a host, such as api.example.org=10; repeatable
    #[arg(long, value_name = "HOST=N")]
    max_requests: Vec<String>,

    /// Fail on passwords, keys or tokens in URLs
    ///
    /// Secrets are recognised by names of query parameters (such as password, token or api_key), as
    /// user and password before the host, and by the form of well-known tokens (JWT, GitHub, AWS,
    /// Slack, Stripe).
    #[arg(long)]
    no_secrets_in_urls: bool,

    /// Fail on lost bytes, missing responses, or a capture that is not closed
    #[arg(long)]
    no_incomplete: bool,

    /// Required headers of every exchange: NAME, request.NAME or response.NAME
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    required_headers: Vec<String>,

    /// Forbidden headers, as above
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    forbidden_headers: Vec<String>,

    /// Fail if an item matches FILTER; repeatable
    #[arg(long, value_name = "FILTER")]
    forbid: Vec<String>,

    /// Fail unless every exchange matches FILTER; repeatable
    #[arg(long, value_name = "FILTER")]
    require: Vec<String>,

    #[arg(skip)]
    rule: Vec<Named>,
}

/// A rule with its own name; only files have these.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Named {
    name: String,
    forbid: Option<String>,
    require: Option<String>,
}

impl Given {
    /// Parses a file of rules.
    pub(super) fn from_toml(name: &str, text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error(format!("{name}: {}", error.to_string().trim())))
    }

    /// Converts the settings to rules. `origin` is the prefix of their names in messages.
    pub(super) fn rules(&self, origin: &str) -> Result<Vec<Rule>, Error> {
        let key = |name: &str| match origin {
            "--" => format!("--{}", name.replace('_', "-")),
            file => format!("{file}{name}"),
        };
        let mut rules = Vec::new();
        if !self.allowed_hosts.is_empty() {
            let hosts = self.allowed_hosts.iter().map(|host| Host::parse(host));
            let hosts = hosts.collect::<Result<_, _>>().map_err(|e| e.at(&key("allowed_hosts")))?;
            let name = format!("allowed hosts {}", self.allowed_hosts.join(", "));
            rules.push(Rule::new(name, Test::Hosts(hosts)));
        }
        if let Some(status) = self.max_status {
            if !(100..=999).contains(&status) {
                let problem =
                    format!("invalid status {status}; expected three digits, such as 399");
                return Err(Error(problem).at(&key("max_status")));
            }
            let test = forbid(&format!("status>{status}"), &key("max_status"))?;
            rules.push(Rule::new(format!("maximum status {status}"), test));
        }
        if let Some(time) = &self.max_duration {
            let filter = format!("duration>{}", time.split_whitespace().collect::<String>());
            let test = forbid(&filter, &key("max_duration"))?;
            rules.push(Rule::new(format!("maximum duration {time}"), test));
        }
        for text in &self.max_requests {
            let test = max_requests(text).map_err(|error| error.at(&key("max_requests")))?;
            rules.push(Rule::new(format!("maximum requests {text}"), test));
        }
        if self.no_secrets_in_urls {
            rules.push(Rule::new("no secrets in URLs", Test::Secrets));
        }
        if self.no_incomplete {
            rules.push(Rule::new("nothing incomplete", Test::Complete));
        }
        for name in &self.required_headers {
            let filter = header(name).map_err(|error| error.at(&key("required_headers")))?;
            let test = require(&filter, &key("required_headers"))?;
            rules.push(Rule::new(format!("required header {name}"), test));
        }
        for name in &self.forbidden_headers {
            let filter = header(name).map_err(|error| error.at(&key("forbidden_headers")))?;
            let test = forbid(&filter, &key("forbidden_headers"))?;
            rules.push(Rule::new(format!("forbidden header {name}"), test));
        }
        for filter in &self.forbid {
            rules.push(Rule::new(format!("forbid {filter}"), forbid(filter, &key("forbid"))?));
        }
        for filter in &self.require {
            rules.push(Rule::new(format!("require {filter}"), require(filter, &key("require"))?));
        }
        for named in &self.rule {
            rules.push(named.rule(&key("rule"))?);
        }
        Ok(rules)
    }
}

impl Named {
    fn rule(&self, origin: &str) -> Result<Rule, Error> {
        let origin = format!("{origin} \"{}\"", self.name);
        let test = match (&self.forbid, &self.require) {
            (Some(filter), None) => forbid(filter, &origin)?,
            (None, Some(filter)) => require(filter, &origin)?,
            _ => return Err(Error("it needs either `forbid` or `require`".into()).at(&origin)),
        };
        if self.name.is_empty() {
            return Err(Error("it needs a `name`".into()).at(&origin));
        }
        Ok(Rule::new(self.name.clone(), test))
    }
}

fn forbid(filter: &str, origin: &str) -> Result<Test, Error> {
    parse(filter, origin).map(Test::Forbid)
}

fn require(filter: &str, origin: &str) -> Result<Test, Error> {
    parse(filter, origin).map(Test::Require)
}

fn parse(filter: &str, origin: &str) -> Result<Filter, Error> {
    Filter::parse(filter).map_err(|error: filter::Error| Error(error.to_string()).at(origin))
}

/// Returns the filter text that tests for a header.
fn header(name: &str) -> Result<String, Error> {
    let (side, field) = match name.split_once('.') {
        Some((side @ ("request" | "response"), field)) => (format!("{side}."), field),
        _ => (String::new(), name),
    };
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if field.is_empty() || !field.bytes().all(is_token) {
        let allowed = "give NAME, request.NAME or response.NAME";
        return Err(Error(format!("invalid header name `{name}`; {allowed}")));
    }
    Ok(format!("{side}header.{field}"))
}

fn max_requests(text: &str) -> Result<Test, Error> {
    let parsed = text.rsplit_once('=').and_then(|(host, max)| Some((host, max.parse().ok()?)));
    let Some((host, max)) = parsed else {
        return Err(Error(format!(
            "invalid limit `{text}`; expected HOST=N, such as api.example.org=10"
        )));
    };
    Ok(Test::MaxRequests { host: Host::parse(host)?, max, count: 0 })
}

/// A host, all hosts of a domain, or any host.
#[derive(Debug)]
enum Host {
    Exact(String),
    /// The domain, with its leading dot.
    Below(String),
    Any,
}

impl Host {
    fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim().to_ascii_lowercase();
        let (name, below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (&*text, false),
        };
        if text == "*" {
            return Ok(Host::Any);
        }
        let is_v6 = name.starts_with('[') && name.ends_with(']');
        let is_part = |c: char| c.is_alphanumeric() || "-._".contains(c);
        if name.is_empty() || !(is_v6 || name.chars().all(is_part)) {
            let allowed =
                "give a name or an address without scheme, port and path, or *.DOMAIN, or *";
            return Err(Error(format!("invalid host `{text}`; {allowed}")));
        }
        Ok(if below { Host::Below(format!(".{name}")) } else { Host::Exact(text) })
    }

    fn matches(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        match self {
            Host::Exact(name) => host == *name,
            Host::Below(domain) => host.ends_with(domain.as_str()),
            Host::Any => true,
        }
    }
}

#[derive(Debug)]
enum Test {
    Hosts(Vec<Host>),
    Forbid(Filter),
    Require(Filter),
    MaxRequests { host: Host, max: u64, count: u64 },
    Secrets,
    Complete,
}

/// The result of a rule.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Number of items or facts that were checked.
    pub(super) checked: u64,
    /// Number of violations.
    pub(super) failed: u64,
    /// The first violations.
    pub(super) findings: Vec<Finding>,
}

/// A violation of a rule.
#[derive(Debug)]
pub(super) struct Finding {
    /// Number of the exchange, if the violation concerns an exchange.
    pub(super) id: Option<u64>,
    /// The item, and its violation.
    pub(super) what: String,
}

/// A rule and its findings so far.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    test: Test,
    outcome: Outcome,
}

impl Test {
    fn is_about_handshakes(&self) -> bool {
        matches!(self, Test::Forbid(filter) if filter.is_about_handshakes())
    }
}

impl Rule {
    fn new(name: impl Into<String>, test: Test) -> Self {
        Self { name: name.into(), test, outcome: Outcome::default() }
    }

    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Checks an item.
    pub(super) fn check(&mut self, item: &Item) {
        let exchange = match item {
            Item::Exchange(exchange) => Some(&**exchange),
            Item::Stream(_) => None,
            Item::Handshake(_) if self.test.is_about_handshakes() => None,
            Item::Handshake(_) => return,
        };
        let problem: Option<String> = match (&mut self.test, exchange) {
            (Test::Require(_) | Test::Secrets | Test::MaxRequests { .. }, None) => return,
            (Test::Hosts(hosts), _) => match host(item) {
                Some(host) if hosts.iter().any(|allowed| allowed.matches(&host)) => None,
                Some(_) => Some(String::new()),
                None => Some("its host is unknown".into()),
            },
            (Test::Forbid(filter), _) => filter.matches(item).then(String::new),
            (Test::Require(filter), _) => (!filter.matches(item)).then(String::new),
            (Test::Complete, _) => incomplete(item),
            (Test::Secrets, Some(exchange)) => secrets::in_url(exchange),
            (Test::MaxRequests { host, count, .. }, Some(exchange)) => {
                let request = exchange.request.as_ref();
                let known = request.and_then(|request| request.host());
                *count += u64::from(known.is_some_and(|known| host.matches(&known)));
                None
            }
        };
        self.outcome.checked += 1;
        if let Some(problem) = problem {
            let shown = describe(item);
            let what = if problem.is_empty() { shown } else { format!("{shown}: {problem}") };
            self.outcome.add(exchange.map(|exchange| exchange.id), what);
        }
    }

    /// Adds the findings that need the complete capture.
    pub(super) fn conclude(&mut self, summary: &Summary) {
        match &self.test {
            Test::MaxRequests { max, count, .. } if count > max => {
                let what = format!("{count} requests, {max} are allowed");
                self.outcome.add(None, what);
            }
            Test::Complete => {
                let dropped = summary.dropped_events.unwrap_or(0);
                if !summary.closed {
                    self.outcome.add(None, "the capture was not closed".into());
                }
                if summary.lost_bytes > 0 || dropped > 0 {
                    let lost = summary.lost_bytes;
                    let what =
                        format!("the capture lost {lost} bytes and {dropped} events of its own");
                    self.outcome.add(None, what);
                }
            }
            _ => {}
        }
    }
}

impl Outcome {
    fn add(&mut self, id: Option<u64>, what: String) {
        self.failed += 1;
        if self.findings.len() < MAX_KEPT {
            self.findings.push(Finding { id, what });
        }
    }
}

/// Returns the host that an item is addressed to.
fn host(item: &Item) -> Option<String> {
    match item {
        Item::Exchange(exchange) => exchange.request.as_ref()?.host().map(Cow::into_owned),
        Item::Stream(stream) => server(&stream.connection),
        Item::Handshake(handshake) => server(&handshake.connection),
    }
}

/// Returns the server of a connection: its name, else its address.
fn server(info: &ConnectionInfo) -> Option<String> {
    let (_, server) = info.ends(info.client_direction()?);
    let address = server.map(|server| server.ip().to_string());
    info.record.sni.clone().or(address)
}

fn incomplete(item: &Item) -> Option<String> {
    let (complete, notes) = match item {
        Item::Exchange(exchange) => (exchange.complete, &exchange.notes),
        Item::Stream(stream) => (stream.complete, &stream.notes),
        Item::Handshake(_) => return None,
    };
    (!complete).then(|| match notes.is_empty() {
        true => "not complete".into(),
        false => notes.iter().map(Note::to_string).collect::<Vec<_>>().join("; "),
    })
}

/// Describes an item in a few words, without its query.
fn describe(item: &Item) -> String {
    match item {
        Item::Exchange(exchange) => describe_exchange(exchange),
        Item::Stream(stream) => {
            let conn = stream.connection.record.conn;
            let host = host(item).unwrap_or_else(|| "an unknown host".into());
            format!("connection {conn} to {host}, not HTTP")
        }
        Item::Handshake(handshake) => {
            let conn = handshake.connection.record.conn;
            let host = host(item).unwrap_or_else(|| "an unknown host".into());
            let how = if handshake.ok { "succeeded" } else { "failed" };
            format!("TLS handshake of connection {conn} with {host}, which {how}")
        }
    }
}

fn describe_exchange(exchange: &Exchange) -> String {
    let mut text = match &exchange.request {
        None => "unknown request".into(),
        Some(request) => {
            let method = request.method.as_deref().unwrap_or("unknown method");
            let authority = request.authority();
            let authority = authority.as_deref().map_or("unknown host", secrets::without_userinfo);
            let path = request.path().unwrap_or_default();
            format!("{method} {authority}{}", secrets::blank_path(&path))
        }
    };
    if let Some(status) = exchange.response.as_ref().and_then(|response| response.status) {
        text.push_str(&format!(" -> {status}"));
    }
    if let Some(duration) = exchange.duration_ns() {
        text.push_str(&format!(" in {:#}", Duration(duration)));
    }
    text
}

/// An invalid rule: the place, and the allowed values.
#[derive(Debug)]
pub(crate) struct Error(String);

impl Error {
    pub(super) fn none() -> Self {
        Self("no rule is given; use --rules FILE or a rule such as --max-status 399".into())
    }

    fn at(self, place: &str) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
