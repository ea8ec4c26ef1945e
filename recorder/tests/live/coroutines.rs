//! Coroutines that stop inside a call of the library and go on in another order, each on a stack of
//! its own. Return probes would kill them, so none are used.

use std::process::Command;

use crate::assert_truth::assert_recorded_once;
use crate::openssl_api::{both_ends_match_the_truth, command_matches_the_truth};
use crate::peers::{coroutines, truth};
use crate::server::Nginx;
use crate::support::Live;

pub(crate) fn program(mode: &str, count: &str) -> [String; 3] {
    [coroutines(), mode.to_owned(), count.to_owned()]
}

/// With every method of observing sockets. The end of a handshake is not seen without a return
/// probe, so the client's address comes from its first call, before its server can answer.
fn each_connection_is_listed_once(mode: &str, count: &str) {
    for options in [&[][..], &["--without", "sock-length"], &["--without", "sock-length,fentry"]] {
        let Some(live) = Live::start() else { return };
        let ran = both_ends_match_the_truth(&live, options, &program(mode, count));
        let (recorded, truth) = ran.expect("the program runs everywhere");
        assert!(recorded.output.stderr.contains("switches stacks"), "{}", recorded.output.stderr);
        assert_recorded_once(&live, &recorded, &truth);
    }
}

#[test]
fn reads_that_are_suspended_and_go_on_out_of_order() {
    command_matches_the_truth(&[], &program("read", "20"));
}

#[test]
fn every_call_suspended_and_gone_on_with_out_of_order() {
    each_connection_is_listed_once("all", "20");
}

#[test]
fn one_coroutine_alone() {
    each_connection_is_listed_once("all", "1");
}

/// The return happens on another thread than the entry.
#[test]
fn calls_that_another_thread_goes_on_with() {
    each_connection_is_listed_once("threads", "20");
}

/// The switcher is met during the recording, after return probes were placed in its library.
#[test]
fn a_program_that_the_command_starts() {
    let Some(live) = Live::start() else { return };
    let command = format!("{}; true", program("all", "20").join(" "));
    let recorded = live.record(&["-v"], &["sh", "-c", &command]).succeeded();
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("switches stacks"), "{stderr}");
    assert_recorded_once(&live, &recorded, &truth(&recorded.output.stdout).unwrap());
}

/// PHP switches stacks, so that its own libraries have no return probes. Those of git and wget,
/// which use GnuTLS, have them nevertheless.
#[test]
fn programs_of_other_libraries_that_a_switcher_starts() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let folder = live.dir().display().to_string();
    let repository = nginx.root().join("repository.git").display().to_string();
    let commands = format!(
        "git init -q --bare {repository} && git init -q {folder}/work && cd {folder}/work && \
         git -c user.name=a -c user.email=a@b.c commit -q --allow-empty -m first && \
         git push -q {repository} HEAD:refs/heads/main && \
         git -C {repository} symbolic-ref HEAD refs/heads/main && \
         git -C {repository} update-server-info"
    );
    live.succeed("sh", &["-c", &commands]);
    nginx.serve("page", b"hello");
    let (ca, page) = (nginx.ca(), nginx.url("/page"));
    let children = format!(
        "export GIT_SSL_CAINFO={ca}; git clone -q {} {folder}/clone; \
         wget -q -O /dev/null --ca-certificate={ca} {page}; curl -s --cacert {ca} {page}",
        nginx.url("/repository.git")
    );
    let own = format!(
        "echo file_get_contents('{page}', false, \
         stream_context_create(['ssl' => ['cafile' => '{ca}']]));"
    );
    let script = format!("passthru('{children}'); {own}");
    // The shell is no switcher, and starts one.
    let in_shell = format!("rm -rf {folder}/clone; php -r \"{script}\"");
    for command in [vec!["php", "-r", &script], vec!["sh", "-c", &in_shell]] {
        let recorded = live.record(&["--fail-on-missed"], &command).succeeded();
        let listing = live.list(&recorded.raw, &[]);
        let of = |comm: &str, path: &str| {
            let is_it = |exchange: &&serde_json::Value| {
                exchange["comm"] == comm
                    && exchange["request"]["path"].as_str().is_some_and(|of| of.starts_with(path))
                    && exchange["response"]["status"] == 200
            };
            listing.exchanges.iter().filter(is_it).count()
        };
        assert_eq!(of("git-remote-http", "/repository.git/info/refs"), 1, "{command:?}");
        assert!(of("git-remote-http", "/repository.git/objects/") >= 1, "{command:?}");
        for comm in ["wget", "curl", "php"] {
            assert_eq!(of(comm, "/page"), 1, "{comm} of {command:?}");
        }
        assert!(live.path("clone/.git/HEAD").exists(), "{}", recorded.output.stderr);
        let mut check = Command::new("git");
        assert!(live.run(check.args(["-C", &format!("{folder}/clone"), "log"])).status.success());
    }
}
